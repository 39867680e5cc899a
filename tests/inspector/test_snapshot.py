"""What one sample after the other tells: since when jobs wait, and which queues are busiest without taking turns."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conveyor import Queue
from conveyor.inspector import snapshot as snapshots
from conveyor.inspector.busiest import FEW, MANY, NOBODY, Busiest, busiest_of
from conveyor.inspector.snapshot import NOTHING, Sample, Snapshot
from conveyor.store.answers import Count

NO_COUNT = Count(*[0] * len(Count._fields))
LIVE = st.dictionaries(
    st.sampled_from(string.ascii_lowercase), st.integers(0, 50).map(float), min_size=FEW + 1
)


def look(at: float, before: Snapshot, heads: dict[str, float | None] | None = None, **ready: int) -> Snapshot:
    """Give the snapshot of a sample of queues with so many jobs that wait."""
    counts = {name: NO_COUNT._replace(ready=count, accepted=count) for name, count in ready.items()}
    return snapshots.snapshot_of(Sample(at, list(counts), counts, [], [], [], heads or {}), before)


def test_the_oldest_of_all_queues_is_told_until_it_waits_no_more() -> None:
    first = look(100.0, NOTHING, {"mail": 90.0, "video": 70.0, "odd": None}, mail=1, video=2, odd=1)
    assert first.oldest == 70.0
    second = look(101.0, first, {"mail": 90.0}, mail=1, video=2, odd=1)
    assert second.oldest == 70.0, "a queue that was not asked about is as it was"
    assert look(102.0, second, mail=1, video=0, odd=1).oldest == 90.0
    assert look(103.0, second, mail=1, odd=1).oldest == 90.0, "a queue that is gone has none"
    assert look(104.0, second, mail=0, odd=1).oldest is None


def test_many_queues_are_asked_in_turn_since_when_their_heads_wait(server: Any) -> None:
    queues = [Queue(f"turn{number}", store=server.client) for number in range(snapshots.MOST_HEADS + 5)]
    for queue in queues:
        queue.put(1)
    idle = Queue("nothing", store=server.client)
    idle.put(1)
    assert idle.get() == 1
    seen, asked = NOTHING, []
    for _ in range(4):
        sample = snapshots.question(seen).ask(server.client)
        asked.append(set(sample.heads))
        seen = snapshots.snapshot_of(sample, seen)
    assert max(map(len, asked)) == snapshots.MOST_HEADS
    assert asked[2] | asked[3] >= {queue.name for queue in queues}
    assert "nothing" not in asked[2] | asked[3]
    assert seen.oldest is not None
    assert 0 <= seen.at - seen.oldest < 60


@given(LIVE)
def test_at_first_the_busiest_are_those_with_most_jobs(live: dict[str, float]) -> None:
    few, many = busiest_of(live, NOBODY)
    assert few == sorted(sorted(live, key=lambda name: (-live[name], name))[:FEW])
    assert len(many) == min(MANY, len(live))


@given(LIVE, LIVE)
def test_who_stays_among_the_busiest_is_not_far_behind_any_that_is_not(
    one: dict[str, float], other: dict[str, float]
) -> None:
    before = busiest_of(one, NOBODY)
    found = busiest_of(other, before)
    assert found == busiest_of(other, found), "as long as nothing changes, nobody else is chosen"
    assert len(found.few) == min(FEW, len(other))
    for name in found.few:
        for outside in set(other) - set(found.few):
            assert other[outside] <= (2 * other[name] + 5 if other[name] else 0)


def test_queues_that_are_about_as_busy_do_not_take_turns() -> None:
    live = dict.fromkeys("abcdefgh", 20.0)
    found = busiest_of(live, NOBODY)
    assert found.few == [*"abcdef"]
    for name in "ghabgh":
        assert busiest_of({**live, name: 30.0}, found) == found
    assert busiest_of({**live, "h": 46.0, "b": 19.0}, found).few == [*"acdefh"]
    assert busiest_of({**live, "c": 0.0}, found).few == [*"abdefg"]


def test_a_queue_that_is_only_between_two_jobs_is_not_idle() -> None:
    names = "abcdefg"
    counts = {name: NO_COUNT._replace(ready=1, accepted=9, finished=8) for name in names}
    first = snapshots.snapshot_of(Sample(100.0, [*names], counts, [], [], []), NOTHING)
    assert first.busiest == Busiest([*"abcdef"], [*names])
    between = {**counts, "c": NO_COUNT._replace(accepted=9, finished=9)}
    second = snapshots.snapshot_of(Sample(101.0, [*names], between, [], [], []), first)
    assert second.busiest == first.busiest
    for at in (108.0, 115.0):
        second = snapshots.snapshot_of(Sample(at, [*names], between, [], [], []), second)
    assert second.busiest.few == [*"abdefg"]
