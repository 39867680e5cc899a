"""Facts that a running consumer makes known: one class each. Who cares subscribes; logs and metrics are such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ConsumerStarted:
    """A consumer is up and takes jobs."""

    consumer: str
    queues: tuple[str, ...]
    workers: int
    server: str


@dataclass(frozen=True, slots=True)
class ConsumerLeaving:
    """A consumer was asked to leave; `step` counts the requests: finish current, cancel and return, kill."""

    consumer: str
    step: int


@dataclass(frozen=True, slots=True)
class ConsumerLeft:
    """A consumer has left."""

    consumer: str
    jobs_done: int


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker process ended without being asked to."""

    worker: str
    how: str
    job: str
    task: str
    reason: str = ""
    """What it said last, if that was a refusal of the server."""


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker left in good order, though its consumer goes on; it is replaced."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerUnstarted:
    """A worker could not be started: the machine has no room for a process now. It is tried again."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class ThreadRefused:
    """The system allows a worker no further thread. The worker claims one job at a time until it has one."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An error in the own code of a supervisor or worker; `place` says where. The consumer goes on."""

    error: str
    place: str


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """A worker ended on request, or was killed for a job that did not end on request."""

    worker: str
    verb: str
    """stop, kill, or release if it released the job that it was to be killed for."""
    reason: str


@dataclass(frozen=True, slots=True)
class JobRecovered:
    """The job of a dead worker was settled: `became` ready, dead or cancelled."""

    job: str
    became: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody wants a running job to end."""

    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class TimeLimitReached:
    """A run took longer than its job allows, and its worker is killed."""

    job: str
    task: str
    limit: float


@dataclass(frozen=True, slots=True)
class FinishedLate:
    """A worker finished a job whose lease it had lost; the result was refused."""

    worker: str
    job: str


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A worker still runs a job whose lease it has lost; that run is ended, the job waits or runs elsewhere."""

    worker: str
    job: str


@dataclass(frozen=True, slots=True)
class TasksUnloadable:
    """A worker could not import the tasks, so the consumer gives up."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerUnfit:
    """The server is set up in a way that may lose jobs; the consumer works on it nevertheless."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerLevels:
    """The levels of durability that the server can give at the start of a consumer."""

    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerAway:
    """The server does not answer; the consumer keeps trying."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerBack:
    """The server answers again."""


Event = (
    ConsumerStarted
    | ConsumerLeaving
    | ConsumerLeft
    | WorkerDied
    | WorkerLeft
    | WorkerUnstarted
    | ThreadRefused
    | StepFailed
    | WorkerStopped
    | JobRecovered
    | CancelAsked
    | TimeLimitReached
    | FinishedLate
    | LeaseLost
    | TasksUnloadable
    | ServerUnfit
    | ServerLevels
    | ServerAway
    | ServerBack
)
_subscribers: list[Callable[[Event], object]] = []


def subscribe(listener: Callable[[Event], object]) -> None:
    """Have `listener` called with every event of this process from now on."""
    _subscribers.append(listener)


def emit(event: Event) -> None:
    """Make a fact known."""
    for listener in _subscribers:
        listener(event)
