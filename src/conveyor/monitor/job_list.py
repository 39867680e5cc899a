"""Questions about the live jobs of a queue, page by page, at the same cost wherever the page is.

A page is found by where it begins: score and id of the job before it, in a text that surfaces carry and do not read.
So while jobs come and go nothing is shown twice and nothing is left out, but for jobs that moved meanwhile: a running
job goes to the end of its list whenever its lease is renewed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from conveyor.monitor import cursors
from conveyor.monitor.rows import JobRow, Source, Wanted, index_of, is_wanted, row_of
from conveyor.store import commands
from conveyor.store.commands import RowRange
from conveyor.store.query import Query
from conveyor.store.records import oldest_waiting
from conveyor.wire.redaction import no_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Row, Rows
    from conveyor.wire.redaction import LabelsOf

__all__ = [
    "MOST_ROWS",
    "MOST_SEARCHED",
    "SCORE",
    "Found",
    "JobPage",
    "JobRow",
    "Limits",
    "Wanted",
    "oldest_waiting",
    "page",
    "search",
]

#: Jobs of one page at most; jobs that one search looks at, at most.
MOST_ROWS, MOST_SEARCHED = 200, 5000
#: A score as the server writes it.
SCORE = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?", re.ASCII)


class JobPage(NamedTuple):
    """Some jobs of a queue in one state; `next` and `previous` are cursors, empty where there is nothing."""

    rows: list[JobRow]
    next: str
    previous: str
    total: int
    """Jobs in this state."""
    first: int
    """How many come before the first row."""


class Limits(NamedTuple):
    """How far a search goes."""

    budget: int = 1000
    """Jobs that are looked at, at most 5,000."""
    most: int = MOST_ROWS
    """Jobs that are found."""


class Found(NamedTuple):
    """What a search found; `next` is the cursor to go on with, empty when all was looked at."""

    rows: list[JobRow]
    next: str
    searched: int
    total: int


class _Place(NamedTuple):
    """Where a page begins: behind a job, or (`before`) in front of it."""

    before: bool = False
    score: str = ""
    id: str = ""


_USUAL = Limits()


def page(
    queue: str,
    state: str,
    cursor: str = "",
    count: int = 50,
    *,
    backwards: bool = False,
    labels_of: LabelsOf = no_labels,
) -> Query[JobPage]:
    """Some jobs of a queue in one state (waiting, delayed, running, dead; or ready, leased).

    In the order in which they will run, are due, lose their lease; the dead that died last come first. `backwards`
    turns that round; a cursor is good for the order it came from. `count` is 1 to 200. `labels_of` as in
    `stories.story`. Raises BadCall.
    """
    index, place = index_of(state), _read_cursor(cursor)
    down = (index == "dead") != backwards
    count = max(1, min(count, MOST_ROWS))
    asked = RowRange(count, down != place.before, place.score, place.id)
    return Query(
        (commands.rows(queue, index, asked),),
        lambda answers: _page(Source(queue, index, labels_of), answers[0], down=down, turned=place.before),
    )


def search(
    queue: str,
    state: str,
    wanted: Wanted,
    cursor: str = "",
    limits: Limits = _USUAL,
    labels_of: LabelsOf = no_labels,
) -> Query[Found]:
    """The jobs among the next ones that are as wanted, in one round trip; `labels_of` as in `stories.story`.

    Jobs that leave the front of the queue while it is answered may hide as many others from this search.
    """
    index, place, wanted = index_of(state), _read_cursor(cursor), wanted.checked()
    budget, most = max(1, min(limits.budget, MOST_SEARCHED)), max(1, limits.most)
    told = []
    for skip in range(0, budget, MOST_ROWS):
        count = min(MOST_ROWS, budget - skip)
        asked = RowRange(count, (index == "dead") != place.before, place.score, place.id, skip)
        told.append(commands.rows(queue, index, asked))
    return Query(tuple(told), lambda answers: _found(Source(queue, index, labels_of), answers, wanted, most))


def _page(of: Source, found: Rows, *, down: bool, turned: bool) -> JobPage:
    given = found.rows[::-1] if turned else found.rows
    rows = [row_of(of, one) for one in given]
    if not given:
        return JobPage([], "", "", found.total, 0)
    above = found.total - found.first - len(given)
    before, after = (above, found.first) if down else (found.first, above)
    return JobPage(
        rows,
        _write_cursor("a", given[-1]) if after > 0 else "",
        _write_cursor("b", given[0]) if before > 0 else "",
        found.total,
        max(0, before),
    )


def _found(of: Source, answers: Sequence[Rows], wanted: Wanted, most: int) -> Found:
    rows: dict[str, JobRow] = {}
    searched, last, ended = 0, None, True
    for one in (row for found in answers for row in found.rows):
        if len(rows) == most:
            ended = False
            break
        searched, last = searched + 1, one
        row = row_of(of, one)
        if is_wanted(row, one, wanted, of.labels_of):
            rows[row.id] = row
    final = answers[-1]
    rest = final.first if of.where == "dead" else final.total - final.first - len(final.rows)
    more = not ended or (bool(final.rows) and rest > 0)
    return Found(
        list(rows.values()), _write_cursor("a", last) if more and last else "", searched, final.total
    )


def _write_cursor(direction: str, row: Row) -> str:
    return cursors.cursor_of(f"{direction} {row.score} {row.id}")


def _read_cursor(cursor: str) -> _Place:
    if not cursor:
        return _Place()
    direction, score, job = (*cursors.after(cursor).split(" ", 2), "", "")[:3]
    if direction not in {"a", "b"} or not SCORE.fullmatch(score) or not job:
        raise cursors.none(cursor)
    return _Place(direction == "b", score, job)
