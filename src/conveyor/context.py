"""The current job: what a task can report and query about its own run, through `current_job()`."""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from conveyor import clock
from conveyor.errors import BadCall, JobCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import timedelta

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: Seconds between two saves of a cursor.
SAVE_EVERY = 1.0


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

        It is a Done, Retry, Fail, Cancel, Release or Suspend of `conveyor.wire.outcome`. What the function raises has
        no effect. Each job of a batch has its own; that of the batch is the one of its first job, and comes last.
        """

    def check(self) -> None:
        """Raise JobCancelled if this job was requested to stop; for loops that have no other pause."""
        if self.cancelled:
            raise JobCancelled(f"job {self.id} was cancelled")

    # --- steps: what a later run of the job need not do again
    # ruff: noqa: ARG002 - outside a worker, what concerns the job is ignored

    @overload
    def step(
        self, name: str, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def step(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def step(self, name: str, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call a function and keep its result with the job; a later run of the job returns that instead of calling.

        With an asynchronous function, await what this returns. The result is kept when the next line runs; if the
        worker crashes before that, the next run calls the function again. Outside a worker, this only calls it.

        Raises what the function raises, and then keeps nothing; BadCall if the result cannot be serialized, and
        TooLarge if it has more than 1 MiB, or if the steps of the job keep more than 1,000 values or 16 MiB.
        """
        return function(*args, **kwargs)

    def sleep(self, seconds: float | timedelta, name: str = "") -> None:
        """Suspend the job for some time, without a worker; returns in the run of which this time has passed.

        Raises JobSuspended, which ends this run. The time begins with the first call, and a run that is repeated
        does not extend it. A sleep without a name is known by its number among those of its run. Outside a worker,
        this sleeps.
        """
        clock.sleep(seconds if isinstance(seconds, int | float) else seconds.total_seconds())

    async def sleep_async(self, seconds: float | timedelta, name: str = "") -> None:
        """Suspend the job for some time, as `sleep` does, in an asynchronous task."""
        import asyncio  # noqa: PLC0415 - a caller that awaits has imported it; for others it would be slow

        await asyncio.sleep(seconds if isinstance(seconds, int | float) else seconds.total_seconds())

    def wait_for(self, name: str, timeout: float | timedelta | None = None) -> Any:
        """Return the value of a signal; until it comes, the job is suspended, without a worker.

        `Job.signal` or `conveyor signal` sends one, also before this call. Raises JobSuspended, which ends this run,
        and WaitTimeout if no signal came within `timeout` seconds of the first call; later runs raise it as well.
        Outside a worker, no signal can come, and BadCall is raised.
        """
        raise BadCall(
            f"no signal {name!r:.80} can come: this code is not part of a job",
            hint="run the task as a job; in tests with conveyor.testing",
        )

    async def wait_for_async(self, name: str, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109
        """Return the value of a signal, as `wait_for` does, in an asynchronous task."""
        return CurrentJob.wait_for(self, name, timeout)

    def cursor(self, default: T) -> T:
        """Return what the last `save` of this job has saved, in this run or an earlier one, or else the default."""
        return default

    async def cursor_async(self, default: T) -> T:
        """Return what was saved last, as `cursor` does, in an asynchronous task."""
        return default

    def save(self, cursor: object, every: float = SAVE_EVERY) -> None:
        """Save how far a loop has come, from where a later run of the job goes on.

        The server gets it if the last one was `every` seconds ago, and when the run fails. Cheap enough to call
        thousands of times a second.

        If the worker is to stop, this saves the cursor and ends the run by raising JobSuspended: the job returns to
        its position in the queue, without using up a retry. Raises BadCall and TooLarge, as `step` does.
        """

    async def save_async(self, cursor: object, every: float = SAVE_EVERY) -> None:
        """Save how far a loop has come, as `save` does, in an asynchronous task."""


def is_async(function: Callable[..., Any]) -> bool:
    """Return True if a call of the function has to be awaited."""
    if inspect.iscoroutinefunction(function) or inspect.isroutine(function):
        return inspect.iscoroutinefunction(function)
    # An object: a task, which has wrapped its function, or one with a method for calls.
    called = getattr(function, "__wrapped__", None) or getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(called)


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
