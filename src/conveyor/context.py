"""What a task can say and ask about its own run, through `current_job()`."""

from __future__ import annotations

from contextvars import ContextVar

from conveyor.errors import JobCancelled


class CurrentJob:
    """The run that the calling code is part of.

    This base class is also what `current_job()` gives outside a worker: it has no id, nothing
    cancels it, and what it is told goes nowhere. So a task works as a plain function as well.
    """

    id: str = ""
    attempt: int = 1
    """1 on the first run, one more on each retry and after each crash."""
    token: int = 0
    """Fencing token of this run's lease: grows with every claim of the job. Hand it to outside systems
    so that they can refuse a run that was overtaken."""

    @property
    def cancelled(self) -> bool:
        """True once somebody asked for this job to stop; a task that cleans up should then return or raise."""
        return False

    def progress(self, done: float, total: float = 1.0, message: str = "") -> None:
        """Say how far the work is: `done` of `total` units. Cheap enough to call thousands of times a second."""

    def log(self, text: str) -> None:
        """Keep a line of text with the job, for people who look at it.

        A round trip, and a second or so at most: where the server is away, 500 lines are kept and sent later.
        Raises BadCall if a worker runs the job and `text` is not a str.
        """

    def check(self) -> None:
        """Raise JobCancelled if somebody asked for this job to stop; for loops that have no other pause."""
        if self.cancelled:
            message = f"job {self.id} was cancelled"
            raise JobCancelled(message)


#: The run that the code in this context is part of; set by what runs a job.
running: ContextVar[CurrentJob] = ContextVar("conveyor_current_job", default=CurrentJob())  # noqa: B039 - it has no state


def current_job() -> CurrentJob:
    """Give the job this code runs in; outside a worker, one that is never cancelled and hears nothing."""
    return running.get()
