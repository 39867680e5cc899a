"""A job as a row of a list, from any kind of list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.dashboard.api.jobs import JobLine
from conveyor.dashboard.api.models import progress_of, struct_from
from conveyor.dashboard.page import job_path
from conveyor.monitor.job_data import STATES
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobRecord


class JobRowView(JobLine, frozen=True):
    """One row."""

    run: str = ""
    """Position of an ended run in the history of its queue."""
    forgotten: bool = False
    """True if it has finished, and its task is no longer known."""

    @property
    def address(self) -> str:
        """The address of the job's page."""
        return job_path(self.queue, self.id)


def of_live(one: JobRow) -> JobRowView:
    """Return the row of a waiting, delayed, running or dead job."""
    return struct_from(
        JobRowView,
        one,
        state=STATES.get(one.state, one.state),
        progress=progress_of(one.progress),
        message=_one_line(one.message),
    )


def of_finish(one: Finish) -> JobRowView:
    """Return the row of an ended run."""
    note = one.note
    return struct_from(
        JobRowView,
        note,
        queue=one.queue,
        run=one.entry,
        since=note.at,
    )


def of_record(record: JobRecord) -> JobRowView:
    """Return the row of a job that was found by its id."""
    last = record.attempts[-1] if record.attempts else None
    return struct_from(
        JobRowView,
        record,
        task="?" if record.undecodable else record.task,
        arguments=record.preview,
        since=last.started + last.elapsed if last is not None and last.started else record.since,
        worker=record.worker or (record.run.worker if record.run is not None else ""),
        progress=progress_of(record.progress),
        kind=last.kind if last is not None else "",
        message=_one_line(last.message) if last is not None else "",
        run="",
        forgotten=record.call is None and record.run is None and not record.undecodable,
    )


def _one_line(text: str) -> str:
    """Return a message as one line; redacted once more, since a secret may stand in the line after its name."""
    return redacted_text(" ".join(text.split()))
