"""Events of a running consumer, one class each, and the subscription to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ConsumerStarted:
    """A consumer has started and takes jobs."""

    consumer: str
    queues: tuple[str, ...]
    workers: int
    server: str


@dataclass(frozen=True, slots=True)
class ConsumerLeaving:
    """A consumer was requested to exit; `step` counts the requests: finish current jobs, cancel them, kill."""

    consumer: str
    step: int


@dataclass(frozen=True, slots=True)
class ConsumerLeft:
    """A consumer has exited."""

    consumer: str
    jobs_done: int


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker process crashed."""

    worker: str
    how: str
    job: str
    task: str
    reason: str = ""
    """Its last report, if that was a refusal of the server."""


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker has exited without an error, though its consumer continues; it is replaced."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerUnstarted:
    """A worker could not be started: the host has no resources for a process now. The consumer retries."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class ThreadRefused:
    """The system allows a worker no further thread. The worker claims one job at a time until it does."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An error in Conveyor's own code in a supervisor or worker, at `place`. The consumer continues."""

    error: str
    place: str


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """A worker exited on request, or was killed for a job that did not end on request."""

    worker: str
    verb: str
    """stop, kill, or release if it released the job for which it was to be killed."""
    reason: str


@dataclass(frozen=True, slots=True)
class JobRecovered:
    """The job of a crashed worker was settled: `became` ready, dead or cancelled."""

    job: str
    became: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A running job was requested to stop."""

    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class TimeLimitReached:
    """A run exceeded the time limit of its job, and its worker is killed."""

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
    """A worker still runs a job whose lease it has lost; the run is ended; the job is waiting or runs elsewhere."""

    worker: str
    job: str


@dataclass(frozen=True, slots=True)
class TasksUnloadable:
    """A worker could not import the tasks, so the consumer exits."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerUnfit:
    """The server's configuration may lose jobs; the consumer uses it nevertheless."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerLevels:
    """The levels of durability that the server can provide at the start of a consumer."""

    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerAway:
    """The server is unavailable; the consumer keeps trying."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerBack:
    """The server is available again."""


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
    """Call `listener` with every event of this process from now on."""
    _subscribers.append(listener)


def emit(event: Event) -> None:
    """Pass an event to all subscribers."""
    for listener in _subscribers:
        listener(event)
