"""step, wait, suspend, signal: what steps keep with their job, and a job that waits without a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import LeaseLost, TooLarge
from conveyor.store import commands, scripts
from conveyor.store.commands import Look, PutParams, Settlement, Terms, pack_terms

if TYPE_CHECKING:
    from conftest import Lane

KEEP = 600.0
WAIT = Look("WAIT")
STALE = ["1", "", "#", "{}0", " {}"]


def kept(lane: Lane, job_id: str = "a") -> dict[str, str]:
    found: dict[str, str] = lane.dump().get(f"steps:{job_id}", {})
    return found


def step(lane: Lane, token: str, field: str, value: bytes, save: int = 0) -> bytes | None:
    found: bytes | None = lane.run(commands.step, token, "a", field, value, save)
    return found


def wait(lane: Lane, token: str, name: str, seconds: float | None = None, kind: str = "wait") -> Look:
    found: Look = lane.run(commands.wait, token, "a", kind, name, seconds)
    return found


def suspend(lane: Lane, token: str, name: str, kind: str = "wait", attempt: bytes = b"") -> str:
    word: str = lane.run(commands.suspend, token, "a", kind, name, attempt)
    return word


def suspended(lane: Lane, name: str = "go", seconds: float | None = None) -> None:
    token = lane.take("a")
    assert wait(lane, token, name, seconds) == WAIT
    assert suspend(lane, token, name) == "OK"


def end_wait(lane: Lane, field: str) -> None:
    """Set the end of a wait or a sleep, and of its job's delay, to a past time."""
    lane.raw.hset(lane.key("steps:a"), field, "1 5")
    if lane.raw.zscore(lane.key("delayed"), "a"):
        lane.raw.zadd(lane.key("delayed"), {"a": 5})


# --- step


def test_step_keeps_its_first_value(lane: Lane) -> None:
    token = lane.take("a")
    before = lane.dump()
    assert step(lane, token, "step one", b"1") is None
    assert step(lane, token, "step one", b"1") is None, "this command arrived twice"
    assert step(lane, token, "step one", b"2") == b"1"
    assert step(lane, token, "step two", b"x y\n\0z") is None
    assert lane.changes(before) == {
        "steps": {"a": f"2 {8 + 3 + 8 + 2 + 6}"},
        "steps:a": {"step one": "1 1", "step two": "2 x y\n\0z"},
    }
    assert lane.raw.pttl(lane.key("steps:a")) == -1


def test_cursor_keeps_its_last_value(lane: Lane) -> None:
    token = lane.take("a")
    step(lane, token, "step one", b"1")
    assert step(lane, token, "cursor", b"100", 1) is None
    assert step(lane, token, "cursor", b"2", 2) is None
    assert kept(lane) == {"step one": "1 1", "cursor": "2 2 2"}
    assert lane.dump().get("steps", {}) == {"a": f"2 {8 + 3 + 6 + 5}"}


def test_late_save_of_a_cursor_changes_nothing(lane: Lane) -> None:
    token = lane.take("a")
    step(lane, token, "cursor", b"x", 9)
    step(lane, token, "cursor", b"y", 10)
    before = lane.dump()
    assert kept(lane) == {"cursor": "1 10 y"}
    assert step(lane, token, "cursor", b"x", 9) is None
    assert step(lane, token, "cursor", b"z", 10) is None
    assert lane.changes(before) == {}


@pytest.mark.parametrize("token", STALE)
def test_step_with_a_wrong_token_is_refused_without_effect(lane: Lane, token: str) -> None:
    mine = lane.take("a")
    before = lane.dump()
    with pytest.raises(LeaseLost):
        step(lane, token.format(mine), "step one", b"1")
    with pytest.raises(LeaseLost):
        wait(lane, token.format(mine), "go")
    assert suspend(lane, token.format(mine), "go") == "STALE"
    assert lane.changes(before) == {}


def test_run_that_lost_its_lease_keeps_nothing(lane: Lane) -> None:
    late = lane.take("a")
    lane.let_leases_run_out()
    lane.run(commands.reap)
    lane.claim(owner="bob")
    with pytest.raises(LeaseLost):
        step(lane, late, "cursor", b"1", 1)
    assert kept(lane) == {}


def test_steps_of_a_job_are_limited(lane: Lane, few_steps: None) -> None:
    token = lane.take("a")
    step(lane, token, "step one", b"1")
    before = lane.dump()
    with pytest.raises(TooLarge, match="the steps of job a keep more than"):
        step(lane, token, "step two", b"x" * 60)
    assert lane.changes(before) == {}
    step(lane, token, "step two", b"x" * 15)
    before = lane.dump()
    with pytest.raises(TooLarge):
        step(lane, token, "step three", b"")
    with pytest.raises(TooLarge):
        lane.run(commands.signal, "a", "go", b"")
    with pytest.raises(TooLarge):
        wait(lane, token, "go")
    assert lane.changes(before) == {}


def test_cursor_of_a_job_is_limited(lane: Lane, few_steps: None) -> None:
    token = lane.take("a")
    step(lane, token, "cursor", b"x" * 70, 1)
    step(lane, token, "cursor", b"x" * 70, 2)
    with pytest.raises(TooLarge):
        step(lane, token, "cursor", b"x" * 71, 3)


# --- the end of a job


@pytest.mark.parametrize("end", ["finish", "cancel", "purge", "discard", "retry"])
def test_steps_are_removed_when_their_job_is_over(lane: Lane, end: str) -> None:
    token = lane.take("b", "a")
    step(lane, token, "step one", b"1")
    settlement = Settlement("a", b"outcome", KEEP)
    if end == "purge":
        lane.run(commands.release, token, ["a"])
    elif end == "retry":  # it was to be cancelled
        lane.run(commands.renew, [("a", token, "S")], 1000.0)
        lane.run(commands.cancel, "a", b"away", KEEP)
    elif end == "discard":
        lane.run(commands.fail, token, settlement)
        assert kept(lane) == {"step one": "1 1"}
    {
        "finish": lambda: lane.run(commands.finish, token, [Settlement("b", b"", KEEP), settlement]),
        "cancel": lambda: lane.run(commands.cancel, "a", b"away", KEEP),
        "purge": lambda: lane.run(commands.purge, "ready", 9, b"away", KEEP),
        "discard": lambda: lane.run(commands.discard, ["a"]),
        "retry": lambda: lane.run(commands.retry, token, "a", 9.0, b""),
    }[end]()
    assert {"steps", "steps:a"} & lane.dump().keys() == set()


@pytest.mark.parametrize("end", ["release", "retry", "lost", "reap"])
def test_steps_stay_for_the_next_run(lane: Lane, end: str) -> None:
    token = lane.take("a")
    step(lane, token, "step one", b"1")
    if end == "reap":
        lane.let_leases_run_out()
    {
        "release": lambda: lane.run(commands.release, token, ["a"]),
        "retry": lambda: lane.run(commands.retry, token, "a", 0.0, b""),
        "lost": lambda: lane.run(commands.lost, token, Settlement("a", b"lost", KEEP), b"cancelled"),
        "reap": lambda: lane.run(commands.reap),
    }[end]()
    assert step(lane, lane.claim(owner="bob").token, "step one", b"2") == b"1"


def test_revived_job_has_the_steps_of_the_dead_one(lane: Lane) -> None:
    token = lane.take("a")
    step(lane, token, "step one", b"1")
    lane.run(commands.fail, token, Settlement("a", b"no", KEEP))
    lane.run(commands.revive, ["a"])
    assert step(lane, lane.claim().token, "step one", b"2") == b"1"


def test_oldest_dead_job_is_dropped_with_its_steps(lane: Lane, few_dead: None) -> None:
    for name in ("a", "b", "c"):
        token = lane.take(name)
        lane.run(commands.step, token, name, "step one", b"1")
        lane.run(commands.fail, token, Settlement(name, b"no", KEEP))
    assert lane.dump().get("steps", {}).keys() == {"b", "c"}
    assert kept(lane) == {}


def test_finish_of_other_jobs_leaves_steps_alone(lane: Lane) -> None:
    token = lane.take("a", "b")
    step(lane, token, "step one", b"1")
    lane.run(commands.finish, token, [Settlement("b", b"outcome", KEEP)])
    assert kept(lane) == {"step one": "1 1"}


# --- waiting for a time


def test_sleep_ends_at_the_time_set_by_its_first_look(lane: Lane) -> None:
    token = lane.take("a")
    assert wait(lane, token, "nap", 1000.0, "sleep") == WAIT
    field = kept(lane)
    assert wait(lane, token, "nap", 5.0, "sleep") == WAIT
    assert kept(lane) == field
    assert suspend(lane, token, "nap", "sleep") == "OK"
    assert lane.dump().get("delayed", {}) == {"a": 1000}
    assert lane.dump().keys() & {"leased", "leases", "tries", "ready"} == set()
    assert lane.raw.exists(lane.key("leased"), lane.key("leases")) == 0
    end_wait(lane, "sleep nap")
    token = lane.claim().token
    assert wait(lane, token, "nap", 1000.0, "sleep") == Look("OVER")


def test_suspended_job_is_ready_if_its_sleep_has_ended(lane: Lane) -> None:
    token = lane.take("a")
    wait(lane, token, "nap", 1000.0, "sleep")
    end_wait(lane, "sleep nap")
    assert suspend(lane, token, "nap", "sleep") == "OK"
    assert "a" in lane.dump().get("ready", {})


def test_suspension_keeps_priority_and_is_remembered(lane: Lane) -> None:
    lane.put("a", priority=7)
    token = lane.claim().token
    lane.raw.hset(lane.key("progress"), "a", "half")
    wait(lane, token, "go", None)
    assert suspend(lane, token, "go", attempt=b"attempt") == "OK"
    state = lane.dump()
    assert (state.get("priorities"), state.get("attempts:a")) == ({"a": "7"}, ["attempt"])
    assert "progress" not in state
    lane.put("b", priority=6)
    lane.run(commands.signal, "a", "go", b"1")
    assert [job.id for job in lane.claim(2).jobs] == ["a", "b"]


def test_cancelled_job_ends_instead_of_being_suspended(lane: Lane) -> None:
    token = lane.take("a")
    wait(lane, token, "go")
    lane.run(commands.cancel, "a", b"away", KEEP)
    assert suspend(lane, token, "go") == "cancelled"
    assert lane.dump().keys() & {"delayed", "leased", "steps", "steps:a"} == set()


def test_suspended_job_can_be_cancelled(lane: Lane) -> None:
    suspended(lane)
    assert lane.run(commands.cancel, "a", b"away", KEEP).state == "cancelled"
    assert lane.dump().keys() & {"delayed", "steps", "steps:a"} == set()


# --- limits


def put_limited(lane: Lane, *ids: str, in_order: bool = False) -> None:
    own = {one: pack_terms(limit="key") for one in ids}
    params = PutParams(terms=Terms(own, (1, 0, 0.0, in_order)))
    lane.run(commands.put, [(one, one.encode()) for one in ids], params)


def test_suspended_job_gives_its_slot_to_the_next_one(lane: Lane) -> None:
    put_limited(lane, "a", "b")
    token = lane.claim(5).token
    wait(lane, token, "go", None)
    assert suspend(lane, token, "go") == "OK"
    assert lane.dump().get("ready", {}).keys() == {"b"}
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    assert lane.dump().get("deferred", {}).keys() == {"a"}, "it needs room again"
    lane.run(commands.finish, lane.claim(5).token, [Settlement("b", b"", 0.0, b"")])
    assert lane.dump().get("ready", {}).keys() == {"a"}
    lane.run(commands.finish, lane.claim().token, [Settlement("a", b"", 0.0, b"")])


def test_suspended_job_of_an_ordered_limit_keeps_its_slot(lane: Lane) -> None:
    put_limited(lane, "a", "b", in_order=True)
    token = lane.claim(5).token
    wait(lane, token, "go", None)
    assert suspend(lane, token, "go") == "OK"
    assert lane.dump().get("deferred", {}).keys() == {"b"}
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    assert lane.dump().get("ready", {}).keys() == {"a"}
    lane.run(commands.finish, lane.claim(5).token, [Settlement("a", b"", 0.0, b"")])
    lane.run(commands.finish, lane.claim().token, [Settlement("b", b"", 0.0, b"")])


def test_cancellation_of_a_run_frees_its_slot(lane: Lane) -> None:
    put_limited(lane, "a", "b")
    token = lane.claim(5).token
    wait(lane, token, "go", None)
    lane.run(commands.cancel, "a", b"away", KEEP)
    assert suspend(lane, token, "go") == "cancelled"
    assert lane.dump().get("ready", {}).keys() == {"b"}
    lane.run(commands.finish, lane.claim().token, [Settlement("b", b"", 0.0, b"")])


# --- waiting for a signal


def test_signal_wakes_the_job_that_waits_for_it(lane: Lane) -> None:
    suspended(lane)
    lane.raw.delete(lane.key("bell"))
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    assert lane.dump().get("ready", {}).keys() == {"a"}
    assert lane.raw.llen(lane.key("bell")) == 1
    assert wait(lane, lane.claim().token, "go") == Look("OK", b"yes")


def test_signal_before_the_wait_is_kept(lane: Lane) -> None:
    lane.put("a")
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    token = lane.claim().token
    before = lane.dump()
    assert wait(lane, token, "go", 5.0) == Look("OK", b"yes")
    assert lane.changes(before) == {}


def test_signal_between_look_and_suspension_makes_the_job_ready(lane: Lane) -> None:
    token = lane.take("a")
    assert wait(lane, token, "go") == WAIT
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    assert suspend(lane, token, "go") == "OK"
    assert lane.dump().get("ready", {}).keys() == {"a"}


def test_first_value_of_a_signal_is_kept(lane: Lane) -> None:
    suspended(lane)
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    before = lane.dump()
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK", "this command arrived twice"
    assert lane.run(commands.signal, "a", "go", b"no") == "KEPT"
    assert lane.changes(before) == {}


def test_other_signal_wakes_no_job(lane: Lane) -> None:
    suspended(lane, "go", 1000.0)
    assert lane.run(commands.signal, "a", "stop", b"") == "OK"
    assert lane.dump().get("delayed", {}) == {"a": 1000}


def test_signal_does_not_shorten_the_delay_of_a_retry(lane: Lane) -> None:
    suspended(lane, "go", 1000.0)
    lane.raw.zadd(lane.key("delayed"), {"a": 5})
    lane.run(commands.retry, lane.claim().token, "a", 2000.0, b"")
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    assert lane.dump().get("delayed", {}) == {"a": 2000}


def test_wait_without_an_end_is_never_due(lane: Lane) -> None:
    suspended(lane)
    assert lane.raw.zscore(lane.key("delayed"), "a") == 253_402_300_799_000
    assert lane.run(commands.promote) == 0


def test_timeout_of_a_wait_is_final(lane: Lane) -> None:
    suspended(lane, "go", 1000.0)
    end_wait(lane, "wait go")
    token = lane.claim().token
    assert wait(lane, token, "go", 1000.0) == Look("OVER")
    before = lane.dump()
    assert lane.run(commands.signal, "a", "go", b"yes") == "KEPT"
    assert wait(lane, token, "go", 1000.0) == Look("OVER")
    assert lane.changes(before) == {}


def test_signal_before_the_timeout_is_seen_wins(lane: Lane) -> None:
    suspended(lane, "go", 1000.0)
    end_wait(lane, "wait go")
    token = lane.claim().token
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    assert wait(lane, token, "go", 1000.0) == Look("OK", b"yes")


def test_dead_job_can_get_a_signal_after_its_timeout(lane: Lane) -> None:
    suspended(lane, "go", 1000.0)
    end_wait(lane, "wait go")
    token = lane.claim().token
    wait(lane, token, "go", 1000.0)
    lane.run(commands.fail, token, Settlement("a", b"no", KEEP))
    assert lane.run(commands.signal, "a", "go", b"yes") == "OK"
    assert lane.run(commands.signal, "a", "go", b"no") == "KEPT"
    lane.run(commands.revive, ["a"])
    assert wait(lane, lane.claim().token, "go") == Look("OK", b"yes")


@pytest.mark.parametrize(("ends", "word"), [(True, "over"), (False, "gone")])
def test_signal_to_a_finished_or_unknown_job_changes_nothing(lane: Lane, word: str, *, ends: bool) -> None:
    if ends:
        lane.run(commands.finish, lane.take("a"), [Settlement("a", b"outcome", KEEP)])
    before = lane.dump()
    assert lane.run(commands.signal, "a", "go", b"yes") == word
    assert lane.changes(before) == {}


def test_full_server_refuses_steps_and_still_suspends(lane: Lane) -> None:
    flags: dict[str, Any] = {
        name: scripts.load(name).text.partition("\n")[0] for name in ("step", "signal", "wait", "suspend")
    }
    assert flags == {
        "step": "#!lua",
        "signal": "#!lua",
        "wait": "#!lua flags=allow-oom",
        "suspend": "#!lua flags=allow-oom",
    }
