"""put: (new) -> ready or delayed, and the line of blocked producers."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import DuplicateJob, ShutDown, StoreFull
from conveyor.store import commands
from conveyor.store.command import PROTOCOL
from conveyor.store.commands import PutParams, PutReply, key_priority

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45  # the start of priority 0


def jobs(*ids: str) -> list[tuple[str, bytes]]:
    return [(one, f"bytes of {one}".encode()) for one in ids]


def test_put_records_the_job_its_position_and_a_wake_up(lane: Lane) -> None:
    assert lane.put("a") == PutReply(1)
    assert lane.dump() == {
        "jobs": {"a": "bytes of a"},
        "ready": {"a": TOP + 1},
        "bell": ["1"],
        "meta.version": PROTOCOL,
        "meta.sequence": "1",
        "meta.accepted": "1",
    }


def test_put_to_a_queue_in_use_has_the_same_effect(lane: Lane) -> None:
    lane.put("z")
    before = lane.dump()
    assert lane.put("a") == PutReply(1)
    assert lane.changes(before) == {
        "jobs": {one: f"bytes of {one}" for one in "az"},
        "ready": {"z": TOP + 1, "a": TOP + 2},
        "bell": ["1"] * 2,
        "meta.sequence": "2",
        "meta.accepted": "2",
    }


def test_jobs_put_together_keep_their_order_and_wake_for_each(lane: Lane) -> None:
    lane.put("z")
    before = lane.dump()
    assert lane.put("y", "x", "w") == PutReply(3)
    assert lane.changes(before) == {
        "jobs": {one: f"bytes of {one}" for one in "wxyz"},
        "ready": {"z": TOP + 1, "y": TOP + 2, "x": TOP + 3, "w": TOP + 4},
        "bell": ["1"] * 4,
        "meta.sequence": "4",
        "meta.accepted": "4",
    }


def test_delayed_job_is_kept_separately_with_its_priority(lane: Lane) -> None:
    lane.put("a", delay=1000.0)
    lane.put("b", delay=2000.0, priority=7)
    state = lane.dump()
    assert state["delayed"] == {"a": 1000, "b": 2000}
    assert state["priorities"] == {"b": "7"}
    assert "ready" not in state


def test_higher_priority_comes_first_and_equals_keep_their_order(lane: Lane) -> None:
    lane.put("low")
    for some, priority in ((["high", "high2"], 9), (["low2"], 0), (["top"], 255)):
        lane.put(*some, priority=priority)
    assert [job.id for job in lane.claim(9).jobs] == ["top", "high", "high2", "low", "low2"]


def test_job_at_the_front_precedes_others_of_its_priority(lane: Lane) -> None:
    lane.put("a")
    before = lane.dump()
    assert lane.put("b", front=True) == PutReply(1)
    assert lane.changes(before) == {
        "jobs": {one: f"bytes of {one}" for one in "ab"},
        "ready": {"b": TOP - 2, "a": TOP + 1},
        "bell": ["1"] * 2,
        "meta.sequence": "2",
        "meta.accepted": "2",
    }
    lane.put("c", "d", front=True)
    lane.put("high", priority=1)
    lane.put("highest", priority=255, front=True)
    assert [job.id for job in lane.claim(9).jobs] == ["highest", "high", "d", "c", "b", "a"]


def test_front_of_a_priority_is_behind_the_end_of_the_next(lane: Lane) -> None:
    """However many jobs were accepted: here as many as in a year, with a hundred thousand in each second."""
    lane.put("first")
    lane.raw.hset(lane.key("meta"), "sequence", 2**42)
    lane.put("back", priority=9)
    lane.put("front", priority=8, front=True)
    assert [job.id for job in lane.claim(3).jobs] == ["back", "front", "first"]


def test_delayed_job_put_at_the_front_goes_to_the_end_when_due(lane: Lane) -> None:
    lane.put("a", delay=1000.0, front=True)
    lane.put("b")
    lane.raw.zadd(lane.key("delayed"), {"a": 1})
    assert [job.id for job in lane.claim(2).jobs] == ["b", "a"]


def test_lower_key_comes_first_and_equals_keep_their_order(lane: Lane) -> None:
    lane.put("job", priority=255, front=True)
    for key in (7, -1_000_000, 1_000_000, 0, 7, -1):
        lane.put(f"{key} {lane.count().accepted}", priority=key_priority(key))
    ready = {
        one: score - 2**32 * int(one.split()[0]) + 2**52
        for one, score in lane.dump()["ready"].items()
        if one != "job"
    }
    assert list(ready) == ["-1000000 2", "-1 6", "0 4", "7 1", "7 5", "1000000 3"]
    assert list(ready.values()) == [3, 7, 5, 2, 6, 4], "the sequence numbers"
    assert [job.id for job in lane.claim(9).jobs] == [*ready, "job"]


def test_wake_up_list_has_at_most_32_entries(lane: Lane) -> None:
    lane.put(*(f"job{number}" for number in range(100)))
    assert lane.raw.llen(lane.key("bell")) == 32


@pytest.mark.parametrize(("waiting", "wanted", "accepted"), [(0, 3, 3), (1, 3, 2), (3, 1, 0), (0, 5, 3)])
def test_full_queue_accepts_the_first_that_fit_and_says_how_many(
    lane: Lane, waiting: int, wanted: int, accepted: int
) -> None:
    lane.put(*(f"old{number}" for number in range(waiting)), maxsize=3)
    fresh = [f"new{number}" for number in range(wanted)]
    assert lane.put(*fresh, maxsize=3) == PutReply(accepted)
    assert [one for one in fresh if one in lane.dump().get("jobs", {})] == fresh[:accepted]


def test_delayed_jobs_take_room_and_taken_jobs_do_not(lane: Lane) -> None:
    lane.put("a", maxsize=2, delay=1000.0)
    lane.put("b")
    assert lane.put("c").accepted == 0
    lane.claim()
    assert lane.put("c").accepted == 1


def test_limit_applies_to_all_producers_until_changed(lane: Lane) -> None:
    lane.put("a", maxsize=1)
    before = lane.dump()
    assert lane.put("b") == PutReply(0)
    assert lane.changes(before) == {}
    assert lane.put("b", maxsize=2) == PutReply(0), "a put sets it only where there is none"
    lane.run(commands.bound, 2)
    assert lane.put("b") == PutReply(1)
    assert lane.dump()["meta.maxsize"] == "2"


@pytest.mark.parametrize(
    "place", [{}, {"delay": 1000.0, "priority": 3}, {"maxsize": 5}, {"front": True}, {"priority": 300.5}]
)
def test_put_sent_twice_has_no_second_effect(lane: Lane, place: dict[str, Any]) -> None:
    lane.put("a", "b", **place)
    before = lane.dump()
    assert lane.run_again(commands.put, jobs("a", "b"), PutParams(**place)) == PutReply(2)
    assert lane.changes(before) == {}


def test_put_sent_twice_has_no_second_effect_if_jobs_moved_on(lane: Lane) -> None:
    """One job is taken, one has ended, one is dead, one waits: all four were accepted."""
    lane.put("taken", "ended", "dead", "waits")
    batch = lane.claim(3)
    lane.run(commands.finish, batch.token, [commands.Settlement("ended", b"done", 0.0)])
    lane.run(commands.fail, batch.token, commands.Settlement("dead", b"failed", 60.0))
    before = lane.dump()
    answer = lane.run_again(commands.put, jobs("taken", "ended", "dead", "waits"), PutParams())
    assert answer == PutReply(4)
    assert lane.changes(before) == {}


def test_delayed_put_sent_twice_leaves_no_trace_of_a_taken_job(lane: Lane) -> None:
    lane.put("a", delay=0.001, priority=5)
    while not (batch := lane.claim()).jobs:
        pass
    before = lane.dump()
    lane.run_again(commands.put, jobs("a"), PutParams(delay=0.001, priority=5))
    assert lane.changes(before) == {}
    assert batch.jobs[0].id == "a"


@pytest.mark.parametrize("moved", ["waits", "taken", "ended"])
def test_put_that_arrives_after_its_resend_changes_nothing(lane: Lane, moved: str) -> None:
    """The first copy was held up, its client resent it on another connection, and now it arrives."""
    assert lane.run_again(commands.put, jobs("a"), PutParams()) == PutReply(1)
    batch = lane.claim() if moved != "waits" else None
    if batch is not None and moved == "ended":
        lane.run(commands.finish, batch.token, [commands.Settlement("a", b"done", 60.0)])
    before = lane.dump()
    assert lane.run(commands.put, jobs("a"), PutParams()).accepted == 1
    assert lane.changes(before) == {}


def test_resent_put_is_accepted_if_its_queue_was_shut_meanwhile(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.shut)
    assert lane.run_again(commands.put, jobs("a"), PutParams()) == PutReply(1)
    with pytest.raises(ShutDown) as refusal:
        lane.run_again(commands.put, jobs("a", "b"), PutParams())
    assert refusal.value.accepted == 1


def test_resent_put_adds_the_rest_of_a_partial_put(lane: Lane) -> None:
    assert lane.put("a", "b", "c", maxsize=2) == PutReply(2)
    lane.claim()
    assert lane.run_again(commands.put, jobs("a", "b", "c"), PutParams(maxsize=2)) == PutReply(3)
    assert sorted(lane.dump()["jobs"]) == ["a", "b", "c"]


def test_known_job_makes_no_room_for_jobs_before_it(lane: Lane) -> None:
    lane.put("old", maxsize=1)
    assert lane.run_again(commands.put, jobs("new", "old"), PutParams()) == PutReply(0)
    assert lane.run_again(commands.put, jobs("old", "new"), PutParams()) == PutReply(1)
    lane.claim()
    assert lane.run_again(commands.put, jobs("new", "old", "newer"), PutParams()) == PutReply(2)
    assert sorted(lane.dump()["jobs"]) == ["new", "old"]


@pytest.mark.parametrize("how", ["waits", "taken", "ended", "dead"])
def test_known_custom_id_is_refused_without_effect(lane: Lane, how: str) -> None:
    token = lane.take("mine") if how != "waits" else lane.put("mine")
    if how == "ended":
        lane.run(commands.finish, token, [commands.Settlement("mine", b"done", 60.0)])
    elif how == "dead":
        lane.run(commands.fail, token, commands.Settlement("mine", b"failed", 60.0))
    before = lane.dump()
    with pytest.raises(DuplicateJob, match="mine"):
        lane.run(commands.put, [("new", b""), ("mine", b"other bytes")], PutParams(own_ids=True))
    assert lane.changes(before) == {}


@pytest.mark.parametrize("ended", [False, True], ids=["held", "ended"])
def test_resent_put_with_a_custom_id_is_refused_if_the_job_ended(lane: Lane, *, ended: bool) -> None:
    """The reply was lost. The ended job cannot be told apart from one that another caller has put."""
    token = lane.take("mine")
    if ended:
        lane.run(commands.finish, token, [commands.Settlement("mine", b"done", 60.0)])
    before = lane.dump()
    with pytest.raises(DuplicateJob) if ended else nullcontext():
        assert lane.run_again(commands.put, jobs("mine"), PutParams(own_ids=True)).accepted == 1
    assert lane.changes(before) == {}


def test_put_after_shutdown_is_refused_without_effect(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.shut)
    before = lane.dump()
    with pytest.raises(ShutDown):
        lane.put("b")
    assert lane.changes(before) == {}


def test_full_server_refuses_puts_and_can_be_drained(lane: Lane) -> None:
    token = lane.take("retried", "failed", "released", "finished")
    lane.put("waits")
    lane.raw.config_set("maxmemory", "1mb")
    before = lane.dump()
    with pytest.raises(StoreFull) as refusal:
        lane.put("one more")
    assert "memory" in refusal.value.hint
    assert lane.changes(before) == {}
    held = [(one, token, "S") for one in ("retried", "failed", "released", "finished")]
    assert lane.run(commands.renew, held, 1000.0).lost == []
    assert lane.run(commands.retry, token, "retried", 1000.0, b"") == "OK"
    assert lane.run(commands.fail, token, commands.Settlement("failed", b"no", 60.0)) == "OK"
    assert lane.run(commands.release, token, ["released"]) == 1
    assert lane.run(commands.finish, token, [commands.Settlement("finished", b"yes", 60.0)]) == []
    assert [job.id for job in lane.claim(5).jobs] == ["released", "waits"]
    assert lane.run(commands.purge, "delayed", 10, b"away", 60.0) == 1
    lane.raw.config_set("maxmemory", "0")
    assert lane.put("one more").accepted == 1
