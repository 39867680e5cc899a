"""What queues did over time, per minute, hour and day, and in total. Times are UTC by the server's clock.

`statistics.bucket` returns the number of a time's minute, hour or day.
"""

from __future__ import annotations

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
    add_text,
    begin,
    bucket,
    figures_of,
    read_figure,
    read_figures,
    sum_figures,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.store.command import Command
    from conveyor.store.commands import Bucket, Count

#: Buckets of one series.
MAX_BUCKETS = 180
#: Buckets whose tasks one command reads, which limits its work.
_TASKS_STEP = 20
_FIELDS = (ALL, "depth", "running", "oldest")


class Point(NamedTuple):
    """What a queue did in one minute, hour or day; zeros, and None for `oldest`, if nothing is known of it.

    A run is counted when it ends, with its start and its wait, but not if it released its job. The gauges are the last
    values of the time. Consumers record them, so they are unknown while none takes from the queue.
    """

    at: float
    """When it began, seconds since 1970."""
    figures: Figures = Figures()
    depth: int = 0
    """Waiting, deferred and delayed jobs."""
    oldest: float | None = None
    """Seconds since the job at the head was put, 0 without waiting jobs."""
    running: int = 0

    @property
    def failed(self) -> int:
        """Jobs that failed finally, those over their time limit included."""
        return self.figures.failed + self.figures.timeout


class Totals(NamedTuple):
    """What a queue has done since it exists, in total and by task, and its number of jobs by state."""

    queue: Figures
    tasks: dict[str, Figures]
    """The first 200 by name, the rest as `_other`."""
    jobs: Count
    """Its `cancelled` includes jobs that were cancelled while waiting; the figures count runs."""


def series(queue: str, tier: str, first: int, last: int) -> Query[list[Point]]:
    """Return what a queue did in each bucket from number `first` to `last`, both included, at most 180.

    `tier` is minute, hour or day; they go back 6 hours, 14 days and 400 days. The queue `keys.ALL_QUEUES` stands for
    all together, without the gauges, which exist per queue. Raises BadCall.
    """
    _check(tier, first, last)
    return Query(
        (commands.series(queue, tier, first, last, _FIELDS),),
        lambda replies: _points(tier, first, last, replies[0]),
    )


def totals_of_all() -> Query[Figures]:
    """Return what all queues together have done since they exist."""
    return Query(
        (commands.series(keys.ALL_QUEUES, "totals", 0, 0, (ALL,)),),
        lambda replies: read_figures(replies[0][0].fields.get(ALL, "")) if replies[0] else Figures(),
    )


def with_all(summed: Sequence[Point], of_all: Sequence[Point]) -> list[Point]:
    """Return the points of all queues, with the gauges of the summed ones.

    A summed point is used if it counts more, since workers of an older version do not count for all queues.
    """
    return [
        one._replace(depth=some.depth, oldest=some.oldest, running=some.running)
        if one.figures.started >= some.figures.started
        else some
        for some, one in zip_longest(summed, of_all, fillvalue=Point(0.0))
    ]


def sparkline(queues: Sequence[str], now: float, minutes: int = 30) -> Query[dict[str, list[int]]]:
    """Return how many jobs of each queue finished in each of the last minutes, the current one (at `now`) last."""
    last = bucket("minute", now)
    first = max(0, last - minutes + 1)
    _check("minute", first, last)

    def read(replies: Sequence[list[Bucket]]) -> dict[str, list[int]]:
        found = {}
        for queue, buckets in zip(queues, replies, strict=True):
            ended = [0] * (last - first + 1)
            for one in buckets:
                ended[one.number - first] = read_figures(one.fields.get(ALL, "")).finished
            found[queue] = ended
        return found

    return Query(tuple(commands.series(queue, "minute", first, last, (ALL,)) for queue in queues), read)


def sum_of(
    points: Iterable[Sequence[Point]], since: Sequence[float | None] = (), others: float | None = None
) -> list[Point]:
    """Return the sum of several queues' points of the same times.

    `oldest` is the maximum, and None if jobs of a queue were waiting but no consumer recorded since when. Later points
    show that, and so do `since`, when the job now at the head of each queue was put, and `others`, the same of queues
    that are not included.
    """
    every = list(points)
    unrecorded = [_unrecorded(series, head) for series, head in zip_longest(every, since[: len(every)])]
    unrecorded += (
        [_unrecorded([one._replace(oldest=None, depth=0) for one in every[0]], others)] if every else []
    )
    return [
        _sum(column)._replace(oldest=None) if any(missing) else _sum(column)
        for column, missing in zip(zip(*every, strict=True), zip(*unrecorded, strict=True), strict=True)
    ]


def totals(queues: Sequence[str]) -> Query[dict[str, Totals]]:
    """Return what each queue has done since it exists, which only grows, and its counts."""
    queries: list[Command] = []
    for queue in queues:
        queries += (commands.series(queue, "totals", 0, 0), commands.count(queue))

    def read(replies: Sequence[Any]) -> dict[str, Totals]:
        pairs = zip(queues, replies[::2], replies[1::2], strict=True)
        return {queue: _totals(buckets, count) for queue, buckets, count in pairs}

    return Query(tuple(queries), read)


def by_task(queue: str, tier: str, first: int, last: int) -> Query[dict[str, Figures]]:
    """Return what a queue did by task, the one with the most finished jobs first; parameters as of `series`.

    Hours and days hold 200 tasks of a queue, minutes 20; the rest together is `_other`.
    """
    _check(tier, first, last)
    parts = range(first, last + 1, _TASKS_STEP)
    queries = tuple(commands.series(queue, tier, part, min(last, part + _TASKS_STEP - 1)) for part in parts)

    def read(replies: Sequence[list[Bucket]]) -> dict[str, Figures]:
        counts: dict[str, dict[str, int]] = {}
        for one in (one for buckets in replies for one in buckets):
            for name, text in one.fields.items():
                if name.startswith(TASK):
                    add_text(counts.setdefault(name.removeprefix(TASK), {}), text)
        found = {task: figures_of(some) for task, some in counts.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].finished, item[0])))

    return Query(queries, read)


def _check(tier: str, first: int, last: int) -> None:
    if tier not in TIERS:
        message = f"tier must be one of {', '.join(TIERS)}, got {tier!r:.80}"
        raise BadCall(message)
    if not 0 <= first <= last < 1 << 40 or last - first >= MAX_BUCKETS:
        message = f"a series must have 1 to {MAX_BUCKETS} buckets, got {tier} {first} to {last}"
        raise BadCall(message)


def _unrecorded(points: Sequence[Point], since: float | None) -> list[bool]:
    """Return for each time True if jobs were waiting for longer than one step and no consumer recorded since when."""
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
    depth, oldest, running = (read_figure(fields.get(name, "")) for name in ("depth", "oldest", "running"))
    since = None if oldest is None else oldest / 1000
    return Point(at, read_figures(fields.get(ALL, "")), depth or 0, since, running or 0)


def _sum(points: Sequence[Point]) -> Point:
    known = [one.oldest for one in points if one.oldest is not None]
    return Point(
        points[0].at,
        sum_figures(one.figures for one in points),
        sum(one.depth for one in points),
        max(known, default=None),
        sum(one.running for one in points),
    )


def _totals(buckets: Sequence[Bucket], count: Count) -> Totals:
    fields = buckets[0].fields if buckets else {}
    tasks = {
        name.removeprefix(TASK): read_figures(text) for name, text in fields.items() if name.startswith(TASK)
    }
    return Totals(read_figures(fields.get(ALL, "")), tasks, count)
