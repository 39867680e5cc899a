"""Orders in which the jobs of several queues are one list.

An order knows where a page begins in each queue, what comes next of that which was read, and the cursor of what comes
after. Nothing comes twice, and nothing is left out that did not move.
"""

from __future__ import annotations

import hashlib
import heapq
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from conveyor.errors import BadCall
from conveyor.monitor import cursors
from conveyor.monitor.job_list import SCORE
from conveyor.monitor.jobs import read_call
from conveyor.store.records import checked_entry
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.store.commands import Row
    from conveyor.store.records import Entry

#: Sorts behind every id, and comes in none.
_BEHIND = "\x7f"
#: Bytes of what stands for a queue in a cursor: twenty names of a hundred characters would be too long for an address.
_SIGN = 5
#: Queues that a cursor tells of: more than are asked at once, since others may come and go, and there is room for.
_SIGNS = 24

R = TypeVar("R")


class Read(NamedTuple, Generic[R]):
    """What was read of a queue, in its own order."""

    queue: str
    given: list[R]
    more: bool
    """Behind it there are others."""


class ByScore:
    """By score, then id, then queue, up or down. Raises BadCall for what is no cursor."""

    def __init__(self, cursor: str, *, down: bool) -> None:
        self.down = down
        self.score, self.queue, self.id = _parts(cursor) if cursor else ("", "", "")
        if cursor and not (SCORE.fullmatch(self.score) and self.id):
            raise cursors.none(cursor)

    def begin(self, queue: str) -> tuple[str, str]:
        """Give score and id of the place behind which the page begins in a queue."""
        if not self.id or queue == self.queue or (queue < self.queue) != self.down:
            return self.score, self.id
        if self.down:  # its turn is yet to come, also that of a job with just this score and id
            return self.score, f"{self.id}\0"
        return self.score, f"{self.id[:-1]}{chr(ord(self.id[-1]) - 1)}{_BEHIND}"

    def order(self, reads: Sequence[Read[Row]]) -> Iterator[tuple[str, Row]]:
        """Give what was read, in this order."""
        streams = (
            [((float(row.score), row.id.encode(), read.queue), row) for row in read.given] for read in reads
        )
        for key, row in heapq.merge(*streams, key=itemgetter(0), reverse=self.down):
            yield key[2], row

    def after(self, met: Sequence[tuple[str, Row]]) -> str:
        """Give the cursor of what comes after these."""
        queue, row = met[-1]
        return cursors.cursor_of(f"{row.score} {queue} {row.id}")


class ByMoment:
    """Entries of histories, the newest first, then by queue. Raises BadCall for what is no cursor."""

    def __init__(self, cursor: str) -> None:
        self.entry, self.queue, rest = _parts(cursor) if cursor else ("", "", "")
        if cursor and (rest or not checked_entry(self.entry)):
            raise cursors.none(cursor)

    def begin(self, queue: str) -> str:
        """Give the entry before which the page begins in a queue."""
        if not self.entry or queue >= self.queue:
            return self.entry
        moment, number = self.entry.split("-")
        # Its turn is yet to come, also that of an entry with just this id.
        return f"{moment}-{int(number) + 1}"

    def order(self, reads: Sequence[Read[Entry]]) -> Iterator[tuple[str, Entry]]:
        """Give what was read, in this order."""
        streams = ([((*_numbers(one), read.queue), one) for one in read.given] for read in reads)
        for key, one in heapq.merge(*streams, key=itemgetter(0), reverse=True):
            yield key[2], one

    def after(self, met: Sequence[tuple[str, Entry]]) -> str:
        """Give the cursor of what comes after these."""
        queue, entry = met[-1]
        return cursors.cursor_of(f"{entry.id} {queue}")


class ByAge:
    """Jobs that wait: of the next of each queue, the one that was put first. Raises BadCall for what is no cursor.

    The cursor says how far each queue was looked at. Their scores are their places in line, so no two are the same.
    """

    def __init__(self, cursor: str) -> None:
        self.passed: dict[str, str] = {}
        for part in cursors.after(cursor).split():
            sign, _, score = part.partition(":")
            if not SCORE.fullmatch(score):
                raise cursors.none(cursor)
            self.passed[sign] = score
        if cursor and not self.passed:
            raise cursors.none(cursor)

    def begin(self, queue: str) -> tuple[str, str]:
        """Give score and id of the place behind which the page begins in a queue."""
        score = self.passed.get(_sign(queue), "")
        return score, _BEHIND if score else ""

    def order(self, reads: Sequence[Read[Row]]) -> Iterator[tuple[str, Row]]:
        """Give what was read, in this order."""
        heads = [(_put_at(read.given[0], 0.0), read.queue, 0, read.given) for read in reads if read.given]
        heapq.heapify(heads)
        while heads:
            at, queue, place, rows = heads[0]
            yield queue, rows[place]
            if place + 1 < len(rows):
                heapq.heapreplace(heads, (_put_at(rows[place + 1], at), queue, place + 1, rows))
            else:
                heapq.heappop(heads)

    def after(self, met: Sequence[tuple[str, Row]]) -> str:
        """Give the cursor of what comes after these."""
        new = {_sign(queue): row.score for queue, row in met}
        passed = {sign: score for sign, score in self.passed.items() if sign not in new} | new
        return cursors.cursor_of(" ".join(f"{sign}:{score}" for sign, score in [*passed.items()][-_SIGNS:]))


def _put_at(row: Row, before: float) -> float:
    """Give when a job was put; where its first bytes do not tell, when the one `before` it was."""
    call = read_call(row.data) if row.size <= len(row.data) else None
    return call.put_at if call is not None else before


def _numbers(entry: Entry) -> tuple[int, int]:
    moment, number = entry.id.split("-")
    return int(moment), int(number)


def _sign(queue: str) -> str:
    return hashlib.blake2b(queue.encode(), digest_size=_SIGN).hexdigest()


def _parts(cursor: str) -> tuple[str, str, str]:
    """Give the first word of a cursor, the queue that is its second, and what follows."""
    place, queue, rest = (*cursors.after(cursor).split(" ", 2), "", "")[:3]
    try:
        return place, ids.checked_queue(queue), rest
    except BadCall:
        raise cursors.none(cursor) from None
