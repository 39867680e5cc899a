"""What consecutive samples show: the oldest wait, and the busiest queues without alternation."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conveyor import Queue
from conveyor.dashboard.live_stats import live_stats
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.snapshot import (
    FEW,
    MANY,
    NONE_BUSY,
    NOTHING,
    Busiest,
    Load,
    Sample,
    Snapshot,
    busiest_of,
)
from conveyor.store.commands import Count

NO_COUNT = Count(*[0] * len(Count._fields))
LIVE = st.dictionaries(
    st.sampled_from(string.ascii_lowercase), st.integers(0, 50).map(float), min_size=FEW + 1
)


def look(at: float, before: Snapshot, heads: dict[str, float | None] | None = None, **ready: int) -> Snapshot:
    """Return the snapshot of a sample of queues with the given numbers of waiting jobs."""
    counts = {name: NO_COUNT._replace(ready=count, accepted=count) for name, count in ready.items()}
    return snapshots.snapshot_of(Sample(at, list(counts), counts, heads=heads or {}), before)


def test_oldest_wait_is_reported_until_the_job_has_left() -> None:
    first = look(100.0, NOTHING, {"mail": 90.0, "video": 70.0, "odd": None}, mail=1, video=2, odd=1)
    assert first.oldest == 70.0
    second = look(101.0, first, {"mail": 90.0}, mail=1, video=2, odd=1)
    assert second.oldest == 70.0, "a queue that was not asked about is as it was"
    assert look(102.0, second, mail=1, video=0, odd=1).oldest == 90.0
    assert look(103.0, second, mail=1, odd=1).oldest == 90.0, "a queue that is gone has none"
    assert look(104.0, second, mail=0, odd=1).oldest is None


def test_heads_of_many_queues_are_queried_in_turn(server: Any) -> None:
    queues = [Queue(f"turn{number}", store=server.client) for number in range(snapshots.MAX_HEADS + 5)]
    for queue in queues:
        queue.put(1)
    idle = Queue("nothing", store=server.client)
    idle.put(1)
    assert idle.get() == 1
    seen, asked = NOTHING, []
    for _ in range(4):
        query = snapshots.query(seen)
        heads = [command.words[1] for command in query.commands if "up" in command.words]
        asked.append({key.partition("{")[2].partition("}")[0] for key in heads})
        seen = query.ask(server.client)
    assert max(map(len, asked)) == snapshots.MAX_HEADS
    assert asked[2] | asked[3] >= {queue.name for queue in queues}
    assert "nothing" not in asked[2] | asked[3]
    assert seen.oldest is not None
    assert 0 <= seen.at - seen.oldest < 60


def chosen(live: dict[str, float], before: Busiest, work: float = 0.0) -> Busiest:
    """Choose among queues by their jobs at hand, or, with `work` for all, by those that they run."""
    return busiest_of({name: Load(work and one, one) for name, one in live.items()}, before)


@given(LIVE)
def test_busiest_queues_are_initially_those_with_the_most_jobs(live: dict[str, float]) -> None:
    few, many = chosen(live, NONE_BUSY)
    assert few == sorted(sorted(live, key=lambda name: (-live[name], name))[:FEW])
    assert len(many) == min(MANY, len(live))


@given(LIVE, LIVE)
def test_busiest_queues_are_never_far_behind_the_others(
    one: dict[str, float], other: dict[str, float]
) -> None:
    before = chosen(one, NONE_BUSY)
    found = chosen(other, before)
    assert found == chosen(other, found), "without changes, the choice stays"
    assert len(found.few) == min(FEW, len(other))
    for name in found.few:
        for outside in set(other) - set(found.few):
            assert other[outside] <= (2 * other[name] + 5 if other[name] else 0)


def test_queues_with_similar_load_do_not_alternate() -> None:
    live = dict.fromkeys("abcdefgh", 20.0)
    found = chosen(live, NONE_BUSY)
    assert found.few == [*"abcdef"]
    for name in "ghabgh":
        assert chosen({**live, name: 30.0}, found) == found
    assert chosen({**live, "h": 46.0, "b": 19.0}, found).few == [*"acdefh"]
    assert chosen({**live, "c": 0.0}, found).few == [*"abdefg"]


def test_queue_between_two_jobs_is_not_idle() -> None:
    names = "abcdefg"
    counts = {name: NO_COUNT._replace(ready=1, accepted=9, finished=8) for name in names}
    first = snapshots.snapshot_of(Sample(100.0, [*names], counts), NOTHING)
    assert first.busiest == Busiest([*"abcdef"], [*names])
    between = {**counts, "c": NO_COUNT._replace(accepted=9, finished=9)}
    second = snapshots.snapshot_of(Sample(101.0, [*names], between), first)
    assert second.busiest == first.busiest
    for at in (108.0, 115.0):
        second = snapshots.snapshot_of(Sample(at, [*names], between), second)
    assert second.busiest.few == [*"abdefg"]


def test_working_queue_is_busier_than_any_backlog() -> None:
    counts = {f"q{number:03}": NO_COUNT._replace(ready=10_000, accepted=10_000) for number in range(299)}
    counts["works"] = NO_COUNT._replace(leased=40, accepted=40)
    counts["ends"] = NO_COUNT._replace(accepted=9)
    seen = NOTHING
    for at in (100.0, 101.0):
        ended = counts | {"ends": NO_COUNT._replace(accepted=9 + int(at), finished=9 + int(at))}
        seen = snapshots.snapshot_of(Sample(at, [*counts], ended), seen)
    assert {"works", "ends"} <= set(seen.busiest.few)
    assert next(iter(live_stats(seen, 1.0).queues)) in seen.busiest.few
    more = counts | {f"w{number}": NO_COUNT._replace(leased=41, accepted=41) for number in range(3)}
    seen = snapshots.snapshot_of(Sample(102.0, [*more], more), seen)
    assert {"works", "w0", "w1", "w2"} <= set(seen.busiest.few), "those without work make room"
