"""Questions about what was done, over time. A minute, hour or day begins by the server's clock, in universal time.

Times are seconds since 1970; `commands.server_time` asks for now, and `statistics.bucket` gives the number of its
minute, hour or day.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.errors import BadCall
from conveyor.store import commands, keys
from conveyor.store.query import Query
from conveyor.wire.statistics import (
    ALL,
    TASK,
    TIERS,
    Figures,
    Histogram,
    add_text,
    begin,
    bucket,
    figures_of,
    read_figure,
    read_figures,
    sum_histograms,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.store.command import Command
    from conveyor.store.commands import Bucket, Count

#: Buckets of one series at most.
MOST_BUCKETS = 180
#: Buckets whose tasks are read by one command, which bounds its work.
_TASKS_STEP = 20
_FIELDS = (ALL, "depth", "running", "oldest")


class Point(NamedTuple):
    """What a queue did in one minute, hour or day; a time of which nothing is known is zeros, and None for `oldest`.

    A run is counted when it ends, with its start and its wait; not at all if its job only goes back to its place. The
    gauges are the last values of the time; consumers note them, so where none took from the queue they are not known.
    """

    at: float
    """When it began."""
    succeeded: int = 0
    failed: int = 0
    """Jobs that failed for good, those over their time limit included."""
    cancelled: int = 0
    lost: int = 0
    retried: int = 0
    started: int = 0
    depth: int = 0
    """Jobs that wait."""
    oldest: float | None = None
    """Seconds since the job at the head was put, 0 where none waited."""
    running: int = 0
    run_p50: float | None = None
    """Seconds; None where nothing ran."""
    run_p95: float | None = None
    wait_p50: float | None = None
    wait_p95: float | None = None
    timeout: int = 0
    """Those of `failed` that were over their time limit."""
    expired: int = 0
    died: int = 0
    """Workers that died while they ran a job, and were not told to."""
    runs: Histogram = Histogram()
    waits: Histogram = Histogram()


class Totals(NamedTuple):
    """What a queue has done in all time, by task, and how many jobs are where now."""

    queue: Figures
    tasks: dict[str, Figures]
    """The first 200 by name, the rest as `_other`."""
    jobs: Count
    """Its `cancelled` includes jobs cancelled while they waited; the figures count runs."""


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """What was done of one task."""

    task: str
    count: int
    """Jobs that ended."""
    failures: int
    """Those of them that failed, took too long, or were lost."""
    mean: float | None
    """Seconds of a run; None where there was none."""
    p95: float | None
    retried: int = 0


def series(queue: str, tier: str, first: int, last: int) -> Query[list[Point]]:
    """What a queue did in each bucket from number `first` to `last`, both included, at most 180; none is missing.

    `tier` is minute, hour or day; they go back 6 hours, 14 days and 400 days. Raises BadCall.
    """
    _check(tier, first, last)
    return Query(
        (commands.series(queue, tier, first, last, _FIELDS),),
        lambda answers: _points(tier, first, last, answers[0]),
    )


def series_of_all(tier: str, first: int, last: int) -> Query[list[Point]]:
    """Ask what all queues together did, as `series`; without gauges, which are of one queue each."""
    return series(keys.ALL_QUEUES, tier, first, last)


def totals_of_all() -> Query[Figures]:
    """Ask what all queues together have done in all time."""
    return Query(
        (commands.series(keys.ALL_QUEUES, "totals", 0, 0, (ALL,)),),
        lambda answers: read_figures(answers[0][0].fields.get(ALL, "")) if answers[0] else Figures(),
    )


def with_all(summed: Sequence[Point], of_all: Sequence[Point]) -> list[Point]:
    """Return the points of all queues with the gauges of those that were summed.

    The sum of some counts where it is the greater one: workers of an older version tell nothing of all queues.
    """
    return [
        one._replace(depth=some.depth, oldest=some.oldest, running=some.running)
        if one.started >= some.started
        else some
        for some, one in zip_longest(summed, of_all, fillvalue=Point(0.0))
    ]


def sparkline(queues: Sequence[str], now: float, minutes: int = 30) -> Query[dict[str, list[int]]]:
    """How many jobs of each queue ended in each of the last minutes, the one that goes on (at `now`) as the last."""
    last = bucket("minute", now)
    first = max(0, last - minutes + 1)
    _check("minute", first, last)

    def read(answers: Sequence[list[Bucket]]) -> dict[str, list[int]]:
        found = {}
        for queue, buckets in zip(queues, answers, strict=True):
            ended = [0] * (last - first + 1)
            for one in buckets:
                ended[one.number - first] = read_figures(one.fields.get(ALL, "")).finished
            found[queue] = ended
        return found

    return Query(tuple(commands.series(queue, "minute", first, last, (ALL,)) for queue in queues), read)


def sum_of(
    points: Iterable[Sequence[Point]], since: Sequence[float | None] = (), others: float | None = None
) -> list[Point]:
    """Give several queues' points of the same times as one series.

    `oldest` is the greatest there is, and None where jobs of one queue waited of which nobody noted since when. That
    is told by later notes, by `since`: of each series, when the job was put that waits at the head now; and by
    `others`: the same of queues that are not among them.
    """
    every = list(points)
    silent = [_silent(series, head) for series, head in zip_longest(every, since[: len(every)])]
    silent += [_silent([one._replace(oldest=None, depth=0) for one in every[0]], others)] if every else []
    return [
        _sum(column)._replace(oldest=None) if any(quiet) else _sum(column)
        for column, quiet in zip(zip(*every, strict=True), zip(*silent, strict=True), strict=True)
    ]


def totals(queues: Sequence[str]) -> Query[dict[str, Totals]]:
    """What each queue has done in all time, and its counts now; these figures only ever grow."""
    told: list[Command] = []
    for queue in queues:
        told += (commands.series(queue, "totals", 0, 0), commands.count(queue))

    def read(answers: Sequence[Any]) -> dict[str, Totals]:
        pairs = zip(queues, answers[::2], answers[1::2], strict=True)
        return {queue: _totals(buckets, count) for queue, buckets, count in pairs}

    return Query(tuple(told), read)


def by_task(queue: str, tier: str, first: int, last: int) -> Query[list[TaskFigures]]:
    """What a queue did in a time, by task, those of which most ended first; as for `series`.

    Hours and days know 200 tasks of a queue, minutes 20; the others together are `_other`.
    """
    _check(tier, first, last)
    parts = range(first, last + 1, _TASKS_STEP)
    told = tuple(commands.series(queue, tier, part, min(last, part + _TASKS_STEP - 1)) for part in parts)

    def read(answers: Sequence[list[Bucket]]) -> list[TaskFigures]:
        found: dict[str, dict[str, int]] = {}
        for one in (one for buckets in answers for one in buckets):
            for name, text in one.fields.items():
                if name.startswith(TASK):
                    add_text(found.setdefault(name.removeprefix(TASK), {}), text)
        every = [_of_task(task, figures_of(counts)) for task, counts in found.items()]
        return sorted(every, key=lambda one: (-one.count, one.task))

    return Query(told, read)


def _check(tier: str, first: int, last: int) -> None:
    if tier not in TIERS:
        message = f"{tier!r:.80} is none of {', '.join(TIERS)}"
        raise BadCall(message)
    if not 0 <= first <= last < 1 << 40 or last - first >= MOST_BUCKETS:
        message = f"from {tier} {first} to {last}: it is 1 to {MOST_BUCKETS} of them"
        raise BadCall(message)


def _silent(points: Sequence[Point], since: float | None) -> list[bool]:
    """Tell of each time whether jobs waited for longer than one step and nobody noted since when."""
    step = points[1].at - points[0].at if len(points) > 1 else float("inf")
    found: list[bool] = []
    end = float("inf")
    for point in reversed(points):
        waited = since is not None and end > since
        found.append(point.oldest is None and (waited or point.depth > 0))
        if point.oldest is not None:
            since = point.at - point.oldest if point.oldest > step else None
        end = point.at
    return found[::-1]


def _points(tier: str, first: int, last: int, buckets: Sequence[Bucket]) -> list[Point]:
    known = {one.number: one.fields for one in buckets}
    return [
        _point(begin(tier, number), known[number]) if number in known else Point(begin(tier, number))
        for number in range(first, last + 1)
    ]


def _point(at: float, fields: dict[str, str]) -> Point:
    figures, oldest = read_figures(fields.get(ALL, "")), read_figure(fields.get("oldest", ""))
    point = Point(
        at,
        succeeded=figures.succeeded,
        failed=figures.failed + figures.timeout,
        cancelled=figures.cancelled,
        lost=figures.lost,
        retried=figures.retried,
        started=figures.started,
        depth=read_figure(fields.get("depth", "")) or 0,
        oldest=None if oldest is None else oldest / 1000,
        running=read_figure(fields.get("running", "")) or 0,
        timeout=figures.timeout,
        expired=figures.expired,
        died=figures.died,
    )
    return _with_times(point, figures.runs, figures.waits)


def _with_times(point: Point, runs: Histogram, waits: Histogram) -> Point:
    return point._replace(
        run_p50=runs.percentile(0.5),
        run_p95=runs.percentile(0.95),
        wait_p50=waits.percentile(0.5),
        wait_p95=waits.percentile(0.95),
        runs=runs,
        waits=waits,
    )


_ADDED = (
    *("succeeded", "failed", "cancelled", "lost", "retried", "started", "depth", "running", "timeout"),
    *("expired", "died"),
)


def _sum(points: Sequence[Point]) -> Point:
    added = {name: sum(getattr(one, name) for one in points) for name in _ADDED}
    known = [one.oldest for one in points if one.oldest is not None]
    point = Point(points[0].at, oldest=max(known, default=None), **added)
    runs = sum_histograms(one.runs for one in points)
    return _with_times(point, runs, sum_histograms(one.waits for one in points))


def _totals(buckets: Sequence[Bucket], count: Count) -> Totals:
    if not buckets:
        return Totals(Figures(), {}, count)
    return Totals(read_figures(buckets[0].fields.get(ALL, "")), _tasks(buckets[0]), count)


def _tasks(found: Bucket) -> dict[str, Figures]:
    return {
        name.removeprefix(TASK): read_figures(text)
        for name, text in found.fields.items()
        if name.startswith(TASK)
    }


def _of_task(task: str, figures: Figures) -> TaskFigures:
    p95 = figures.runs.percentile(0.95)
    return TaskFigures(task, figures.finished, figures.failures, figures.runs.mean, p95, figures.retried)
