"""The jobs of one or several queues as one list that can be searched, a page at a time, in one round trip.

Delayed jobs are ordered by due time and running ones by the end of their lease; dead jobs and finished runs begin with
the newest. Waiting and deferred jobs have an order only within their queue: of the jobs at the front of each queue, the
one that was put first comes next. A cursor holds the last job of the previous page or, for these, the last score per
queue. So no job appears twice, and none is left out unless it moved.

A page reads a limited number of jobs per queue. It ends where the jobs read of one queue end and the queue has more,
however few jobs matched, since the next job of that queue is unknown.
"""

from __future__ import annotations

import hashlib
import heapq
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from conveyor.errors import BadCall
from conveyor.monitor import history
from conveyor.monitor.job_data import read_call
from conveyor.monitor.job_list import (
    MAX_ROWS,
    SCORE,
    JobFilter,
    JobRow,
    decode_cursor,
    encode_cursor,
    index_of,
    invalid_cursor,
    matches,
    read_rows,
    row_of,
    unique_rows,
)
from conveyor.store import records
from conveyor.store.commands import Row, RowRange
from conveyor.store.query import Query
from conveyor.store.records import Entry, checked_entry
from conveyor.wire import ids
from conveyor.wire.redaction import no_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conveyor.monitor.history import Finish, HistoryFilter
    from conveyor.store.commands import Rows
    from conveyor.wire.redaction import LabelsOf

#: Queues that one page reads.
MAX_QUEUES = 20
#: Sorts after every id, and occurs in none.
_AFTER_ALL = "\x7f"
#: Bytes of a queue's digest in a cursor: twenty names of a hundred characters would be too long for a URL.
_DIGEST = 5
#: Queues in a cursor: more than one page reads, since queues come and go and there is room.
_CURSOR_QUEUES = 24

T = TypeVar("T")
R = TypeVar("R")


class MergedPage(NamedTuple, Generic[T]):
    """Some jobs of several queues; `next` is the cursor of the next page, empty on the last one."""

    rows: list[T]
    next: str
    searched: int
    """Number of jobs read."""


class MergeLimits(NamedTuple):
    """Jobs of a page, 200 at most, and jobs that a search reads of all queues together."""

    most: int = 50
    budget: int = 1000

    def share(self, queues: int, *, searches: bool) -> int:
        """Return the number of jobs to read of each queue."""
        most = max(1, min(self.most, MAX_ROWS))
        return max(self.budget // max(queues, 1), 1) if searches else most


class Batch(NamedTuple, Generic[R]):
    """The entries that were read of one queue, in its order."""

    queue: str
    entries: list[R]
    more: bool
    """True if the queue has further entries."""


class SortOrder(Protocol[R]):
    """An order in which the entries of several queues are one list. Its constructor raises BadCall for a cursor."""

    def order(self, batches: Sequence[Batch[R]]) -> Iterator[tuple[str, R]]:
        """Yield the entries in this order, each with its queue."""

    def cursor_after(self, seen: Sequence[tuple[str, R]]) -> str:
        """Return the cursor of what follows these entries."""


_DEFAULT_LIMITS, _ANY_JOB, _ANY_RUN = MergeLimits(), JobFilter(), history.HistoryFilter()


def jobs(
    queues: Sequence[str],
    state: str,
    cursor: str = "",
    wanted: JobFilter = _ANY_JOB,
    limits: MergeLimits = _DEFAULT_LIMITS,
    labels_of: LabelsOf = no_labels,
) -> Query[MergedPage[JobRow]]:
    """Return the matching jobs of the first 20 of these queues in one state, as of `job_data.INDEXES`.

    `labels_of` as in `job_record.record`. Raises BadCall.
    """
    index, wanted, queues = index_of(state), wanted.checked(), list(queues[:MAX_QUEUES])
    down = index == "dead"
    order = ByAge(cursor) if index in {"ready", "deferred"} else ByScore(cursor, down=down)
    share = limits.share(len(queues), searches=any(wanted))
    reads = [read_rows(queue, index, RowRange(share, down, *order.start(queue))) for queue in queues]

    def value(queue: str, raw: Row) -> JobRow | None:
        row = row_of(queue, index, raw, labels_of)
        return row if matches(row, raw, wanted, labels_of) else None

    def read(replies: Sequence[Any]) -> MergedPage[JobRow]:
        rest = iter(replies)
        batches = [
            _batch(queue, [next(rest) for _ in some], down=down)
            for queue, some in zip(queues, reads, strict=True)
        ]
        return _page(batches, order, value, limits.most)

    return Query(tuple(command for some in reads for command in some), read)


def finishes(
    queues: Sequence[str],
    cursor: str = "",
    wanted: HistoryFilter = _ANY_RUN,
    limits: MergeLimits = _DEFAULT_LIMITS,
) -> Query[MergedPage[Finish]]:
    """Return the latest matching finished runs of the first 20 of these queues. Raises BadCall."""
    queues, order = list(queues[:MAX_QUEUES]), ByMoment(cursor)
    share = min(limits.share(len(queues), searches=wanted != _ANY_RUN), records.MAX_ENTRIES)

    def value(queue: str, raw: Entry) -> Finish | None:
        finish = history.finish_of(queue, raw)
        return finish if finish is not None and wanted.matches(finish.note) else None

    def read(replies: Sequence[Any]) -> MergedPage[Finish]:
        batches = [
            Batch(queue, entries, len(entries) == share)
            for queue, entries in zip(queues, replies, strict=True)
        ]
        return _page(batches, order, value, limits.most)

    return Query(tuple(records.history(queue, order.start(queue), share) for queue in queues), read)


class ByScore:
    """By score, then id, then queue, up or down."""

    def __init__(self, cursor: str, *, down: bool) -> None:
        self.down = down
        self.score, self.queue, self.id = _parts(cursor) if cursor else ("", "", "")
        if cursor and not (SCORE.fullmatch(self.score) and self.id):
            raise invalid_cursor(cursor)

    def start(self, queue: str) -> tuple[str, str]:
        """Return the score and id after which the page begins in a queue."""
        if not self.id or queue == self.queue or (queue < self.queue) != self.down:
            return self.score, self.id
        if self.down:  # this queue comes later, so a job with the same score and id is still to come
            return self.score, f"{self.id}\0"
        return self.score, f"{self.id[:-1]}{chr(ord(self.id[-1]) - 1)}{_AFTER_ALL}"

    def order(self, batches: Sequence[Batch[Row]]) -> Iterator[tuple[str, Row]]:
        """Yield the entries in this order, each with its queue."""
        streams = (
            [((float(row.score), row.id.encode(), batch.queue), row) for row in batch.entries]
            for batch in batches
        )
        for key, row in heapq.merge(*streams, key=itemgetter(0), reverse=self.down):
            yield key[2], row

    def cursor_after(self, seen: Sequence[tuple[str, Row]]) -> str:
        """Return the cursor of what follows these entries."""
        queue, row = seen[-1]
        return encode_cursor(f"{row.score} {queue} {row.id}")


class ByMoment:
    """Entries of histories, newest first, then by queue."""

    def __init__(self, cursor: str) -> None:
        self.entry, self.queue, rest = _parts(cursor) if cursor else ("", "", "")
        if cursor and (rest or not checked_entry(self.entry)):
            raise invalid_cursor(cursor)

    def start(self, queue: str) -> str:
        """Return the entry before which the page begins in a queue."""
        if not self.entry or queue >= self.queue:
            return self.entry
        moment, number = self.entry.split("-")
        # This queue comes later, so an entry with the same id is still to come.
        return f"{moment}-{int(number) + 1}"

    def order(self, batches: Sequence[Batch[Entry]]) -> Iterator[tuple[str, Entry]]:
        """Yield the entries in this order, each with its queue."""
        streams = ([((*_numbers(one), batch.queue), one) for one in batch.entries] for batch in batches)
        for key, one in heapq.merge(*streams, key=itemgetter(0), reverse=True):
            yield key[2], one

    def cursor_after(self, seen: Sequence[tuple[str, Entry]]) -> str:
        """Return the cursor of what follows these entries."""
        queue, entry = seen[-1]
        return encode_cursor(f"{entry.id} {queue}")


class ByAge:
    """Waiting or deferred jobs: of the next job of each queue, the one that was put first.

    The cursor holds the last score per queue. A score is a position in the queue, so no two are equal.
    """

    def __init__(self, cursor: str) -> None:
        self.passed: dict[str, str] = {}
        for part in decode_cursor(cursor).split():
            digest, _, score = part.partition(":")
            if not SCORE.fullmatch(score):
                raise invalid_cursor(cursor)
            self.passed[digest] = score
        if cursor and not self.passed:
            raise invalid_cursor(cursor)

    def start(self, queue: str) -> tuple[str, str]:
        """Return the score and id after which the page begins in a queue."""
        score = self.passed.get(_digest(queue), "")
        return score, _AFTER_ALL if score else ""

    def order(self, batches: Sequence[Batch[Row]]) -> Iterator[tuple[str, Row]]:
        """Yield the entries in this order, each with its queue."""
        heads = [
            (_put_at(batch.entries[0], 0.0), batch.queue, 0, batch.entries)
            for batch in batches
            if batch.entries
        ]
        heapq.heapify(heads)
        while heads:
            at, queue, position, rows = heads[0]
            yield queue, rows[position]
            if position + 1 < len(rows):
                following = (_put_at(rows[position + 1], at), queue, position + 1, rows)
                heapq.heapreplace(heads, following)
            else:
                heapq.heappop(heads)

    def cursor_after(self, seen: Sequence[tuple[str, Row]]) -> str:
        """Return the cursor of what follows these entries."""
        new = {_digest(queue): row.score for queue, row in seen}
        passed = {digest: score for digest, score in self.passed.items() if digest not in new} | new
        latest = [*passed.items()][-_CURSOR_QUEUES:]
        return encode_cursor(" ".join(f"{digest}:{score}" for digest, score in latest))


def _batch(queue: str, replies: Sequence[Rows], *, down: bool) -> Batch[Row]:
    final = replies[-1]
    rest = final.first if down else final.total - final.first - len(final.rows)
    return Batch(queue, unique_rows(replies), bool(final.rows) and rest > 0)


def _page(
    batches: Sequence[Batch[R]], order: SortOrder[R], value: Callable[[str, R], T | None], most: int
) -> MergedPage[T]:
    """Return the entries in their order until the page is full or the next entry is unknown."""
    ends = {batch.queue: batch.entries[-1] for batch in batches if batch.more}
    found: list[T] = []
    seen: list[tuple[str, R]] = []
    for queue, raw in order.order(batches):
        if len(found) == most:
            return MergedPage(found, order.cursor_after(seen), len(seen))
        seen.append((queue, raw))
        one = value(queue, raw)
        if one is not None:
            found.append(one)
        if raw is ends.get(queue):
            return MergedPage(found, order.cursor_after(seen), len(seen))
    return MergedPage(found, "", len(seen))


def _put_at(row: Row, before: float) -> float:
    """Return when a job was put or, if its first bytes do not say, when the job `before` it was."""
    call = read_call(row.data) if row.size <= len(row.data) else None
    return call.put_at if call is not None else before


def _numbers(entry: Entry) -> tuple[int, int]:
    moment, number = entry.id.split("-")
    return int(moment), int(number)


def _digest(queue: str) -> str:
    return hashlib.blake2b(queue.encode(), digest_size=_DIGEST).hexdigest()


def _parts(cursor: str) -> tuple[str, str, str]:
    """Return the position in a cursor, its queue, and the rest."""
    position, queue, rest = (*decode_cursor(cursor).split(" ", 2), "", "")[:3]
    try:
        return position, ids.checked_queue(queue), rest
    except BadCall:
        raise invalid_cursor(cursor) from None
