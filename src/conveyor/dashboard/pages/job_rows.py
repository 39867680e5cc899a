"""A job as a row of a list, from any kind of list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from conveyor.dashboard.api.models import struct_from
from conveyor.dashboard.page import job_path
from conveyor.monitor.format import shorten
from conveyor.monitor.job_data import STATES
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobRecord
    from conveyor.wire import control_messages

#: Characters of arguments and of a message in a row.
ROOM = 80


class JobRowView(msgspec.Struct, frozen=True):
    """One row. Moments are seconds since 1970."""

    id: str
    queue: str
    state: str
    task: str
    arguments: str
    address: str
    put_at: float | None = None
    due_at: float | None = None
    since: float | None = None
    """When it was claimed, died or ended."""
    took: float | None = None
    worker: str = ""
    attempt: int = 1
    progress: control_messages.Progress | None = None
    kind: str = ""
    message: str = ""
    run: str = ""
    """Position of an ended run in the history of its queue."""
    silent_since: float | None = None
    """When the worker of a running job gave its last sign of life; None unless its consumer is silent."""
    forgotten: bool = False
    """True if it has finished, and its task is no longer known."""


def of_live(one: JobRow) -> JobRowView:
    """Return the row of a waiting, delayed, running or dead job."""
    return struct_from(
        JobRowView,
        one,
        state=STATES.get(one.state, one.state),
        arguments=shorten(one.arguments, ROOM),
        address=job_path(one.queue, one.id),
        progress=redacted_progress(one.progress),
        kind=shorten(one.kind, ROOM),
        message=_line(one.message),
    )


def of_finish(queue: str, finish: Finish) -> JobRowView:
    """Return the row of an ended run."""
    note = finish.note
    return struct_from(
        JobRowView,
        note,
        queue=queue,
        arguments=shorten(note.arguments, ROOM),
        address=job_path(queue, note.id),
        run=finish.entry,
        since=note.at,
        took=note.elapsed,
    )


def of_record(record: JobRecord) -> JobRowView:
    """Return the row of a job that was found by its id."""
    last = record.attempts[-1] if record.attempts else None
    return struct_from(
        JobRowView,
        record,
        task="?" if record.undecodable else record.task,
        arguments=shorten(record.preview, ROOM),
        address=job_path(record.queue, record.id),
        due_at=None,
        since=last.started + last.elapsed if last is not None and last.started else record.since,
        worker=record.worker or (record.run.worker if record.run is not None else ""),
        progress=redacted_progress(record.progress),
        kind=shorten(last.kind, ROOM) if last is not None else "",
        message=_line(last.message) if last is not None else "",
        run="",
        forgotten=record.call is None and record.run is None and not record.undecodable,
    )


def redacted_progress(progress: control_messages.Progress | None) -> control_messages.Progress | None:
    """Return how far a job is without secrets in its message."""
    if progress is None or not progress.message:
        return progress
    return msgspec.structs.replace(progress, message=redacted_text(progress.message))


def _line(message: str) -> str:
    """Return the beginning of a message in one line, without secrets."""
    return shorten(redacted_text(" ".join(message[:1000].split())), ROOM)
