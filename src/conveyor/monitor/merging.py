"""The jobs of several queues as one list, a page at a time, in one round trip.

Delayed jobs come as they are due, running ones as their leases end, dead ones and runs that have ended the newest
first; a page is found by where the one before ended, as in the list of one queue. Jobs that wait have an order only
within their queue: there comes next, of those at the front of each queue, the one that was put first, and a page is
found by how far the one before came in each queue.

Of each queue a page reads a bounded number of jobs. Where those of one are all looked at and there are more, the page
ends, however few it found, since nobody knows yet what comes next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from conveyor.monitor import history
from conveyor.monitor.job_list import MOST_ROWS
from conveyor.monitor.rows import JobRow, Source, Wanted, index_of, is_wanted, row_of
from conveyor.monitor.sort_orders import ByAge, ByMoment, ByScore, Read
from conveyor.store import commands, records
from conveyor.store.commands import RowRange
from conveyor.store.query import Query
from conveyor.wire.redaction import no_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conveyor.monitor.history import Finish, Matching
    from conveyor.store.command import Command
    from conveyor.store.commands import Row, Rows
    from conveyor.store.records import Entry
    from conveyor.wire.redaction import LabelsOf

#: Queues that one page asks.
MOST_QUEUES = 20

T = TypeVar("T")
R = TypeVar("R")


class Merged(NamedTuple, Generic[T]):
    """Some jobs of several queues; `next` is the cursor of those behind them, empty where there are none."""

    rows: list[T]
    next: str
    searched: int
    """How many were looked at."""


class Limits(NamedTuple):
    """How many jobs a page has, 200 at most; how many it looks at in all queues together to find those wanted."""

    most: int = 50
    budget: int = 1000

    def share(self, queues: int, *, searches: bool) -> int:
        """Give how many are read of each queue."""
        most = max(1, min(self.most, MOST_ROWS))
        return max(self.budget // max(queues, 1), 1) if searches else most


class Ended(NamedTuple):
    """A run of one of the queues that has ended."""

    queue: str
    finish: Finish


_USUAL, _ANY, _EVERY = Limits(), Wanted(), history.Matching()


def jobs(
    queues: Sequence[str],
    state: str,
    cursor: str = "",
    wanted: Wanted = _ANY,
    limits: Limits = _USUAL,
    labels_of: LabelsOf = no_labels,
) -> Query[Merged[JobRow]]:
    """The jobs of the first 20 of these queues in one state (waiting, delayed, running, dead) that are as wanted.

    `labels_of` as in `stories.story`. Raises BadCall.
    """
    index, wanted, asked = index_of(state), wanted.checked(), list(queues[:MOST_QUEUES])
    down = index == "dead"
    order = ByAge(cursor) if index == "ready" else ByScore(cursor, down=down)
    share = limits.share(len(asked), searches=any(wanted))
    reads = [_reads(queue, index, RowRange(share, down, *order.begin(queue))) for queue in asked]

    def value(queue: str, raw: Row) -> JobRow | None:
        row = row_of(Source(queue, index, labels_of), raw)
        return row if is_wanted(row, raw, wanted, labels_of) else None

    def read(answers: Sequence[Any]) -> Merged[JobRow]:
        given = iter(answers)
        found = [
            _read(queue, [next(given) for _ in some], down=down)
            for queue, some in zip(asked, reads, strict=True)
        ]
        return _page(found, order.order(found), order.after, value, limits.most)

    return Query(tuple(command for some in reads for command in some), read)


def finishes(
    queues: Sequence[str], cursor: str = "", matching: Matching = _EVERY, limits: Limits = _USUAL
) -> Query[Merged[Ended]]:
    """The runs that match and ended last in the first 20 of these queues. Raises BadCall."""
    asked, order = list(queues[:MOST_QUEUES]), ByMoment(cursor)
    share = min(limits.share(len(asked), searches=matching != _EVERY), records.MAX_ENTRIES)

    def value(queue: str, raw: Entry) -> Ended | None:
        finish = history.finish_of(raw)
        return Ended(queue, finish) if finish is not None and matching.fits(finish.note) else None

    def read(answers: Sequence[Any]) -> Merged[Ended]:
        found = [
            Read(queue, entries, len(entries) == share) for queue, entries in zip(asked, answers, strict=True)
        ]
        return _page(found, order.order(found), order.after, value, limits.most)

    return Query(tuple(records.history(queue, order.begin(queue), share) for queue in asked), read)


def _reads(queue: str, index: str, place: RowRange) -> list[Command]:
    """Give what reads as many rows behind a place as it wants, of which one command gives 200 at most."""
    return [
        commands.rows(queue, index, place._replace(want=min(MOST_ROWS, place.want - skip), skip=skip))
        for skip in range(0, place.want, MOST_ROWS)
    ]


def _read(queue: str, answers: Sequence[Rows], *, down: bool) -> Read[Row]:
    """Give what was read; what moved meanwhile from one answer to the next is there once."""
    final = answers[-1]
    rest = final.first if down else final.total - final.first - len(final.rows)
    given = {row.id: row for found in answers for row in found.rows}
    return Read(queue, list(given.values()), bool(final.rows) and rest > 0)


def _page(
    reads: Sequence[Read[R]],
    following: Iterator[tuple[str, R]],
    after: Callable[[Sequence[tuple[str, R]]], str],
    value: Callable[[str, R], T | None],
    most: int,
) -> Merged[T]:
    """Look at what was read, in its order, until the page is full or nobody knows what comes next."""
    ends = {read.queue: read.given[-1] for read in reads if read.more}
    found: list[T] = []
    met: list[tuple[str, R]] = []
    for queue, raw in following:
        if len(found) == most:
            return Merged(found, after(met), len(met))
        met.append((queue, raw))
        one = value(queue, raw)
        if one is not None:
            found.append(one)
        if raw is ends.get(queue):
            return Merged(found, after(met), len(met))
    return Merged(found, "", len(met))
