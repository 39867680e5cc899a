"""cancel and purge: what waits ends at once; what runs is marked, and what was only held is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.store import commands
from conveyor.store.answers import Settlement

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45
KEEP = 60.0


def cancel(lane: Lane, job_id: str) -> tuple[str, str]:
    return lane.run(commands.cancel, job_id, b"away", KEEP)


def test_a_waiting_job_is_over_at_once(lane: Lane) -> None:
    lane.put("a", "b")
    before = lane.dump()
    assert cancel(lane, "a") == ("cancelled", "")
    assert lane.changes(before) == {
        "ready": {"b": TOP + 2},
        "jobs": {"b": "bytes of b"},
        "outcome:a": "away",
        "meta.cancelled": "1",
    }


def test_a_delayed_job_is_over_at_once_with_its_priority_and_tries(lane: Lane) -> None:
    lane.put("a", priority=3)
    lane.run(commands.retry, lane.claim().token, "a", 1000.0, b"note")
    before = lane.dump()
    assert cancel(lane, "a") == ("cancelled", "")
    assert lane.changes(before) == {
        "delayed": None,
        "priorities": None,
        "tries": None,
        "jobs": None,
        "outcome:a": "away",
        "meta.cancelled": "1",
    }


def test_a_running_job_is_marked_and_its_owner_named_and_nothing_else(lane: Lane) -> None:
    lane.take("a")
    before = lane.dump()
    assert cancel(lane, "a") == ("running", "ann")
    assert lane.changes(before) == {"leases": {"a": f"#1 ann C {TOP + 1}"}}


def test_a_job_held_but_not_started_is_taken_away_from_its_holder(lane: Lane) -> None:
    token = lane.take("running", "held")
    state, owner = cancel(lane, "held")
    assert state == "cancelled"
    assert owner, "its consumer must be told, since it may have begun"
    assert lane.run(commands.finish, token, [Settlement("held", b"done", KEEP)]) == ["held"]
    assert lane.run(commands.state, "held").detail == b"away"


def test_a_running_job_that_ends_well_before_it_hears_of_it_is_done(lane: Lane) -> None:
    token = lane.take("a")
    cancel(lane, "a")
    assert lane.run(commands.finish, token, [Settlement("a", b"done", KEEP)]) == []
    assert lane.count().finished == 1


@pytest.mark.parametrize("place", ["ready", "delayed", "running"])
def test_cancelling_twice_is_cancelling_once(lane: Lane, place: str) -> None:
    lane.put("a", delay=1000.0 if place == "delayed" else 0.0)
    if place == "running":
        lane.claim()
    answer = cancel(lane, "a")
    before = lane.dump()
    assert lane.run_again(commands.cancel, "a", b"away", KEEP) == answer
    assert lane.changes(before) == {}


def test_what_is_over_dead_or_unknown_is_told_and_left_alone(lane: Lane) -> None:
    token = lane.take("over", "dead")
    lane.run(commands.finish, token, [Settlement("over", b"done", KEEP)])
    lane.run(commands.fail, token, Settlement("dead", b"failed", KEEP))
    before = lane.dump()
    assert [cancel(lane, one)[0] for one in ("over", "dead", "never put")] == ["over", "dead", "gone"]
    assert lane.changes(before) == {}


def test_a_purge_ends_what_waits_in_order_a_slice_at_a_time_and_leaves_the_running_alone(lane: Lane) -> None:
    lane.take("runs")
    lane.put("a", "b", "c")
    lane.put("later", delay=1000.0, priority=2)
    before = lane.dump()
    assert lane.run(commands.purge, 2, b"away", KEEP) == 2
    assert lane.changes(before) == {
        "ready": {"c": TOP + 4},
        "jobs": {one: f"bytes of {one}" for one in ("runs", "c", "later")},
        "outcome:a": "away",
        "outcome:b": "away",
        "meta.cancelled": "2",
    }
    assert [lane.run(commands.purge, 2, b"away", KEEP) for _ in range(2)] == [2, 0]
    state = lane.dump()
    assert state["leased"] == {"runs": 1000}
    assert {"ready", "delayed", "priorities"} & state.keys() == set()


def test_a_purge_tells_who_waits_for_the_end(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.join, "joe")
    lane.run(commands.purge, 9, b"away", KEEP)
    assert lane.raw.exists(lane.key("wake:joe"))
