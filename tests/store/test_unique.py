"""Unique keys: one job of a key at a time; how long it holds, who replaces whom, and what happens to a dead job's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import DuplicateJob
from conveyor.store import commands
from conveyor.store.commands import Settlement
from conveyor.wire.outcome import encode_settled

from .conftest import names

if TYPE_CHECKING:
    from conftest import Lane

LONG = 1000.0
ENDED = Settlement("a", b"no", 60.0)
KEY: Any = {"unique": "k"}
UNTIL_STARTED: Any = {"unique": "k", "uniques": (-1.0, False)}
PERIOD: Any = {"unique": "k", "uniques": (LONG, False)}
REPLACES: Any = {"unique": "k", "uniques": (0.0, True)}


def test_job_stands_for_further_ones_with_its_key(lane: Lane) -> None:
    assert lane.submit("a", **KEY).same == {}
    before = lane.dump()
    reply = lane.submit("b", "c", **KEY)
    assert (reply.accepted, reply.same) == (2, {"b": "a", "c": "a"})
    assert lane.changes(before) == {"same:b": "a", "same:c": "a"}
    assert 50_000 < lane.raw.pttl(lane.key("same:b")) <= 60_000


def test_first_of_a_batch_stands_for_the_others(lane: Lane) -> None:
    assert lane.submit("a", "b", "c", **KEY).same == {"b": "a", "c": "a"}
    state = lane.dump()
    assert (state["jobs"], state["unique:k"]) == ({"a": "bytes of a"}, "a")
    assert state["terms"] == {"a": ("-", {"u": "k"})}


@pytest.mark.parametrize("end", ["finish", "fail", "cancel", "purge", "cancelled"])
def test_key_is_free_once_its_job_is_over(lane: Lane, end: str) -> None:
    lane.submit("a", **KEY)
    if end == "cancel":
        lane.run(commands.cancel, "a", b"away", 60.0)
    elif end == "purge":
        lane.run(commands.purge, "ready", 1, b"away", 60.0)
    else:
        batch = lane.claim()
        if end == "finish":
            lane.finish(batch)
        elif end == "fail":
            lane.run(commands.fail, batch.token, ENDED)
        else:
            lane.run(commands.cancel, "a", b"away", 60.0)
            lane.run(commands.release, batch.token, ["a"])
    assert "unique:k" not in lane.dump()
    assert lane.submit("b", **KEY).same == {}


def test_key_holds_while_its_job_runs_and_waits_again(lane: Lane) -> None:
    lane.submit("a", **KEY)
    token = lane.claim().token
    assert lane.submit("b", **KEY).same == {"b": "a"}
    lane.run(commands.retry, token, "a", LONG, b"")
    assert lane.submit("c", **KEY).same == {"c": "a"}


def test_key_that_ends_with_the_start_is_free_then(lane: Lane) -> None:
    lane.submit("a", **UNTIL_STARTED)
    assert lane.submit("b", **UNTIL_STARTED).same == {"b": "a"}
    lane.claim()
    assert lane.submit("c", **UNTIL_STARTED).same == {}
    assert lane.submit("d", **UNTIL_STARTED).same == {"d": "c"}


@pytest.mark.parametrize("how", ["release", "retry"])
@pytest.mark.parametrize("taken", [False, True])
def test_job_that_waits_again_has_its_key_if_it_is_free(lane: Lane, how: str, *, taken: bool) -> None:
    lane.submit("a", **UNTIL_STARTED)
    token = lane.claim().token
    if taken:
        lane.submit("b", **UNTIL_STARTED)
    if how == "release":
        lane.run(commands.release, token, ["a"])
    else:
        lane.run(commands.retry, token, "a", LONG, b"")
    assert lane.submit("c", **UNTIL_STARTED).same == {"c": "b" if taken else "a"}


def test_start_of_a_job_frees_no_key_of_another(lane: Lane) -> None:
    lane.submit("a", **UNTIL_STARTED)
    token = lane.claim().token
    lane.submit("b", priority=0, **UNTIL_STARTED)
    lane.run(commands.release, token, ["a"])
    assert names(lane.claim()) == ["a"]
    assert lane.submit("c", **UNTIL_STARTED).same == {"c": "b"}


def test_end_of_a_job_frees_no_key_of_another(lane: Lane) -> None:
    lane.submit("a", **UNTIL_STARTED)
    batch = lane.claim()
    lane.submit("b", **KEY)
    lane.finish(batch)
    assert lane.submit("c", **KEY).same == {"c": "b"}


def test_key_of_a_period_holds_beyond_the_end(lane: Lane) -> None:
    lane.submit("a", **PERIOD)
    lane.finish(lane.claim())
    assert 0 < lane.raw.pttl(lane.key("unique:k")) <= LONG * 1000
    assert lane.submit("b", **PERIOD).same == {"b": "a"}
    assert lane.submit("c", **KEY).same == {}, "a call without a period looks only at unfinished jobs"


def test_cancelled_job_holds_no_key_of_a_period(lane: Lane) -> None:
    """Its handle would raise JobCancelled for all further callers."""
    lane.submit("a", **PERIOD)
    lane.run(commands.cancel, "a", encode_settled("cancelled"), 60.0)
    assert lane.submit("b", **PERIOD).same == {}


def test_key_of_a_job_that_was_lost_is_free(lane: Lane) -> None:
    lane.raw.set(lane.key("unique:k"), "gone")
    assert lane.submit("a", **KEY).same == {}
    assert lane.raw.get(lane.key("unique:k")) == b"a"


def test_dead_job_has_no_key_and_is_not_revived_beside_another(lane: Lane) -> None:
    lane.submit("a", **KEY)
    lane.run(commands.fail, lane.claim().token, ENDED)
    lane.submit("b", **KEY)
    before = lane.dump()
    assert lane.run(commands.revive, ["a"]) == 0
    assert lane.changes(before) == {}
    lane.finish(lane.claim())
    assert lane.run(commands.revive, ["a"]) == 1
    assert lane.submit("c", **KEY).same == {"c": "a"}


def test_one_of_several_dead_jobs_with_a_key_is_revived(lane: Lane) -> None:
    for one in "ab":
        lane.submit(one, **KEY)
        lane.run(commands.fail, lane.claim().token, Settlement(one, b"no", 60.0))
    assert lane.run(commands.revive, ["a", "b"]) == 1
    assert (lane.state("a"), lane.state("b")) == ("ready", "dead")


def test_dead_job_is_revived_if_the_holder_of_its_key_is_lost(lane: Lane) -> None:
    lane.submit("a", **KEY)
    lane.run(commands.fail, lane.claim().token, ENDED)
    lane.raw.set(lane.key("unique:k"), "gone")
    assert lane.run(commands.revive, ["a"]) == 1


def test_revived_job_of_a_period_does_not_need_its_key(lane: Lane) -> None:
    lane.submit("a", **PERIOD)
    lane.run(commands.fail, lane.claim().token, ENDED)
    lane.raw.delete(lane.key("unique:k"))
    lane.submit("b", **PERIOD)
    assert lane.run(commands.revive, ["a"]) == 1


# --- replacing


def test_waiting_job_gets_the_new_bytes(lane: Lane) -> None:
    lane.submit("a", **REPLACES)
    before = lane.dump()
    assert lane.submit("b", data=b"new", **REPLACES).same == {"b": "a"}
    assert lane.changes(before) == {
        "jobs": {"a": "new"},
        "same:b": "a",
        "terms": {"a": ("-", {"u": "k", "x": 1})},
    }


def test_delay_of_a_replaced_job_begins_again(lane: Lane) -> None:
    lane.submit("a", delay=LONG, **REPLACES)
    lane.submit("b", data=b"new", delay=2 * LONG, **REPLACES)
    assert lane.dump()["delayed"] == {"a": 2000}
    lane.submit("c", data=b"newer", **REPLACES)
    state = lane.dump()
    assert (state["delayed"], state["jobs"]) == ({"a": 2000}, {"a": "newer"})


@pytest.mark.parametrize("state", ["taken", "dead"])
def test_job_that_does_not_wait_keeps_its_bytes(lane: Lane, state: str) -> None:
    lane.submit("a", **REPLACES)
    token = lane.claim().token
    if state == "dead":
        lane.run(commands.fail, token, ENDED)
    lane.submit("b", data=b"new", **REPLACES)
    assert lane.dump()["jobs"]["a"] == "bytes of a"


def test_deferred_job_is_replaced(lane: Lane) -> None:
    lane.submit("first", limit="l", limits=(1, 0, 1.0, False))
    lane.submit("a", limit="l", limits=(1, 0, 1.0, False), **REPLACES)
    lane.submit("b", data=b"new", **REPLACES)
    assert lane.dump()["jobs"]["a"] == "new"


def test_job_that_has_kept_steps_is_not_replaced(lane: Lane) -> None:
    lane.submit("a", **REPLACES)
    token = lane.claim().token
    lane.run(commands.wait, token, "a", "sleep", "1", 1000.0)
    lane.run(commands.suspend, token, "a", "sleep", "1", b"")
    lane.submit("b", data=b"new", delay=2 * LONG, **REPLACES)
    state = lane.dump()
    assert (state["delayed"], state["jobs"]) == ({"a": 1000}, {"a": "bytes of a"})


@pytest.mark.parametrize("which", ["old", "new"])
def test_job_that_gets_results_is_not_replaced(lane: Lane, which: str) -> None:
    """Its new arguments would name results of jobs that it does not come after."""
    lane.put("first")
    inputs: Any = {"after": [f"{lane.queue} first"], "policy": "di"}
    lane.submit("a", **REPLACES, **(inputs if which == "old" else {}))
    lane.submit("b", data=b"new", **REPLACES, **(inputs if which == "new" else {}))
    assert lane.dump()["jobs"]["a"] == "bytes of a"


def test_late_copy_of_a_put_brings_no_older_bytes_back(lane: Lane) -> None:
    lane.submit("a", **REPLACES)
    lane.submit("b", data=b"new", **REPLACES)
    lane.submit("c", data=b"newest", **REPLACES)
    before = lane.dump()
    assert lane.submit("b", data=b"new", again=True, **REPLACES).same == {"b": "a"}
    assert lane.submit("b", data=b"new", **REPLACES).same == {"b": "a"}
    assert lane.submit("a", again=True, **REPLACES).accepted == 1
    assert lane.changes(before) == {}


def test_other_bytes_under_a_known_id_are_refused(lane: Lane) -> None:
    lane.submit("a", **KEY)
    with pytest.raises(DuplicateJob):
        lane.submit("a", data=b"other", **KEY)
    lane.submit("b", data=b"new", **REPLACES)
    with pytest.raises(DuplicateJob):
        lane.submit("a", own_ids=True, **REPLACES)


# --- sent twice


def test_copy_of_a_put_names_the_same_job_after_its_end(lane: Lane) -> None:
    lane.submit("a", **KEY)
    lane.submit("b", **KEY)
    lane.finish(lane.claim())
    before = lane.dump()
    assert lane.submit("b", again=True, **KEY).same == {"b": "a"}
    assert lane.submit("b", **KEY).same == {"b": "a"}
    assert lane.changes(before) == {}


def test_own_id_that_was_not_put_can_be_used_again(lane: Lane) -> None:
    lane.submit("a", **KEY)
    assert lane.submit("mine", own_ids=True, **KEY).same == {"mine": "a"}
    assert lane.submit("mine", own_ids=True, **KEY).same == {"mine": "a"}
    lane.finish(lane.claim())
    assert lane.submit("mine", own_ids=True, **KEY).same == {}
    assert lane.state("mine") == "ready"


def test_known_own_id_is_refused(lane: Lane) -> None:
    lane.submit("mine", own_ids=True, **KEY)
    lane.finish(lane.claim())
    before = lane.dump()
    with pytest.raises(DuplicateJob):
        lane.submit("mine", own_ids=True, **KEY)
    assert lane.changes(before) == {}


def test_job_without_room_stands_for_no_other(lane: Lane) -> None:
    """The two are put again; by then another job may have the key."""
    lane.put("full", maxsize=1)
    reply = lane.submit("a", "b", **KEY)
    assert (reply.accepted, reply.same) == (0, {})
    lane.claim()
    lane.submit("z", **KEY)
    assert lane.submit("a", "b", again=True, **KEY).same == {"a": "z", "b": "z"}


def test_job_that_needs_no_room_is_accepted_in_a_full_queue(lane: Lane) -> None:
    lane.submit("a", maxsize=1, **KEY)
    reply = lane.submit("b", **KEY)
    assert (reply.accepted, reply.same) == (1, {"b": "a"})


def test_shut_queue_accepts_only_jobs_that_others_stand_for(lane: Lane) -> None:
    lane.submit("a", **KEY)
    lane.run(commands.shut)
    assert lane.submit("b", **KEY).same == {"b": "a"}
