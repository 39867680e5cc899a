"""A job as a row of a list, whatever list it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor.dashboard.pages.asked import job_path
from conveyor.dashboard.rendering import short
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobStory
    from conveyor.wire import control_messages

#: Characters of arguments and of a message in a row.
ROOM = 80
#: The indexes of a queue in the words for people.
WORDS = {"ready": "waiting", "leased": "running"}


class Row(NamedTuple):
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
    """Of a run that has ended its place in the history of its queue."""
    silent_since: float | None = None
    """When the worker of a running job gave its last sign of life; None unless its consumer is silent."""
    forgotten: bool = False
    """It is over, and what task it was is not known any more."""


def of_live(one: JobRow) -> Row:
    """Give the row of a job that waits, is delayed, runs or is dead."""
    return Row(
        *(one.id, one.queue, WORDS.get(one.state, one.state), one.task),
        arguments=short(one.arguments, ROOM),
        address=job_path(one.queue, one.id),
        put_at=one.put_at,
        due_at=one.due_at,
        since=one.since,
        worker=one.worker,
        attempt=one.attempt,
        progress=shown(one.progress),
        kind=short(one.kind, ROOM),
        message=_line(one.message),
    )


def of_finish(queue: str, finish: Finish) -> Row:
    """Give the row of a run that has ended."""
    note = finish.note
    return Row(
        *(note.id, queue, note.state, note.task),
        arguments=short(note.arguments, ROOM),
        address=job_path(queue, note.id),
        run=finish.entry,
        since=note.at,
        took=note.elapsed,
        worker=note.worker,
        attempt=note.attempt,
    )


def of_story(story: JobStory) -> Row:
    """Give the row of a job that was looked for by its id."""
    last = story.attempts[-1] if story.attempts else None
    return Row(
        *(story.id, story.queue, story.state),
        task="?" if story.undecodable else story.task,
        arguments=short(story.preview, ROOM),
        address=job_path(story.queue, story.id),
        put_at=story.put_at,
        since=last.started + last.elapsed if last is not None and last.started else story.since,
        worker=story.worker or (story.run.worker if story.run is not None else ""),
        attempt=story.attempt,
        progress=shown(story.progress),
        kind=short(last.kind, ROOM) if last is not None else "",
        message=_line(last.message) if last is not None else "",
        forgotten=story.call is None and story.run is None and not story.undecodable,
    )


def shown(progress: control_messages.Progress | None) -> control_messages.Progress | None:
    """Give how far a job is without secrets in what it says."""
    if progress is None or not progress.message:
        return progress
    return msgspec.structs.replace(progress, message=redacted_text(progress.message))


def _line(message: str) -> str:
    """Give the beginning of a message in one line, without secrets."""
    return short(redacted_text(" ".join(message[:1000].split())), ROOM)
