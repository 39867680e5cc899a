"""series: the records of a range of minutes, hours or days."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import BadCall
from conveyor.monitor import charts as questions
from conveyor.store import commands
from conveyor.store.commands import Bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Lane

LONG = 1 << 30  # seconds


def keep(lane: Lane, name: str, **fields: str) -> None:
    """Write a hash as tally would."""
    lane.raw.hset(lane.key(name), mapping={field.replace("all", "*"): text for field, text in fields.items()})
    lane.raw.expire(lane.key(name), LONG)


def test_buckets_come_in_order_without_missing_ones(lane: Lane) -> None:
    keep(lane, "minute:100", all="s=1", depth="3")
    keep(lane, "minute:102", all="s=2")
    keep(lane, "minute:103", depth="4")
    keep(lane, "minute:104", all="s=4")
    assert lane.run(commands.series, "minute", 100, 103, ("*", "depth")) == [
        Bucket(100, {"*": "s=1", "depth": "3"}),
        Bucket(102, {"*": "s=2"}),
        Bucket(103, {"depth": "4"}),
    ]


def test_series_without_fields_returns_all_fields(lane: Lane) -> None:
    keep(lane, "hour:7", all="s=1", running="2")
    assert lane.run(commands.series, "hour", 0, 20) == [Bucket(7, {"*": "s=1", "running": "2"})]


def test_totals_are_a_single_bucket(lane: Lane) -> None:
    assert lane.run(commands.series, "totals", 0, 0) == []
    lane.run(commands.bound, 0)
    lane.run(commands.tally, "ann", 1, None, [("cut", "s=1")])
    assert lane.run(commands.series, "totals", 0, 0) == [Bucket(0, {"*": "s=1", ":cut": "s=1"})]


def test_at_most_180_buckets_are_read(lane: Lane) -> None:
    for number in (1000, 1179, 1180):
        keep(lane, f"day:{number}", all="s=1")
    found = lane.run(commands.series, "day", 1000, 1 << 39, ("*",))
    assert [one.number for one in found] == [1000, 1179]


def test_series_changes_nothing(lane: Lane) -> None:
    lane.run(commands.tally, "ann", 1, None, [("cut", "s=1")])
    before = lane.dump()
    lane.run(commands.series, "minute", 0, 179)
    assert lane.changes(before) == {}


def test_oldest_wait_is_unknown_if_not_recorded(lane: Lane) -> None:
    keep(lane, "minute:7", all="s=1", oldest="0")
    keep(lane, "minute:8", all="s=1")
    points = questions.series(lane.queue, "minute", 7, 9).ask(lane.client)
    assert [point.oldest for point in points] == [0.0, None, None]
    both = questions.sum_of([points, [questions.Point(1.0, oldest=one) for one in (3.0, 2.0, None)]])
    assert [point.oldest for point in both] == [3.0, 2.0, None]


def test_combined_oldest_wait_is_unknown_if_a_queue_lacks_it() -> None:
    def minutes(*oldest: float | None, depth: int = 0) -> list[questions.Point]:
        return [questions.Point(60.0 * at, depth=depth, oldest=one) for at, one in enumerate(oldest)]

    def together(
        *series: list[questions.Point], since: Sequence[float | None] = (), others: float | None = None
    ) -> list[float | None]:
        return [point.oldest for point in questions.sum_of(series, since, others)]

    worked, silent = minutes(0.0, 0.0, 0.0, 0.0), minutes(None, None, None, None)
    assert together(worked, silent) == [0.0] * 4
    assert together(worked, silent, since=(None, 130.0)) == [0.0, 0.0, None, None], "it waits since 2:10"
    assert together(worked, silent, since=(None, 10.0)) == [None] * 4
    assert together(worked, others=70.0) == [0.0, None, None, None]
    assert together(worked, minutes(None, None, 150.0, 0.0)) == [None, None, 150.0, 0.0], (
        "a note tells of before"
    )
    assert together(worked, minutes(None, None, 0.5, None)) == [0.0, 0.0, 0.5, 0.0]
    assert together(worked, minutes(0.0, None, 0.0, None), since=(None, 190.0)) == [0.0, 0.0, 0.0, None]
    assert together(worked, minutes(None, None, None, None, depth=1)) == [None] * 4, (
        "a head that is not readable"
    )


def test_series_has_a_point_for_each_minute_with_zeros_in_gaps(lane: Lane) -> None:
    keep(
        lane,
        "minute:101",
        all="b=7 s=4 f=1 t=1 c=1 l=2 r=3 d=1 R=1400000 R2=7 W=1 W19=1",
        depth="5",
        oldest="1500",
    )
    points = questions.series(lane.queue, "minute", 100, 102).ask(lane.client)
    assert [point.at for point in points] == [6000.0, 6060.0, 6120.0]
    assert points[0] == questions.Point(6000.0)
    found = points[1]
    assert (found.figures.started, found.figures.succeeded, found.failed, found.figures.timeout) == (
        7,
        4,
        2,
        1,
    )
    assert (found.figures.cancelled, found.figures.lost, found.figures.retried, found.figures.died) == (
        1,
        2,
        3,
        1,
    )
    assert (found.depth, found.oldest, found.running) == (5, 1.5, 0)
    median = found.figures.runs.percentile(0.5)
    assert median is not None
    assert 0.1 < median < 0.25
    assert found.figures.waits.percentile(0.95) == 86400.0


def test_several_queues_are_combined_into_a_series(lane: Lane) -> None:
    keep(lane, "hour:9", all="s=1 R0=1", depth="2", oldest="1000")
    keep(lane, "hour:10", all="s=2 R19=3", depth="3", oldest="5000")
    both = questions.series(lane.queue, "hour", 9, 10).ask(lane.client)
    (point,) = questions.sum_of([both[:1], both[1:]])
    assert (point.at, point.figures.succeeded, point.depth, point.oldest) == (32400.0, 3, 5, 5.0)
    assert point.figures.runs.total == 4
    assert point.figures.runs.percentile(0.95) == 86400.0
    assert questions.sum_of([]) == []


def test_sparkline_ends_with_the_current_minute(lane: Lane) -> None:
    keep(lane, "minute:100", all="s=3 c=1 r=9")
    keep(lane, "minute:98", all="l=2")
    found = questions.sparkline([lane.queue, "other"], 100 * 60 + 59.9, 4).ask(lane.client)
    assert found == {lane.queue: [0, 2, 0, 4], "other": [0, 0, 0, 0]}


def test_tasks_are_summed_over_all_buckets_busiest_first(lane: Lane) -> None:
    for number in (100, 150, 279):
        lane.raw.hset(
            lane.key(f"minute:{number}"),
            mapping={
                "*": "s=9",
                ":cut": "s=1 R=1000000 R4=1",
                ":paste": "s=2 l=1 r=1 R=10 R0=4",
                "depth": "3",
            },
        )
        lane.raw.expire(lane.key(f"minute:{number}"), LONG)
    found = questions.by_task(lane.queue, "minute", 100, 279).ask(lane.client)
    assert list(found) == ["paste", "cut"]
    paste, cut = found.values()
    assert (paste.finished, paste.failures, paste.retried) == (9, 3, 3)
    assert (cut.finished, cut.failures, cut.runs.mean) == (3, 0, 1.0)
    most = cut.runs.percentile(0.95)
    assert most is not None
    assert 0.5 < most <= 1.0


@pytest.mark.parametrize(
    ("tier", "first", "last"),
    [("week", 1, 2), ("minute", 1, 181), ("minute", 2, 1), ("day", -1, 5), ("day", 1 << 41, 1 << 41)],
)
def test_invalid_range_is_refused(tier: str, first: int, last: int) -> None:
    for question in (questions.series, questions.by_task):
        with pytest.raises(BadCall):
            question("work", tier, first, last)


def test_totals_of_an_unknown_queue_are_zero(lane: Lane) -> None:
    found = questions.totals([lane.queue]).ask(lane.client)[lane.queue]
    assert (found.queue.finished, found.tasks, found.jobs.accepted) == (0, {}, 0)
