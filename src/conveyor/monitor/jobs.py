"""What is shown of jobs: a line in a list, everything about one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor.wire import control_messages
from conveyor.wire.call import Call, decode_call
from conveyor.wire.outcome import Cancellation
from conveyor.wire.redaction import no_labels, preview

if TYPE_CHECKING:
    from conveyor.wire.outcome import Settled
    from conveyor.wire.redaction import LabelsOf

#: The indexes of a queue by the words for people.
INDEXES = {"waiting": "ready", "delayed": "delayed", "running": "leased", "dead": "dead"}
#: Jobs of one page at most.
MOST_ON_PAGE = 1000


class JobLine(NamedTuple):
    """A job in a list."""

    id: str
    state: str
    task: str
    arguments: str
    """The arguments as text, shortened."""
    score: float


class JobDetails(NamedTuple):
    """Everything that is known about one job; `call` is None once it is over, `settled` before."""

    id: str
    queue: str
    state: str
    call: Call | None
    settled: Settled | None
    place: int | None
    """How many jobs are before it, while it waits."""
    due_in: float | None
    """Seconds until it may run, while it is delayed."""
    worker: str
    retries: int
    crashes: int
    progress: control_messages.Progress | None
    lines: list[str]
    """What it logged."""
    cancelled: Cancellation = Cancellation()
    """Who cancelled it, or wants it cancelled, and why; empty texts where they did not say."""


#: Words of the `state` script after which there is an outcome.
OVER = ("over", "dead")


def read_progress(data: bytes) -> control_messages.Progress | None:
    """Give how far a job is; None where it has said nothing, or nothing that can be read."""
    try:
        return control_messages.decode_progress(data) if data else None
    except (msgspec.MsgspecError, ValueError):
        return None


def read_call(data: bytes) -> Call | None:
    """Give the call of a job's bytes; None where there are none, or they are no call."""
    try:
        return decode_call(data) if data else None
    except (msgspec.MsgspecError, ValueError):
        return None


def read_line(
    job_id: str, state: str, score: float, data: bytes | None, labels_of: LabelsOf = no_labels
) -> JobLine:
    """Give a line for a job of its bytes, whatever they are."""
    call = read_call(data or b"")
    if call is None:
        return JobLine(job_id, state, "?", "undecodable" if data else "", score)
    return JobLine(job_id, state, call.task, arguments_text(call, labels_of), score)


def arguments_text(call: Call, labels_of: LabelsOf = no_labels, room: int = 80) -> str:
    """Give the arguments of a call as text of at most `room` characters, without secrets.

    `labels_of` as in `stories.story`.
    """
    return preview(call, labels_of(call.task), room)
