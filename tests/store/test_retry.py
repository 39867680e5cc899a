"""retry: leased -> delayed, one retry used; and promote: delayed -> ready, when due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.monitor import Inspector
from conveyor.store import commands
from conveyor.store.commands import RowRange, key_priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lane

TOP = 255 * 2**45
LONG = 1000.0


def make_due(lane: Lane, *ids: str) -> None:
    """Set the due times of delayed jobs to past times, in this order."""
    for place, one in enumerate(ids):
        lane.raw.zadd(lane.key("delayed"), {one: 1 + place})


def test_retried_job_is_delayed_with_a_retry_used(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.raw.hset(lane.key("progress"), "a", "half")
    before = lane.dump()
    assert lane.run(commands.retry, token, "a", 1000.0, b"note", b"attempt") == "OK"
    assert lane.changes(before) == {
        "attempts:a": ["attempt"],
        "leased": {"b": 1000},
        "leases": {"b": f"#1 ann H {TOP + 2}"},
        "progress": None,
        "delayed": {"a": 1000},
        "tries": {"a": "1 0 0"},
        "bell": ["1", "1", "1"],
        "history": ["note"],
    }


def test_retry_sent_twice_uses_up_a_single_retry(lane: Lane) -> None:
    token = lane.take("a")
    lane.run(commands.retry, token, "a", 1000.0, b"note", b"attempt")
    before = lane.dump()
    assert lane.run_again(commands.retry, token, "a", 1000.0, b"note", b"attempt") == "STALE"
    assert lane.changes(before) == {}


def test_retry_with_another_token_is_stale_and_changes_nothing(lane: Lane) -> None:
    token = lane.take("a")
    before = lane.dump()
    for wrong in ("1", token[:-1], token + "0"):
        assert lane.run(commands.retry, wrong, "a", 0.0, b"", b"attempt") == "STALE"
    assert lane.changes(before) == {}


def test_retry_without_delay_queues_the_job_behind_the_others(lane: Lane) -> None:
    token = lane.take("a")
    lane.put("b")
    lane.run(commands.retry, token, "a", 0.0, b"")
    assert lane.dump()["ready"] == {"b": TOP + 2, "a": TOP + 3}


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("priority", [0, 1, 7, 255, *map(key_priority, (-1_000_000, 1, 999_999))])
def test_retried_job_keeps_its_priority(lane: Lane, priority: float, *, front: bool) -> None:
    lane.put("a", priority=priority, front=front and priority < 256)
    token = lane.claim().token
    lane.run(commands.retry, token, "a", 1000.0, b"")
    assert lane.dump().get("priorities") == ({"a": str(priority)} if priority else None)
    make_due(lane, "a")
    lane.run(commands.promote)
    assert lane.dump()["ready"] == {"a": (255 - priority) * 2**45 + 2}


def test_retry_of_a_job_marked_as_cancelled_cancels_it(lane: Lane) -> None:
    token = lane.take("a")
    assert lane.run(commands.cancel, "a", b"cancelled", 60.0) == ("running", "ann", token)
    assert lane.run(commands.retry, token, "a", 1000.0, b"", b"attempt") == "cancelled"
    assert "attempts:a" not in lane.dump()
    count = lane.count()
    assert (count.live, count.cancelled) == (0, 1)


def test_due_jobs_are_promoted_by_time_and_priority_and_wake(lane: Lane) -> None:
    lane.put("low", delay=1000.0)
    lane.put("high", delay=1000.0, priority=3)
    lane.put("not yet", delay=1000.0)
    lane.put("waits")
    make_due(lane, "low", "high")
    before = lane.dump()
    assert lane.run(commands.promote) == 2
    assert lane.changes(before) == {
        "delayed": {"not yet": 1000},
        "priorities": None,
        "ready": {"high": TOP - 3 * 2**45 + 6, "waits": TOP + 4, "low": TOP + 5},
        "meta.sequence": "6",
        "bell": before["bell"] + ["1", "1"],
    }


def test_second_promotion_moves_no_job(lane: Lane) -> None:
    lane.put("a", delay=1000.0)
    make_due(lane, "a")
    lane.run(commands.promote)
    before = lane.dump()
    assert lane.run_again(commands.promote) == 0
    assert lane.changes(before) == {}


def test_promotion_moves_64_jobs_and_runs_on_claims_and_renewals(lane: Lane) -> None:
    ids = [f"job{number:03}" for number in range(200)]
    lane.put(*ids, delay=1000.0)
    make_due(lane, *ids)
    assert lane.run(commands.promote) == 64
    token = lane.claim().token
    assert lane.count().ready == 127
    lane.run(commands.renew, [("job000", token, "S")], 1000.0)
    assert lane.count().ready == 191
    assert [job.id for job in lane.claim(500).jobs] == ids[1:]


def test_claim_takes_a_job_that_has_just_become_due(lane: Lane) -> None:
    lane.put("a", delay=1000.0)
    assert lane.claim().state == "EMPTY"
    make_due(lane, "a")
    assert [job.id for job in lane.claim().jobs] == ["a"]


def test_last_twenty_attempts_are_kept_for_a_day(lane: Lane) -> None:
    lane.put("a")
    for number in range(25):
        lane.run(commands.retry, lane.claim().token, "a", 0.0, b"", b"%d" % number)
    assert lane.dump()["attempts:a"] == [str(number) for number in range(5, 25)]
    assert 86_000_000 < lane.raw.pttl(lane.key("attempts:a")) <= 86_400_000


HOUR = 3_600_000


def set_back(lane: Lane) -> None:
    """Simulate that the server's clock was set back by an hour since the last script.

    What was written by it until now is an hour ahead.
    """
    seconds, microseconds = lane.raw.time()
    now = seconds * 1000 + microseconds // 1000
    for one, score in lane.raw.zrange(lane.key("delayed"), 0, -1, withscores=True):
        lane.raw.zadd(lane.key("delayed"), {one: score + HOUR})
    lane.raw.hset(lane.key("meta"), "due_wall", now + HOUR)


@pytest.mark.parametrize("way", ["claim", "promote", "renew"])
def test_clock_set_back_delays_no_job(lane: Lane, eventually: Callable[..., Any], way: str) -> None:
    token = lane.take("held")
    lane.put("soon", delay=0.05)
    lane.put("later", delay=1000.0)
    set_back(lane)
    look = {
        "claim": lane.claim,
        "promote": lambda: lane.run(commands.promote),
        "renew": lambda: lane.run(commands.renew, [("held", token, "S")], LONG),
    }[way]
    eventually(lambda: look() and lane.count().delayed == 1, 5.0)
    assert lane.run(commands.state, "soon").state in {"ready", "leased"}
    assert 995_000 < lane.run(commands.state, "later").detail <= 1_000_000


def test_delays_started_after_a_clock_was_set_back_are_exact(lane: Lane) -> None:
    lane.put("first", delay=1000.0)
    set_back(lane)
    lane.put("second", delay=500.0)
    lane.put("third", delay=0.02)
    lane.run(commands.retry, lane.take("fourth"), "fourth", 700.0, b"")
    left = {one: lane.run(commands.state, one).detail / 1000 for one in ("first", "second", "fourth")}
    assert left == pytest.approx({"first": 1000, "second": 500, "fourth": 700}, abs=5)
    (row, *_) = [one for one in lane.run(commands.rows, "delayed", RowRange(9)).rows if one.id == "second"]
    assert (float(row.score) - row.shift) / 1000 == pytest.approx(lane.raw.time()[0] + 500, abs=5)
    (line, *_) = [one for one in Inspector(lane.client).jobs(lane.queue, "delayed") if one.id == "first"]
    assert line.due_at == pytest.approx(lane.raw.time()[0] + 1000, abs=5)


def test_clock_set_forward_and_back_adds_no_delay(lane: Lane) -> None:
    """Due times follow it forward; when it is put right, jobs put in between are not an hour late."""
    lane.put("a", delay=1000.0)
    for _ in range(3):
        set_back(lane)
        assert lane.claim().state == "EMPTY"
    assert lane.claim().wait == pytest.approx(60, abs=1)
    assert lane.run(commands.state, "a").detail / 1000 == pytest.approx(1000, abs=5)
