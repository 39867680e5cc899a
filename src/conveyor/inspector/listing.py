"""Questions about the live jobs of a queue, page by page, at the same cost wherever the page is.

A page is found by where it begins: score and id of the job before it, in a text that surfaces carry and do not read.
So while jobs come and go nothing is shown twice and nothing is left out, but for jobs that moved meanwhile: a running
job goes to the end of its list whenever its lease is renewed.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor import control
from conveyor.errors import BadCall
from conveyor.inspector.jobs import INDEXES
from conveyor.inspector.previews import error, preview, state
from conveyor.inspector.tries import counted
from conveyor.redaction import no_labels
from conveyor.store import commands
from conveyor.store.commands import RowsPlace
from conveyor.store.heads import oldest
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.redaction import LabelsOf
    from conveyor.store.commands import Row, Rows

__all__ = [
    "MOST_ROWS",
    "MOST_SEARCHED",
    "Found",
    "JobPage",
    "JobRow",
    "Limits",
    "Wanted",
    "oldest",
    "page",
    "search",
]

#: Jobs of one page at most; jobs that one search looks at, at most.
MOST_ROWS, MOST_SEARCHED = 200, 5000
#: Characters of a cursor, of the id in it, and of what is searched for.
_CURSOR_ROOM, _SEARCH_ROOM = 200, 200
_SCORE = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?", re.ASCII)


class JobRow(NamedTuple):
    """A live job in a list."""

    id: str
    queue: str
    state: str
    task: str
    """`?` where the job's bytes are no job; empty for a plain item."""
    arguments: str
    """As text, shortened."""
    put_at: float | None
    """Seconds since 1970 by the producer's clock; None where the job is long."""
    due_at: float | None
    """When a delayed job is due, by the server's clock."""
    since: float | None
    """When a running job was claimed, or a dead one died, by the server's clock."""
    worker: str
    retries: int
    crashes: int
    attempt: int
    """Which attempt it is at, waits for or died of, from 1."""
    progress: control.Progress | None
    size: int
    """Bytes of the job."""
    kind: str
    """Of a dead job the type of the error."""
    message: str


class JobPage(NamedTuple):
    """Some jobs of a queue in one state; `next` and `previous` are cursors, empty where there is nothing."""

    rows: list[JobRow]
    next: str
    previous: str
    total: int
    """Jobs in this state."""
    first: int
    """How many come before the first row."""


class Wanted(NamedTuple):
    """What a search is for; all that is given must hold, and what is empty always does."""

    task: str = ""
    """How the task's name begins."""
    worker: str = ""
    """How the worker's name begins, whole or short."""
    text: str = ""
    """Stands in the id, the first 2,048 bytes of the job, or the error; upper or lower case."""


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


class _Rows(NamedTuple):
    """Of what the rows are that are read."""

    queue: str
    where: str
    labels_of: LabelsOf


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
    index, place = _index(state), _read_cursor(cursor)
    down = (index == "dead") != backwards
    count = max(1, min(count, MOST_ROWS))
    asked = RowsPlace(count, down != place.before, place.score, place.id)
    return Query(
        (commands.rows(queue, index, asked),),
        lambda answers: _page(_Rows(queue, index, labels_of), answers[0], down=down, turned=place.before),
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
    index, place = _index(state), _read_cursor(cursor)
    if any(len(text) > _SEARCH_ROOM for text in wanted):
        message = f"what is searched for has at most {_SEARCH_ROOM} characters"
        raise BadCall(message)
    budget, most = max(1, min(limits.budget, MOST_SEARCHED)), max(1, limits.most)
    told = []
    for skip in range(0, budget, MOST_ROWS):
        count = min(MOST_ROWS, budget - skip)
        asked = RowsPlace(count, (index == "dead") != place.before, place.score, place.id, skip)
        told.append(commands.rows(queue, index, asked))
    return Query(tuple(told), lambda answers: _found(_Rows(queue, index, labels_of), answers, wanted, most))


def _page(of: _Rows, found: Rows, *, down: bool, turned: bool) -> JobPage:
    given = found.rows[::-1] if turned else found.rows
    rows = [_row(of, one) for one in given]
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


def _found(of: _Rows, answers: Sequence[Rows], wanted: Wanted, most: int) -> Found:
    rows: dict[str, JobRow] = {}
    searched, last, ended = 0, None, True
    for one in (row for found in answers for row in found.rows):
        if len(rows) == most:
            ended = False
            break
        searched, last = searched + 1, one
        row = _row(of, one)
        if _is_wanted(row, one, wanted):
            rows[row.id] = row
    final = answers[-1]
    rest = final.first if of.where == "dead" else final.total - final.first - len(final.rows)
    more = not ended or (bool(final.rows) and rest > 0)
    return Found(
        list(rows.values()), _write_cursor("a", last) if more and last else "", searched, final.total
    )


def _is_wanted(row: JobRow, raw: Row, wanted: Wanted) -> bool:
    text = wanted.text.lower()
    return (
        row.task.startswith(wanted.task)
        and (row.worker.startswith(wanted.worker) or control.short_name(row.worker).startswith(wanted.worker))
        and (
            text in row.id.lower()
            or text in f"{row.task}\n{row.kind}\n{row.message}".lower()
            or text in raw.data.decode(errors="replace").lower()
        )
    )


def _row(of: _Rows, raw: Row) -> JobRow:
    index = of.where
    shown, score = preview(raw.data, raw.size, of.labels_of), float(raw.score)
    lease = raw.lease.decode(errors="replace").split(" ")
    tries = counted(raw.tries.decode(errors="replace"), state(raw.reason))
    since = score / 1000 if index == "dead" else None
    if index == "leased" and lease[0].isdecimal():
        since = int(lease[0]) / 1e6  # a token is the time of its claim in microseconds
    kind, message = error(raw.reason) if raw.reason else ("", "")
    return JobRow(
        *(raw.id, of.queue, index, *shown),
        due_at=score / 1000 if index == "delayed" else None,
        since=since,
        worker=lease[1] if len(lease) > 1 else "",
        retries=tries.retries,
        crashes=tries.crashes,
        attempt=tries.attempt,
        progress=_progress(raw.progress),
        size=raw.size,
        kind=kind,
        message=message,
    )


def _progress(data: bytes) -> control.Progress | None:
    try:
        return control.decode_progress(data) if data else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _index(state: str) -> str:
    index = INDEXES.get(state, state)
    if index not in INDEXES.values():
        message = f"{state!r:.80} is none of {', '.join(INDEXES)}"
        raise BadCall(message)
    return index


def _write_cursor(direction: str, row: Row) -> str:
    text = f"{direction} {row.score} {row.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> _Place:
    if not cursor:
        return _Place()
    try:
        if len(cursor) > _CURSOR_ROOM:
            raise ValueError
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        direction, score, job = data.decode().split(" ", 2)
        if direction not in {"a", "b"} or not _SCORE.fullmatch(score) or not job:
            raise ValueError
    except (ValueError, binascii.Error):
        message = f"{cursor!r:.80} is no cursor"
        raise BadCall(message, hint="use one that came with a page, or none to begin at the front") from None
    return _Place(direction == "b", score, job)
