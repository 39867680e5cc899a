"""The jobs of a queue in one state, in pages that cost the same anywhere in the list.

A page is found by the score and id of the job before it, in an opaque cursor. So while jobs come and go, no job appears
twice and none is left out, except jobs that moved meanwhile: a running job moves to the end whenever its lease is
renewed.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

from conveyor.errors import BadCall
from conveyor.monitor import waits
from conveyor.monitor.job_data import (
    INDEXES,
    preview,
    read_attempt_counts,
    read_ending,
    read_error,
    read_lease,
)
from conveyor.store import commands
from conveyor.store.commands import RowRange
from conveyor.store.query import Query
from conveyor.wire import control_messages
from conveyor.wire.call import ITEM_WORD
from conveyor.wire.codec import try_decode
from conveyor.wire.redaction import MORE, no_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.store.command import Command
    from conveyor.store.commands import Row, Rows
    from conveyor.wire.redaction import LabelsOf

#: Jobs of one page; jobs of one list by position.
MAX_ROWS, MAX_LISTED = 200, 1000
#: Bytes of each job and each outcome in a list by position, so that the longest error message fits.
_LISTED_BYTES = 10_000
#: Characters of a search text; characters of a job's arguments that a search covers.
MAX_SEARCH_TEXT, SEARCHED_LENGTH = 200, 2048
#: Characters of a cursor.
MAX_CURSOR = 1000
#: A score as the server writes it.
SCORE = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?", re.ASCII)


class JobRow(NamedTuple):
    """A live or dead job in a list."""

    id: str
    queue: str
    state: str
    """The index that has it: ready, deferred, delayed, leased or dead."""
    task: str
    """`?` if the job's bytes are unreadable; empty for a plain item."""
    arguments: str
    """As text, abbreviated."""
    put_at: float | None
    """Seconds since 1970 by the producer's clock; None if the job is large."""
    due_at: float | None
    """When a delayed job is due, by the server's clock; None for one that waits for a signal without a time limit."""
    since: float | None
    """When a running job was claimed, or a dead one died, by the server's clock."""
    worker: str
    retries: int
    crashes: int
    attempt: int
    """The attempt that it is at, waits for or died of, from 1."""
    progress: control_messages.Progress | None
    size: int
    """Bytes of the job."""
    kind: str
    """Type of a dead job's error."""
    message: str
    waits_for: str = ""
    """What a deferred job waits for, as text; it may hold arguments."""


class JobPage(NamedTuple):
    """Some jobs of a queue in one state; `next` and `previous` are cursors, empty at the ends of the list."""

    rows: list[JobRow]
    next: str
    previous: str
    total: int
    """Jobs in this state."""
    first: int
    """Number of jobs before the first row."""


class JobFilter(NamedTuple):
    """What a search finds: jobs that match every field; an empty field matches all."""

    task: str = ""
    """Prefix of the task's name; `item` for plain items."""
    worker: str = ""
    """Prefix of the worker's full or short name."""
    text: str = ""
    """Part of the id, the task's name, the shown arguments (of a large job, those in its first 2,048 bytes) or the
    error, regardless of case. Hidden values are not searched."""

    def checked(self) -> JobFilter:
        """Return the filter. Raises BadCall if it is too long."""
        if any(len(text) > MAX_SEARCH_TEXT for text in self):
            message = f"a search text has at most {MAX_SEARCH_TEXT} characters"
            raise BadCall(message)
        return self


class _Position(NamedTuple):
    """Where a page begins: after a job, or (`before`) in front of it."""

    before: bool = False
    score: str = ""
    id: str = ""


def page(
    queue: str,
    state: str,
    cursor: str = "",
    count: int = 50,
    *,
    labels_of: LabelsOf = no_labels,
) -> Query[JobPage]:
    """Return a page of a queue's jobs in one state: waiting, deferred, delayed, running or dead.

    Jobs are in the order in which they run, are due or lose their lease; dead ones begin with the latest death.
    `count` is 1 to 200. `labels_of` as in `job_record.record`. Raises BadCall.
    """
    index, start = index_of(state), _read_cursor(cursor)
    down = index == "dead"
    count = max(1, min(count, MAX_ROWS))
    command = commands.rows(queue, index, RowRange(count, down != start.before, start.score, start.id))

    def read(replies: Sequence[Rows]) -> JobPage:
        found = replies[0]
        entries = found.rows[::-1] if start.before else found.rows
        if not entries:
            return JobPage([], "", "", found.total, 0)
        above = found.total - found.first - len(entries)
        before, after = (above, found.first) if down else (found.first, above)
        return JobPage(
            [row_of(queue, index, one, labels_of) for one in entries],
            _write_cursor("a", entries[-1]) if after > 0 else "",
            _write_cursor("b", entries[0]) if before > 0 else "",
            found.total,
            max(0, before),
        )

    return Query((command,), read)


def span(
    queue: str, state: str, first: int = 0, count: int = 50, labels_of: LabelsOf = no_labels
) -> Query[list[JobRow]]:
    """Return up to 1,000 jobs of a queue in one state from position `first`, lowest score first.

    Jobs that move while several commands are answered may be missing. `labels_of` as in `job_record.record`. Raises
    BadCall.
    """
    index = index_of(state)
    place = RowRange(max(1, min(count, MAX_LISTED)), skip=max(0, first), cut=_LISTED_BYTES)
    return Query(
        tuple(read_rows(queue, index, place)),
        lambda replies: [row_of(queue, index, one, labels_of) for one in unique_rows(replies)],
    )


def read_rows(queue: str, index: str, place: RowRange) -> list[Command]:
    """Return the commands that read as many rows as `place` wants; each reads 200 at most."""
    return [
        commands.rows(
            queue, index, place._replace(want=min(MAX_ROWS, place.want - first), skip=place.skip + first)
        )
        for first in range(0, place.want, MAX_ROWS)
    ]


def unique_rows(replies: Iterable[Rows]) -> list[Row]:
    """Return the rows of several replies; one that moved between two of them appears once."""
    return list({row.id: row for found in replies for row in found.rows}.values())


def row_of(queue: str, index: str, raw: Row, labels_of: LabelsOf) -> JobRow:
    """Return the row of an entry of a queue's index; `labels_of` as in `job_record.record`."""
    shown, score = preview(raw.data, raw.size, labels_of), float(raw.score)
    lease = read_lease(raw.lease)
    kind, message = read_error(raw.reason) if raw.reason else ("", "")
    return JobRow(
        *(raw.id, queue, index, *shown),
        due_at=(score - raw.shift) / 1000 if index == "delayed" and score < commands.NEVER_DUE else None,
        since=score / 1000 if index == "dead" else lease.since if index == "leased" else None,
        worker=lease.owner,
        **read_attempt_counts(raw.tries.decode(errors="replace"), read_ending(raw.reason))._asdict(),
        progress=try_decode(control_messages.decode_progress, raw.progress),
        size=raw.size,
        kind=kind,
        message=message,
        waits_for=waits.of_row(raw),
    )


def matches(row: JobRow, raw: Row, wanted: JobFilter, labels_of: LabelsOf) -> bool:
    """Return True if a job matches a filter; `labels_of` as in `job_record.record`."""
    names = (row.worker, control_messages.short_name(row.worker))
    text = wanted.text.lower()
    return (
        (row.task or ITEM_WORD).startswith(wanted.task)
        and any(name.startswith(wanted.worker) for name in names)
        and (
            not text
            or text in f"{row.id}\n{row.task}\n{row.kind}\n{row.message}\n{row.arguments}".lower()
            or (
                MORE in row.arguments
                and text in preview(raw.data, raw.size, labels_of, SEARCHED_LENGTH).arguments.lower()
            )
        )
    )


def index_of(state: str) -> str:
    """Return the index of the jobs in a state. Raises BadCall for another word."""
    index = INDEXES.get(state, state)
    if index not in INDEXES.values():
        message = f"state must be one of {', '.join(INDEXES)}, got {state!r:.80}"
        raise BadCall(message)
    return index


def encode_cursor(last: str) -> str:
    """Return the cursor of the page that follows the key `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Return the last key of the previous page, or "" for the first. Raises BadCall for an invalid cursor."""
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return data.decode()
    except (ValueError, binascii.Error):
        raise invalid_cursor(cursor) from None


def invalid_cursor(cursor: str) -> BadCall:
    """Return the error for an invalid cursor."""
    message = f"invalid cursor {cursor!r:.80}"
    return BadCall(message, hint="use a cursor from an earlier page, or omit it")


def _write_cursor(direction: str, row: Row) -> str:
    return encode_cursor(f"{direction} {row.score} {row.id}")


def _read_cursor(cursor: str) -> _Position:
    if not cursor:
        return _Position()
    direction, score, job = (*decode_cursor(cursor).split(" ", 2), "", "")[:3]
    if direction not in {"a", "b"} or not SCORE.fullmatch(score) or not job:
        raise invalid_cursor(cursor)
    return _Position(direction == "b", score, job)
