"""cancel and purge: waiting jobs end immediately; running ones are marked, and prefetched ones are taken away."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from conveyor.store import commands
from conveyor.store.commands import Settlement
from conveyor.wire import call
from conveyor.wire.call import RunOptions

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45
KEEP = 60.0


def cancel(lane: Lane, job_id: str) -> commands.CancelReply:
    return lane.run(commands.cancel, job_id, b"away", KEEP)


def test_waiting_job_is_cancelled_immediately(lane: Lane) -> None:
    lane.put("a", "b")
    before = lane.dump()
    assert cancel(lane, "a") == ("cancelled", "", "")
    assert lane.changes(before) == {
        "ready": {"b": TOP + 2},
        "jobs": {"b": "bytes of b"},
        "outcome:a": "away",
        "meta.cancelled": "1",
    }


def test_delayed_job_is_cancelled_with_its_priority_and_tries(lane: Lane) -> None:
    lane.put("a", priority=3)
    lane.run(commands.retry, lane.claim().token, "a", 1000.0, b"note")
    before = lane.dump()
    assert cancel(lane, "a") == ("cancelled", "", "")
    assert lane.changes(before) == {
        "delayed": None,
        "priorities": None,
        "tries": None,
        "jobs": None,
        "outcome:a": "away",
        "meta.cancelled": "1",
    }


def test_cancel_of_a_running_job_marks_it_and_names_its_owner(lane: Lane) -> None:
    token = lane.take("a")
    before = lane.dump()
    assert cancel(lane, "a") == ("running", "ann", token)
    assert lane.changes(before) == {"leases": {"a": f"#1 ann C {TOP + 1}"}}


def test_prefetched_job_is_cancelled_and_taken_from_its_holder(lane: Lane) -> None:
    token = lane.take("running", "held")
    assert cancel(lane, "held") == ("cancelled", "ann", token), "its consumer is told: it may have begun"
    assert lane.run(commands.finish, token, [Settlement("held", b"done", KEEP)]) == ["held"]
    assert lane.run(commands.state, "held").detail == b"away"


def test_cancel_of_waiting_jobs_only_spares_claimed_jobs(lane: Lane) -> None:
    lane.take("running", "held")
    lane.put("waiting")
    before = lane.dump()
    options = (b"away", KEEP, b"", True)
    for one in ("running", "held"):
        assert lane.run(commands.cancel, one, *options) == ("running", "", "")
    assert lane.changes(before) == {}
    assert lane.run(commands.cancel, "waiting", *options) == ("cancelled", "", "")
    assert [name for name in lane.dump() if name.startswith("cancel:")] == []


def test_running_job_that_succeeds_before_the_cancel_is_done(lane: Lane) -> None:
    token = lane.take("a")
    cancel(lane, "a")
    assert lane.run(commands.finish, token, [Settlement("a", b"done", KEEP)]) == []
    assert lane.count().finished == 1


@pytest.mark.parametrize("place", ["ready", "delayed", "running"])
def test_second_cancel_has_no_effect(lane: Lane, place: str) -> None:
    lane.put("a", delay=1000.0 if place == "delayed" else 0.0)
    if place == "running":
        lane.claim()
    answer = cancel(lane, "a")
    before = lane.dump()
    assert lane.run_again(commands.cancel, "a", b"away", KEEP) == answer
    assert lane.changes(before) == {}


@pytest.mark.parametrize("place", ["ready", "running"])
def test_first_note_of_a_cancellation_is_kept(lane: Lane, place: str) -> None:
    lane.put("a")
    if place == "running":
        lane.claim()
    for note in (b"ada", b"bob"):
        lane.run(commands.cancel, "a", b"away", KEEP, note)
    assert lane.dump().get("cancel:a") == "ada"


def test_cancel_of_a_finished_dead_or_unknown_job_has_no_effect(lane: Lane) -> None:
    token = lane.take("over", "dead")
    lane.run(commands.finish, token, [Settlement("over", b"done", KEEP)])
    lane.run(commands.fail, token, Settlement("dead", b"failed", KEEP))
    before = lane.dump()
    assert [cancel(lane, one)[0] for one in ("over", "dead", "never put")] == ["over", "dead", "gone"]
    assert lane.changes(before) == {}


def test_purge_ends_waiting_jobs_in_chunks_but_no_running_job(lane: Lane) -> None:
    lane.take("runs")
    lane.put("a", "b", "c")
    lane.put("later", delay=1000.0, priority=2)
    before = lane.dump()
    assert lane.run(commands.purge, "ready", 2, b"away", KEEP) == 2
    assert lane.changes(before) == {
        "ready": {"c": TOP + 4},
        "jobs": {one: f"bytes of {one}" for one in ("runs", "c", "later")},
        "outcome:a": "away",
        "outcome:b": "away",
        "meta.cancelled": "2",
    }
    assert [lane.run(commands.purge, "ready", 2, b"away", KEEP) for _ in range(2)] == [1, 0]
    assert [lane.run(commands.purge, "delayed", 2, b"away", KEEP) for _ in range(2)] == [1, 0]
    state = lane.dump()
    assert state["leased"] == {"runs": 1000}
    assert {"ready", "delayed", "priorities"} & state.keys() == set()


def test_purge_wakes_joiners(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.join, "joe")
    lane.run(commands.purge, "ready", 9, b"away", KEEP)
    assert lane.raw.exists(lane.key("wake:joe"))


def test_purge_spares_jobs_accepted_after_the_given_job(lane: Lane) -> None:
    lane.put("a", "b", priority=9)
    lane.put("c", "d")
    lane.put("top", priority=255)
    lane.put("e", priority=9)
    lane.put("f")
    assert lane.run(commands.purge, "ready", 3, b"away", KEEP, 4.0) == 3
    assert lane.run(commands.purge, "ready", 3, b"away", KEEP, 4.0) == 1
    assert lane.run(commands.purge, "ready", 3, b"away", KEEP, 4.0) == 0
    assert sorted(lane.dump()["jobs"]) == ["e", "f", "top"]


def test_purge_spares_later_jobs_at_the_front_and_of_any_key(lane: Lane) -> None:
    low, high = map(commands.key_priority, (-5, 5))
    lane.put("old1", priority=high)
    lane.put("old2")
    lane.put("old3", priority=255, front=True)
    lane.put("old4", front=True)
    lane.put("new1", priority=low)
    lane.put("new2", priority=high)
    lane.put("new3", front=True)
    lane.put("new4", priority=255, front=True)
    lane.put("new5")
    assert [lane.run(commands.purge, "ready", 3, b"away", KEEP, 4.0) for _ in range(3)] == [3, 1, 0]
    assert sorted(lane.dump()["jobs"]) == ["new1", "new2", "new3", "new4", "new5"]
    assert lane.run(commands.purge, "ready", 9, b"away", KEEP) == 5


def test_purge_limits_its_chunks_to_a_megabyte(lane: Lane) -> None:
    lane.run(commands.put, [(one, bytes(600_000)) for one in "abc"], commands.PutParams())
    assert [lane.run(commands.purge, "ready", 9, b"away", KEEP) for _ in range(4)] == [1, 1, 1, 0]


OPTIONS = [
    (RunOptions(keep=7200), 7200),
    (RunOptions(300, 0.5, 60.0, 86400.0), 86400),
    (RunOptions(retries=1_000_000, first_delay=3, timeout=7, keep=90), 90),
    (RunOptions(keep=1.0), 20),
    (RunOptions(retries=2), 3600),
    (RunOptions(), KEEP),
]


@pytest.mark.parametrize(("options", "seconds"), OPTIONS)
@pytest.mark.parametrize("way", ["purge", "cancel", "release"])
def test_outcome_of_a_cancelled_job_is_kept_for_its_own_time(
    lane: Lane, way: str, options: RunOptions, seconds: int
) -> None:
    data = call.encode_calls(len, "builtins:len", [(([b"\x94\x01\x02\x03\x04" * 20],), {})], options)[0]
    lane.run(commands.put, [("a", data)], commands.PutParams())
    if way == "purge":
        lane.run(commands.purge, "ready", 9, b"away", KEEP)
    elif way == "release":
        token = lane.claim().token
        cancel(lane, "a")
        lane.run(commands.release, token, ["a"])
        seconds = 3600 if seconds == KEEP else seconds
    else:
        cancel(lane, "a")
    assert seconds - 5 < lane.raw.ttl(lane.key("outcome:a")) <= seconds


@pytest.mark.parametrize(
    "data", [b"\x95", b"\x95" + b"\xcb12345678\x94" * 9, b"\x95\xcb12345678\x94\x01\x01\xc0\xa1a"]
)
def test_undecodable_job_can_be_cancelled(lane: Lane, data: bytes) -> None:
    lane.run(commands.put, [("a", data)], commands.PutParams())
    assert cancel(lane, "a") == ("cancelled", "", "")
    assert KEEP - 5 < lane.raw.ttl(lane.key("outcome:a")) <= KEEP


def test_keep_of_a_job_with_secrets_is_read(lane: Lane) -> None:
    def login(name: str, password: str) -> None:
        """Stand for a task with a secret."""

    data = call.encode_calls(login, "login", [(("ada", "x" * 100), {})], RunOptions(keep=86400.0))[0]
    assert call.decode_call(data).labels.may_hide
    lane.run(commands.put, [("a", data)], commands.PutParams())
    assert cancel(lane, "a") == ("cancelled", "", "")
    assert 86300 < lane.raw.ttl(lane.key("outcome:a")) <= 86400


def test_purge_decodes_hostile_jobs_only_partly(lane: Lane) -> None:
    """The bytes look like options at thousands of positions; the server's own time for a chunk shows it."""
    numbers = itertools.count()  # an id is never used again

    def time_of(data: bytes) -> float:
        jobs = [(f"job{next(numbers)}", data) for _ in range(5)]
        lane.run(commands.put, jobs, commands.PutParams())
        lane.raw.config_resetstat()
        assert lane.run(commands.purge, "ready", 9, b"away", KEEP) == 5
        return lane.raw.info("commandstats")["cmdstat_evalsha"]["usec"]

    hostile = b"\x95" + (b"\xcb" * 9 + b"\x94" * 9) * 300
    plain = min(time_of(b"\x94" + hostile[1:]) for _ in range(5))
    assert min(time_of(hostile) for _ in range(5)) < 100 * plain
