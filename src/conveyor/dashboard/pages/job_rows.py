"""A job as a row of a list, from any kind of list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.dashboard.api.jobs import JobLine
from conveyor.dashboard.api.models import progress_of, struct_from
from conveyor.dashboard.page import job_path
from conveyor.monitor.format import shorten
from conveyor.monitor.job_data import STATES
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobRecord
    from conveyor.monitor.merged_list import QueueFinish

#: Characters of arguments and of a message in a row.
ROOM = 80


class JobRowView(JobLine, frozen=True, kw_only=True):
    """One row."""

    address: str
    run: str = ""
    """Position of an ended run in the history of its queue."""
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
        progress=progress_of(one.progress),
        kind=shorten(one.kind, ROOM),
        message=_line(one.message),
    )


def of_finish(one: QueueFinish) -> JobRowView:
    """Return the row of an ended run."""
    note = one.finish.note
    return struct_from(
        JobRowView,
        note,
        queue=one.queue,
        arguments=shorten(note.arguments, ROOM),
        address=job_path(one.queue, note.id),
        run=one.finish.entry,
        since=note.at,
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
        since=last.started + last.elapsed if last is not None and last.started else record.since,
        worker=record.worker or (record.run.worker if record.run is not None else ""),
        progress=progress_of(record.progress),
        kind=shorten(last.kind, ROOM) if last is not None else "",
        message=_line(last.message) if last is not None else "",
        run="",
        forgotten=record.call is None and record.run is None and not record.undecodable,
    )


def _line(message: str) -> str:
    """Return the beginning of a message in one line, without secrets."""
    return shorten(redacted_text(" ".join(message[:1000].split())), ROOM)
