"""Events of a running consumer, one class each with its line for people, and the subscription to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAVING = {
    1: "exits after the current jobs (again: cancel and release them; a third time: kill)",
    2: "cancels the current jobs and releases them",
    3: "kills its workers",
}
_STOPPED = {"stop": "was stopped", "kill": "was killed", "release": "released its job and exited"}


class Event(msgspec.Struct, frozen=True):
    """What happened in a consumer; as a string, a line for people."""


class ConsumerStarted(Event, frozen=True):
    """A consumer has started and takes jobs."""

    consumer: str
    queues: tuple[str, ...]
    workers: int
    server: str
    max_workers: int | None = None
    """The most workers if their number follows what waits; otherwise None."""

    def __str__(self) -> str:
        many = "worker" if self.workers == 1 else "workers"
        most = f", up to {self.max_workers} as needed," if self.max_workers else ""
        return f"{self.consumer}: {self.workers} {many}{most} on {', '.join(self.queues)}. Ctrl-C to exit."


class ConsumerLeaving(Event, frozen=True):
    """A consumer was requested to exit; `step` counts the requests: finish current jobs, cancel them, kill."""

    consumer: str
    step: int

    def __str__(self) -> str:
        return f"{self.consumer} {_LEAVING[min(self.step, 3)]}"


class ConsumerLeft(Event, frozen=True):
    """A consumer has exited."""

    consumer: str
    jobs_done: int

    def __str__(self) -> str:
        return (
            f"{self.consumer} has exited, {self.jobs_done:,} {'job' if self.jobs_done == 1 else 'jobs'} done"
        )


class ConsumerScaled(Event, frozen=True):
    """The number of a consumer's workers changes."""

    consumer: str
    before: int
    after: int
    reason: str

    def __str__(self) -> str:
        return f"{self.consumer}: {self.before} to {self.after} workers: {self.reason}"


class WorkerDied(Event, frozen=True):
    """A worker process crashed."""

    worker: str
    how: str
    job: str
    task: str
    reason: str = ""
    """Its last report, if that was a refusal of the server."""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        job = f" while it ran {self.task} {self.job}" if self.job else ""
        return f"worker {self.worker} crashed ({self.how}{why}){job}"


class WorkerLeft(Event, frozen=True):
    """A worker has exited without an error, though its consumer continues; it is replaced."""

    worker: str
    reason: str

    def __str__(self) -> str:
        return f"worker {self.worker} has exited and is replaced: {self.reason}"


class WorkerRecycled(Event, frozen=True):
    """A worker process has exited between jobs, since it has reached one of its limits; it is replaced."""

    worker: str
    reason: str
    usual: bool = False
    """True after its number of jobs, which may be often; such an event is not logged."""

    def __str__(self) -> str:
        return f"worker {self.worker} is replaced: {self.reason}"


class WorkerUnstarted(Event, frozen=True):
    """A worker could not be started: the host has no resources for a process now. The consumer retries."""

    worker: str
    reason: str

    def __str__(self) -> str:
        return f"worker {self.worker} cannot be started: {self.reason}; retrying"


class ThreadRefused(Event, frozen=True):
    """The system allows a worker no further thread. The worker claims one job at a time until it does."""

    worker: str
    reason: str

    def __str__(self) -> str:
        return f"worker {self.worker} claims one job at a time until it can start a thread: {self.reason}"


class LoopBlocked(Event, frozen=True):
    """A job of a worker of kind coroutine has not let the others of its process run for more than a second."""

    worker: str
    job: str
    task: str

    def __str__(self) -> str:
        return (
            f"job {self.job} ({self.task}) of worker {self.worker} blocks the event loop of its process: "
            "await what takes long, or make the task a plain function"
        )


class StepFailed(Event, frozen=True):
    """An error in Conveyor's own code in a supervisor or worker, at `place`. The consumer continues."""

    error: str
    place: str

    def __str__(self) -> str:
        return f"error in Conveyor itself, at {self.place}: {self.error}. The consumer continues; please report it"


class WorkerStopped(Event, frozen=True):
    """A worker exited on request, or was killed for a job that did not end on request."""

    worker: str
    verb: str
    """stop, kill, or release if it released the job for which it was to be killed."""
    reason: str

    def __str__(self) -> str:
        return f"worker {self.worker} {_STOPPED[self.verb]}{f': {self.reason}' if self.reason else ''}"


class JobRecovered(Event, frozen=True):
    """The running job of a worker that ended was settled: `became` tried again, given back, dead or cancelled."""

    job: str
    became: str

    def __str__(self) -> str:
        return f"job {self.job} of a worker that ended: {self.became}"


class CancelAsked(Event, frozen=True):
    """A running job was requested to stop."""

    job: str
    reason: str

    def __str__(self) -> str:
        return f"job {self.job} was requested to stop{f': {self.reason}' if self.reason else ''}"


class TimeLimitReached(Event, frozen=True):
    """A run exceeded the time limit of its job, and is ended."""

    job: str
    task: str
    limit: float

    def __str__(self) -> str:
        return f"job {self.job} ({self.task}) reached its time limit of {self.limit:g} s and is ended"


class SoftLimitReached(Event, frozen=True):
    """A run reached the soft time limit of its job: SoftTimeout is raised in it."""

    job: str
    task: str
    limit: float

    def __str__(self) -> str:
        return f"job {self.job} ({self.task}) reached its soft time limit of {self.limit:g} s and gets SoftTimeout"


class FinishedLate(Event, frozen=True):
    """A worker finished a job whose lease it had lost; the result was refused."""

    worker: str
    job: str

    def __str__(self) -> str:
        return f"worker {self.worker} finished job {self.job} after its lease had expired; the result was refused"


class LeaseLost(Event, frozen=True):
    """A worker still runs a job whose lease it has lost; the run is ended; the job is waiting or runs elsewhere."""

    worker: str
    job: str

    def __str__(self) -> str:
        return f"worker {self.worker} lost its lease of job {self.job}; this run is ended, and the job is not cancelled"


class WaitsForWorker(Event, frozen=True):
    """A job waits for another one of its own queue, and no worker has taken that one for a while."""

    job: str
    awaited: str
    queue: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"job {self.job} has waited {self.seconds:g} s for job {self.awaited} of the same queue, and no worker of "
            f"{self.queue} has taken it; if they all wait like this, it never ends: put such jobs on another queue"
        )


class TasksUnloadable(Event, frozen=True):
    """A worker could not import the tasks, so the consumer exits."""

    reason: str

    def __str__(self) -> str:
        return f"the tasks cannot be loaded: {self.reason}"


class ThreadUnkillable(Event, frozen=True):
    """A worker in the caller's own process goes on with its job, although it was to be killed."""

    worker: str
    job: str

    def __str__(self) -> str:
        return f"worker {self.worker} goes on with job {self.job}: a thread of this program cannot be killed"


class ResourcesUnavailable(Event, frozen=True):
    """A worker could not open a resource, so it takes no jobs; it is started again, after a growing pause."""

    worker: str
    reason: str

    def __str__(self) -> str:
        return f"worker {self.worker} takes no jobs, and tries again: {self.reason}"


class ResourceUnclosed(Event, frozen=True):
    """A worker could not close a resource; it goes on to close the others."""

    resource: str
    reason: str

    def __str__(self) -> str:
        return f"the resource {self.resource} was not closed in order: {self.reason}"


class ScheduleStuck(Event, frozen=True):
    """An instant of a schedule cannot be fired by this consumer, which tries again."""

    queue: str
    schedule: str
    reason: str

    def __str__(self) -> str:
        return f"the schedule {self.schedule} of {self.queue} is due and cannot be fired: {self.reason}; retrying"


class ServerUnfit(Event, frozen=True):
    """The server's configuration may lose jobs; the consumer uses it nevertheless."""

    reason: str

    def __str__(self) -> str:
        return f"warning: {self.reason}"


class ServerLevels(Event, frozen=True):
    """The levels of durability that the server can provide at the start of a consumer."""

    levels: tuple[str, ...]

    def __str__(self) -> str:
        lost = "; a restart of the server loses all jobs" if self.levels == ("memory",) else ""
        return f"the server keeps jobs at the level {', '.join(self.levels)}{lost}"


class ServerAway(Event, frozen=True):
    """The server is unavailable; the consumer keeps trying."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; retrying"


class ServerBack(Event, frozen=True):
    """The server is available again."""

    def __str__(self) -> str:
        return "the server is available again"


_subscribers: list[Callable[[Event], object]] = []


def subscribe(listener: Callable[[Event], object]) -> None:
    """Call `listener` with every event of this process from now on."""
    _subscribers.append(listener)


def emit(event: Event) -> None:
    """Pass an event to all subscribers."""
    for listener in _subscribers:
        listener(event)
