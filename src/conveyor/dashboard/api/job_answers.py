"""What the API says of jobs and tasks. `hidden`: something is left out for want of the right to inspect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from conveyor.dashboard.api.answers import made
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.wire import control_messages


class Progress(Struct, frozen=True):
    """How far a running job is."""

    done: float
    total: float
    message: str
    fraction: float | None
    """0 to 1; null where it cannot be said."""


class JobLine(Struct, frozen=True):
    """A job, or a run that has ended, in a list."""

    id: str
    queue: str
    state: str
    task: str
    """`item` for what `Queue.put` put."""
    arguments: str | None
    put_at: float | UnsetType | None = UNSET
    """Null where the job is too long to tell; not there of a run that has ended."""
    due_at: float | None = None
    since: float | None = None
    """When it was claimed, died or ended. All times are seconds since 1970."""
    elapsed: float | None = None
    worker: str = ""
    silent_since: float | None = None
    """When the worker of a running job gave its last sign of life; null unless its consumer is silent."""
    retries: int = 0
    crashes: int = 0
    attempt: int = 0
    """Which attempt it is at, waits for or ended with, from 1."""
    progress: Progress | None = None
    kind: str = ""
    """Type of the error."""
    message: str | None = ""


class Jobs(Struct, frozen=True):
    """Jobs of one queue or of all. A page may be empty and still have a `next`, where few match."""

    jobs: list[JobLine]
    next: str
    total: int | None
    """Jobs in this state; null for runs that have ended."""
    hidden: bool
    left_out: int = 0
    """Queues with such jobs that were not asked: of all queues, only the 20 with the most are."""


class Argument(Struct, frozen=True):
    """One argument, without secrets; the name is empty where it is not known."""

    name: str
    value: Any


class Failure(Struct, frozen=True):
    """How a job failed."""

    kind: str
    message: str | None
    traceback: str | None


class Attempt(Struct, frozen=True):
    """A run of a job."""

    attempt: int
    started: float
    elapsed: float
    worker: str
    state: str
    kind: str
    message: str | None


class Job(Struct, frozen=True):
    """All that is known of a job."""

    id: str
    queue: str
    state: str
    task: str
    arguments: list[Argument] | None
    preview: str | None
    result: Any
    error: Failure | None
    attempts: list[Attempt]
    progress: Progress | None
    place: int | None
    """How many are before it, while it waits."""
    due_in: float | None
    worker: str
    cancelling: bool
    """Whether it runs and somebody wants it cancelled."""
    cancelled_by: str | None
    """Who cancelled it, or wants it cancelled; empty where they did not say."""
    cancel_reason: str | None
    killed: bool
    """Whether it was cancelled, and its worker killed since it did not end the run in time."""
    retries: int
    crashes: int
    attempt: int
    """Which attempt it is at, waits for or ended with, from 1."""
    put_at: float | None
    elapsed: float | None
    lines: int
    """How many of the lines it logged are remembered, 500 at most."""
    hidden: bool


class LogLine(Struct, frozen=True):
    """A line that a job logged."""

    id: str
    at: float
    text: str


class Log(Struct, frozen=True):
    """Lines, the oldest first; `next` is what to give as `after` for those after them."""

    lines: list[LogLine] | None
    next: str
    hidden: bool


class Put(Struct, frozen=True):
    """Jobs that were put."""

    jobs: list[str]
    queue: str
    message: str
    go: str
    """The page that shows it."""
    recorded: bool = True


class FailureGroup(Struct, frozen=True):
    """Dead jobs that failed alike, in one queue or several; times are seconds since 1970."""

    queue: str
    """Where the one is that died last."""
    queues: list[str]
    """All queues that have some, those with the most first."""
    fingerprint: str
    count: int
    newest: str
    first_seen: float
    last_seen: float
    task: str = ""
    kind: str = ""
    message: str | None = ""
    where: str | None = ""


class Failures(Struct, frozen=True):
    """Groups of dead jobs, the one with the latest death first."""

    failures: list[FailureGroup]
    next: str
    hidden: bool


class Parameter(Struct, frozen=True):
    """A parameter of a task."""

    name: str
    type: str
    """In words."""
    required: bool
    default: Any
    """As a person would type it; null where there is none."""
    help: str
    json_schema: dict[str, Any]


class TaskLine(Struct, frozen=True):
    """A task that this process knows. `broken` says why it cannot be enqueued."""

    name: str
    queue: str = ""
    summary: str = ""
    splits: bool = False
    broken: str = ""


class Tasks(Struct, frozen=True):
    """The tasks that this process knows, by name."""

    tasks: list[TaskLine]
    next: str


class Task(Struct, frozen=True):
    """One task. `order` are the parameters with `split`, `parameters` those without."""

    name: str
    queue: str
    summary: str
    documentation: str
    splits: bool
    parameters: list[Parameter]
    order: list[Parameter]


class PreviewAnswer(Struct, frozen=True):
    """What would be put, as it would be typed elsewhere; or, where `ok` is false, what does not fit."""

    ok: bool
    command: str = ""
    """For a shell; empty where the command line has nothing like it."""
    python: str = ""
    partial: str = ""
    """Where something does not fit, the command with what does, and `…` for the rest."""
    errors: dict[str, str] = {}
    """What is wrong with single arguments, by name; the empty name means all of them together, or an option."""


def progress_of(given: control_messages.Progress | None) -> Progress | None:
    """Give a job's progress for an answer."""
    return None if given is None else made(Progress, given, message=redacted_text(given.message))


def as_json(value: Any, room: int = 100_000) -> Any:
    """Give a value as JSON has it; as text where JSON has nothing like it, or it is very long."""
    try:
        data = msgspec.json.encode(value)
        if len(data) <= room:
            return msgspec.json.decode(data)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        pass
    text = f"{value!r:.10000}"
    return text.encode(errors="backslashreplace").decode()
