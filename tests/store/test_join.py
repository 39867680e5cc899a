"""join, leave, state, count, bound: waiters for the end of all jobs, and the state of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.store import commands
from conveyor.store.command import PROTOCOL
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from conftest import Lane


def is_woken(lane: Lane, joiner: str = "joe") -> bool:
    return lane.raw.exists(lane.key(f"wake:{joiner}")) == 1


def test_join_returns_0_without_live_jobs(lane: Lane) -> None:
    assert lane.run(commands.join, "joe") == 0
    assert lane.dump() == {}


def test_join_waits_for_all_unfinished_jobs(lane: Lane) -> None:
    lane.take("taken")
    lane.put("waits")
    lane.put("later", delay=1000.0)
    before = lane.dump()
    for _ in range(2):
        assert lane.run(commands.join, "joe") == 3
        assert lane.changes(before) == {"joiners": {"joe"}, "seen": {"joe": "now"}}


@pytest.mark.parametrize("end", ["finish", "fail", "lost", "cancel", "purge"])
def test_only_the_end_of_the_last_job_wakes_joiners(lane: Lane, end: str) -> None:
    lane.put("first", "last")
    lane.run(commands.join, "joe")
    lane.run(commands.join, "jim")
    lane.run(commands.finish, lane.claim().token, [Settlement("first", b"", 60.0)])
    assert not is_woken(lane)
    if end == "cancel":
        lane.run(commands.cancel, "last", b"", 60.0)
    elif end == "purge":
        lane.run(commands.purge, "ready", 5, b"", 60.0)
    else:
        lane.raw.hset(lane.key("tries"), "last", "0 2 2")
        token = lane.claim().token
        settlement = Settlement("last", b"", 60.0)
        if end == "finish":
            lane.run(commands.finish, token, [settlement])
        elif end == "fail":
            lane.run(commands.fail, token, settlement)
        else:
            assert lane.run(commands.lost, token, settlement, b"") == "dead"
    assert is_woken(lane)
    assert is_woken(lane, "jim")
    assert "joiners" not in lane.dump()
    assert lane.run(commands.join, "joe") == 0


def test_retry_does_not_wake_joiners(lane: Lane) -> None:
    token = lane.take("a")
    lane.run(commands.join, "joe")
    lane.run(commands.retry, token, "a", 1000.0, b"")
    assert not is_woken(lane)


def test_departed_joiner_is_not_woken(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.join, "joe")
    lane.run(commands.leave, "joe")
    lane.run(commands.purge, "ready", 9, b"", 60.0)
    assert not is_woken(lane)


def test_job_state_is_the_index_that_holds_the_job(lane: Lane) -> None:
    def state(job_id: str) -> tuple[str, object, bytes]:
        answer = lane.run(commands.state, job_id)
        return answer.state, answer.detail, answer.data

    lane.put("a", "b")
    lane.put("later", delay=1000.0)
    assert state("b") == ("ready", 1, b"bytes of b")
    where, left, _ = state("later")
    assert where == "delayed"
    assert 990_000 < left <= 1_000_000
    token = lane.claim(2).token
    assert state("a")[:2] == ("leased", f"{token} ann S {255 * 2**45 + 1}".encode())
    lane.run(commands.finish, token, [Settlement("a", b"done", 60.0)])
    lane.run(commands.fail, token, Settlement("b", b"failed", 60.0))
    assert state("a") == ("over", b"done", b"")
    assert state("b") == ("dead", b"failed", b"bytes of b")
    assert state("never put") == ("gone", b"", b"")


def test_queries_change_nothing(lane: Lane) -> None:
    lane.take("a")
    before = lane.dump()
    lane.run(commands.state, "a")
    lane.run(commands.count)
    assert lane.changes(before) == {}


def test_count_is_the_whole_ledger(lane: Lane) -> None:
    lane.put("finished", "failed", "cancelled", "taken", "waits", maxsize=9)
    lane.put("later", delay=1000.0)
    token = lane.claim(4).token
    lane.run(commands.finish, token, [Settlement("finished", b"", 60.0)])
    lane.run(commands.fail, token, Settlement("failed", b"", 60.0))
    lane.run(commands.cancel, "cancelled", b"", 60.0)
    lane.run(commands.pause)
    lane.run(commands.shut)
    count = lane.count()
    assert count == commands.Count(
        ready=1,
        delayed=1,
        leased=1,
        dead=1,
        blocked=0,
        accepted=6,
        finished=1,
        cancelled=1,
        discarded=0,
        orphans=0,
        lapsed=0,
        maxsize=9,
        paused=1,
        shutdown=1,
    )
    assert (count.qsize, count.live, count.imbalance) == (2, 3, 0)


def test_vanished_job_shows_in_the_ledger(lane: Lane) -> None:
    lane.put("a", "b")
    lane.raw.zrem(lane.key("ready"), "a")
    assert lane.count().imbalance == 1
    lane.raw.zadd(lane.key("ready"), {"a": 1})


def test_limit_can_be_set_early_repeatedly_and_below_the_backlog(lane: Lane) -> None:
    for _ in range(2):
        lane.run(commands.bound, 3)
        assert lane.dump() == {"meta.version": PROTOCOL, "meta.maxsize": "3"}
    lane.put("a", "b", "c")
    lane.run(commands.bound, 1)
    assert lane.count().qsize == 3
    assert lane.put("d").accepted == 0
    lane.run(commands.bound, 0)
    assert lane.put("d").accepted == 1


@pytest.mark.parametrize("verb", [commands.pause, commands.shut, commands.resume])
def test_control_of_an_empty_queue_can_be_repeated(lane: Lane, verb: object) -> None:
    lane.run(verb)
    before = lane.dump()
    lane.run(verb)
    assert {name: value for name, value in lane.changes(before).items() if name != "bell"} == {}


def test_joiner_leaves_no_trace_after_the_last_job(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.join, "joe")
    lane.raw.delete(lane.key("ready"))
    lane.raw.delete(lane.key("jobs"))
    lane.sound = False
    assert lane.run(commands.join, "joe") == 0
    assert {"joiners", "seen"} & lane.dump().keys() == set()


def dead_joiner(lane: Lane) -> None:
    """Set up a joiner that was last seen six seconds ago."""
    lane.put("a")
    lane.run(commands.join, "dead")
    lane.raw.hincrby(lane.key("seen"), "dead", -6_000)


def test_joiner_removes_dead_joiners(lane: Lane) -> None:
    dead_joiner(lane)
    lane.run(commands.join, "joe")
    state = lane.dump()
    assert (state["joiners"], state["seen"]) == ({"joe"}, {"joe": "now"})


def test_forget_removes_dead_joiners(lane: Lane) -> None:
    dead_joiner(lane)
    lane.run(commands.forget, 0.0)
    assert {"joiners", "seen"} & lane.dump().keys() == set()


def test_dead_joiners_are_forgotten(lane: Lane) -> None:
    """They are removed by other joiners, and by the hourly sweep."""
    lane.put("a")
    old = lane.raw.time()[0] * 1000 - 6_000
    for number in range(40):
        lane.run(commands.join, f"dead{number}")
        lane.raw.hset(lane.key("seen"), f"dead{number}", old)
    assert len(lane.dump()["joiners"]) < 10
    lane.run(commands.join, "joe")
    lane.run(commands.forget, 0.0)
    state = lane.dump()
    assert state["joiners"] == {"joe"}
    assert state["seen"] == {"joe": "now"}
    lane.run(commands.purge, "ready", 9, b"", 60.0)
    assert is_woken(lane)
    assert {"joiners", "seen"} & lane.dump().keys() == set()
