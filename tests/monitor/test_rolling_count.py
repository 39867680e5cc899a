"""The number of jobs finished in the last minute is counted, not extrapolated."""

from __future__ import annotations

import pytest

from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.snapshot import NOTHING, RollingCount, Sample, Snapshot
from conveyor.store.commands import Count

NO_COUNT = Count(*[0] * len(Count._fields))


def look(before: Snapshot, at: float, **finished: int) -> Snapshot:
    """Return the snapshot of a sample of queues with the given numbers of finished jobs."""
    counts = {name: NO_COUNT._replace(finished=count) for name, count in finished.items()}
    return snapshots.snapshot_of(Sample(at, list(counts), counts), before)


def watched(before: Snapshot, first: int, last: int, step: int = 1, finished: int = 0) -> Snapshot:
    """Return the snapshot after polls in which no job ends."""
    for at in range(first, last + 1, step):
        before = look(before, float(at), mail=finished)
    return before


def test_rate_is_unknown_until_polled_for_a_minute() -> None:
    almost = watched(NOTHING, 1000, 1059)
    assert almost.per_minute is None
    assert look(almost, 1060.0, mail=3).per_minute == 3


def test_burst_counts_for_exactly_a_minute() -> None:
    before = watched(NOTHING, 1000, 1060)
    burst = look(before, 1061.0, mail=16)
    assert burst.per_minute == 16
    for at in range(1062, 1121):
        burst = look(burst, float(at), mail=16)
        assert burst.per_minute == 16, at
    assert look(burst, 1121.0, mail=16).per_minute == 0


def test_runs_before_the_first_poll_are_not_counted() -> None:
    seen = watched(NOTHING, 1000, 1060, finished=5000)
    assert seen.per_minute == 0
    assert look(seen, 1061.0, mail=5001, video=70).per_minute == 1, "of a queue that is new"
    assert look(seen, 1061.0).per_minute == 0, "of a queue that has gone"
    assert look(seen, 1061.0, mail=3).per_minute == 0, "of a server that has lost its data"


@pytest.mark.parametrize("step", [2, 5, 15])
def test_rate_does_not_depend_on_the_poll_interval(step: int) -> None:
    seen = NOTHING
    for at in range(1000, 1300, step):
        seen = look(seen, float(at), mail=at)
    assert seen.per_minute == 60


def test_rate_is_unknown_for_a_minute_after_a_long_pause() -> None:
    seen = watched(NOTHING, 1000, 1100)
    later = look(seen, 5000.0, mail=900)
    assert later.per_minute is None
    assert watched(later, 5001, 5059, finished=900).per_minute is None
    assert watched(later, 5001, 5060, finished=900).per_minute == 0


def test_count_restarts_if_the_clock_is_set_back() -> None:
    count = RollingCount()
    for at in (*range(1000, 1100), *range(500, 561)):
        count = count.add(float(at), 1)
    assert count.last_minute(560.0) == 60


def test_frequent_polls_are_merged() -> None:
    count = RollingCount()
    for tenth in range(2000):
        count = count.add(1000.0 + tenth / 10, 1)
    assert len(count.notes) <= 70
    assert count.last_minute(1199.9) == pytest.approx(600, abs=1)
