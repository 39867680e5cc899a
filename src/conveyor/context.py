"""The current job: what a task can report and query about its own run, through `current_job()`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from conveyor.errors import JobCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class CurrentJob:
    """The run that the calling code is part of.

    Outside a worker, `current_job()` returns an object of this base class. It has no id, is never cancelled, and
    ignores reports, so a task also works as a plain function.
    """

    id: str = ""
    queue: str = ""
    """The queue of the job."""
    task: str = ""
    """The name of its task."""
    worker: str = ""
    """The name of the worker that runs it."""
    attempt: int = 1
    """1 on the first run, one more after each retry and each crash."""
    token: int = 0
    """Fencing token of this run's lease: grows with every claim of the job. Pass it to external systems
    so that they can refuse a run that was overtaken."""
    gathered: Sequence[CurrentJob] = ()
    """The jobs of a batch, of which this is the run; see `current_jobs`."""

    @property
    def put_at(self) -> float:
        """When it was put, in seconds since 1970 by the producer's clock; 0 outside a worker."""
        return 0.0

    @property
    def headers(self) -> dict[str, str]:
        """The headers that travelled with the job, such as a tenant or a trace; a new dict. Empty outside a worker."""
        return {}

    @property
    def cancelled(self) -> bool:
        """True once this job was requested to stop; a task that cleans up should then return or raise."""
        return False

    def progress(self, done: float, total: float = 1.0, message: str = "") -> None:
        """Report the progress: `done` of `total` units. Cheap enough to call thousands of times a second."""

    def log(self, text: str) -> None:
        """Append a line of the level INFO to the job's log.

        Workers send lines ten times a second, and before the outcome of the run. While the server is unavailable, 500
        are buffered; a call may then take about a second. Raises BadCall if a worker runs the job and `text` is not a
        str.
        """

    def on_outcome(self, function: Callable[[Any], object]) -> None:
        """Call a function with the outcome of this run as soon as that is certain, soon after middleware has ended.

        It is a Done, Retry, Fail, Cancel or Release of `conveyor.wire.outcome`. What the function raises has no effect.
        Each job of a batch has its own; that of the batch itself is the one of its first job, and comes last.
        """

    def check(self) -> None:
        """Raise JobCancelled if this job was requested to stop; for loops that have no other pause."""
        if self.cancelled:
            raise JobCancelled(f"job {self.id} was cancelled")


#: The run that the code in this context is part of; set by the worker.
running: ContextVar[CurrentJob] = ContextVar("conveyor_current_job", default=CurrentJob())  # noqa: B039 - it has no state


def current_job() -> CurrentJob:
    """Return the current job or, outside a worker, a no-op stand-in that is never cancelled.

    In a batch task it is the first job of the batch, with the progress of all, and cancelled once all of them are.
    """
    return running.get()


def current_jobs() -> list[CurrentJob]:
    """Return the current jobs of a batch task, one for each item of its lists; in any other task the current job."""
    job = running.get()
    return [*job.gathered] or [job]
