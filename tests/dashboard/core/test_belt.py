"""The belt and the pulse: values made of counts and reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.dashboard.live_stats import MAX_QUEUES, live_stats
from conveyor.monitor.belt import MAX_ICONS, MAX_SLOTS, belt_of, letter_of
from conveyor.monitor.snapshot import Rate, Snapshot
from conveyor.wire.control_messages import WorkerReport

from ..visitor_kit import report  # noqa: TID252 - test folders are no packages
from .core_kit import counts

SIZES = st.integers(0, 10**7) | st.integers(0, 120)
BOUNDS = st.just(0) | st.integers(1, 10**6) | st.integers(1, 120)
STATES = ("starting", "idle", "busy", "paused", "leaving", "silent", "something of a later release")
WORKERS = st.builds(
    WorkerReport,
    st.just("rack-1/1"),
    st.just(7),
    st.sampled_from(STATES),
    queue=st.sampled_from(("video", "another")),
    paused=st.booleans(),
)


@given(ready=SIZES, delayed=SIZES, maxsize=BOUNDS)
def test_belt_slots_match_their_content(ready: int, delayed: int, maxsize: int) -> None:
    waiting = ready + delayed
    belt = belt_of("q", counts(ready=ready, delayed=delayed, maxsize=maxsize), [])
    assert 0 <= belt.filled <= belt.slots <= MAX_SLOTS
    assert belt.slots >= 1
    assert belt.scale * belt.slots >= (maxsize or waiting)
    assert (belt.filled == 0) == (waiting == 0)
    assert belt.scale * belt.filled >= min(waiting, belt.scale * belt.slots), "no job is left out"
    if maxsize:
        assert belt.scale * (belt.slots - 1) < maxsize, "no slot beyond the bound"
        assert waiting < maxsize or belt.filled == belt.slots, "full looks full"
    else:
        assert str(belt.scale).rstrip("0") in {"1", "2", "5"}


@given(maxsize=BOUNDS.filter(bool), less=SIZES, more=SIZES)
def test_more_jobs_never_fill_fewer_slots(maxsize: int, less: int, more: int) -> None:
    less, more = sorted((less, more))
    filled = [belt_of("q", counts(ready=ready, maxsize=maxsize), []).filled for ready in (less, more)]
    assert filled == sorted(filled)


def here(crew: list[WorkerReport]) -> int:
    """Count those at work on the queue video."""
    return sum(one.state == "busy" and one.queue == "video" for one in crew)


@given(crew=st.lists(WORKERS, max_size=30), times=st.integers(1, 60))
def test_belt_has_at_most_200_icons_of_equal_weight(crew: list[WorkerReport], times: int) -> None:
    workers = crew * times
    belt = belt_of("video", counts(), workers)
    assert len(belt.signs) <= MAX_ICONS
    assert len(workers) <= belt.per_sign * len(belt.signs) < len(workers) + belt.per_sign
    assert (belt.per_sign == 1) == (len(workers) <= MAX_ICONS)
    assert set(belt.signs) <= set("woislph")
    assert list(belt.signs) == sorted(belt.signs, reverse=True), "those at work stand first"
    if belt.per_sign == 1:
        assert belt.signs.count("w") == here(workers)
        assert belt.signs.count("o") == sum(one.state == "busy" for one in workers) - here(workers)


@pytest.mark.parametrize(
    ("state", "paused", "letter"),
    [
        ("busy", False, "w"),
        ("busy", True, "w"),
        ("idle", False, "i"),
        ("idle", True, "p"),
        ("starting", False, "s"),
        ("leaving", False, "l"),
        ("paused", True, "p"),
        ("silent", False, "h"),
        ("silent", True, "h"),
        ("unheard of", False, "i"),
    ],
)
def test_each_state_of_a_worker_has_its_icon(state: str, paused: bool, letter: str) -> None:  # noqa: FBT001
    assert letter_of(WorkerReport("a/1", 1, state, queue="video", paused=paused), "video") == letter


@given(
    ready=SIZES,
    maxsize=BOUNDS,
    blocked=st.integers(0, 50),
    paused=st.integers(0, 1),
    crew=st.lists(WORKERS, max_size=9),
)
def test_belt_label_states_the_numbers(
    ready: int, maxsize: int, blocked: int, paused: int, crew: list[WorkerReport]
) -> None:
    count = counts(ready=ready, maxsize=maxsize, blocked=blocked, paused=paused)
    busy = here(crew)
    place = (
        f"{min(ready, maxsize):,} of {maxsize:,} slots taken"
        + (f" and {more:,} more job{'s' * (more != 1)} waiting" if (more := max(0, ready - maxsize)) else "")
        if maxsize
        else f"{ready:,} job{'s' * (ready != 1)} waiting"
    )
    words = belt_of("video", count, crew).words
    assert words.startswith(f"video: {place}, ")
    assert (f" {blocked} producer{'s' * (blocked > 1)} blocked," in words) == (blocked > 0)
    assert (
        f" {busy} of {len(crew)} worker{'s' * (len(crew) > 1)} at work" if crew else " no workers"
    ) in words
    silent = sum(one.state == "silent" for one in crew)
    assert (f", {silent} silent" in words) == (silent > 0)
    assert words.endswith("; paused." if paused else ".")
    assert ("paused" in words) == bool(paused)


def test_live_stats_sum_up_all_queues_and_list_the_busiest() -> None:
    queues = {f"q{number:03}": counts(ready=number, dead=1) for number in range(MAX_QUEUES + 20)}
    rates = dict.fromkeys(queues, Rate(0.5, 0.25))
    pulse = live_stats(Snapshot(1.23456, queues, (), rates), 2.0)
    assert (pulse.at, pulse.interval) == (1.235, 2.0)
    assert (pulse.waiting, pulse.dead) == (sum(range(120)), 120)
    assert (pulse.rate_in, pulse.rate_out) == (60, 30)
    assert list(pulse.queues) == [f"q{number:03}" for number in range(119, 19, -1)]


def test_worker_is_busy_with_the_queue_of_its_job() -> None:
    crew = [
        WorkerReport("rack-1/1", 1, "busy", queue="video"),
        WorkerReport("rack-1/2", 1, "busy", queue="mail"),
        WorkerReport("rack-1/3", 1, "idle"),
    ]
    consumer = report("rack-1", crew, queues=["video", "mail"])
    pulse = live_stats(Snapshot(1.0, {"video": counts(), "mail": counts()}, [consumer]), 1.0)
    assert (pulse.workers, pulse.busy) == (3, 2)
    assert [(one.workers, one.busy) for one in pulse.queues.values()] == [(3, 1), (3, 1)]
