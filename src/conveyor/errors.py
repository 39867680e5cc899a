"""All errors, as one tree.

```text
ConveyorError
├── BadCall (TypeError)            the arguments do not fit the task, or cannot be serialized
├── BadInput (ValueError)          a task refuses its input: missing file, not a video, …
├── TooLarge (ValueError)          a job or a result exceeds the size limit
├── UnknownTask (LookupError)      no registered task has this name
├── ResourceUnavailable            a resource of the worker cannot be opened
├── UnknownClass (ImportError)     this process has not imported the class of an object
├── Untrusted (PermissionError)    a pickled value is not signed with a key of this process
├── DuplicateJob                   a job with this id exists already
├── NotEmpty                       a queue to be deleted has jobs
├── Full (queue.Full)              no room within the caller's timeout
├── Empty (queue.Empty)            no job within the caller's timeout
├── ShutDown (queue.ShutDown)      the queue is shut down (subclass of the stdlib's from 3.13 on)
├── JobFailed                      the task raised; has type, message and traceback as strings
│   └── JobLost                    its worker crashed too often
├── JobCancelled (CancelledError)  the job was cancelled
│   └── JobExpired                  no worker started it in time
├── JobGone (LookupError)          no job and no outcome with this id
├── MissingExtra (ImportError)     a library of an optional extra is not installed
├── SoftTimeout                    in a task: its run has reached its soft time limit
├── TimeLimit (TimeoutError)       a run was ended since it reached its time limit; only `retry_on`, `give_up_on` see it
├── Retry                          a task raises it to be run again later
├── Throttle                       raised by a task: its queue, or the jobs with the same limit, rest
├── LeaseLost                      the lease expired or went to another worker
├── WaitTimeout (TimeoutError)     the caller's timeout expired; the job continues
└── StoreError
    ├── DurabilityUnknown                    the jobs are put, but not confirmed to be durable
    ├── StoreUnavailable (ConnectionError)   no reply from the server, or it is not ready
    ├── StoreRefused                         the server refuses (rights, memory)
    │   ├── StoreFull                        it is out of memory
    │   └── StoreDenied                      wrong password, or not enough rights
    └── StoreMismatch                        server too old, or data of another protocol version
```

JobSuspended is a BaseException: it ends a run whose job goes on later.
"""

from __future__ import annotations

import queue
from concurrent.futures import CancelledError
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Max seconds of a rest: a day.
_LONGEST_REST = 86_400
_StdlibShutDown: type[Exception] = getattr(queue, "ShutDown", Exception)


class ConveyorError(Exception):
    """Root of all errors of Conveyor.

    `hint` is advice on what to do, or ""; a traceback shows it. If jobs were put together and the first ones are in the
    queue nevertheless, `accepted` is their number, and `ids` are their ids.
    """

    accepted: int = 0
    ids: Sequence[str] = ()

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"Hint: {hint}")  # so that a traceback shows it

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes, since the arguments of an error are not those of its constructor."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[ConveyorError], args: tuple[Any, ...], state: dict[str, Any]) -> ConveyorError:
    """Return a pickled error."""
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


class BadCall(ConveyorError, TypeError):
    """The arguments do not fit the task's signature, or one of them cannot be serialized."""


class BadInput(ConveyorError, ValueError):
    """A task refuses its input. It would refuse it again, so it is never retried."""


class TooLarge(ConveyorError, ValueError):
    """An encoded job, result or item exceeds the limit of 1 MiB, or the items that a job yields that of 64 MiB."""


class UnknownTask(ConveyorError, LookupError):
    """No registered task has this name."""


class ResourceUnavailable(ConveyorError):
    """A resource that a worker hands to its tasks cannot be opened, such as the pool of a database that is down."""


class UnknownClass(ConveyorError, ImportError):
    """An object arrived whose class this process does not have: its module is not imported, or of another version.

    Nothing that arrives makes a process import a module.
    """


class Untrusted(ConveyorError, PermissionError):
    """A pickled value arrived that no key of this process has signed, so it was not read."""


class DuplicateJob(ConveyorError):
    """A job with this id was accepted before and is still known.

    It may be the caller's own: if the reply to the put was lost, and the job finished before the client sent it again.
    """


class NotEmpty(ConveyorError):
    """A queue with waiting, deferred, delayed, running or dead jobs cannot be deleted."""


class Full(ConveyorError, queue.Full):
    """The queue had no room for the job, or for all that were put together, within the caller's timeout."""

    def __init__(self, message: str = "", *, hint: str = "", accepted: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.accepted = accepted


class Empty(ConveyorError, queue.Empty):
    """The queue had no job within the caller's timeout."""


class ShutDown(ConveyorError, _StdlibShutDown):  # type: ignore[valid-type, misc]
    """The queue is shut down: it accepts no jobs, and has none left for this caller."""


class JobFailed(ConveyorError):
    """The task raised an exception, in a worker.

    Errors travel as data: `kind` is the name of the exception's type (with its module if a built-in type has the same
    name) and `traceback` its traceback, both strings. No exception class is ever rebuilt from what a worker sent.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.reason = message
        self.traceback = traceback


class JobLost(JobFailed):
    """The job's worker processes crashed more often than the crash budget allows."""


class JobCancelled(ConveyorError, CancelledError):
    """The job was cancelled before it had finished.

    A cancellation raises it inside the task; do not catch it there.
    """


class JobExpired(JobCancelled):
    """No worker has started the job before it expired, as its option `expires` says; so none ever will."""


class SoftTimeout(ConveyorError):
    """The run has reached its soft time limit, `soft_timeout`. Raised once inside the task, which may catch it.

    Not a TimeoutError, since that is an OSError, which much code that uses the network catches and tries again. In a
    coroutine it is also an asyncio.CancelledError: what the task awaits ends then.
    """

    def __init__(self, message: str = "the run has reached its soft time limit", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class Throttle(ConveyorError):
    """Raised by a task to let its queue rest, as after an HTTP 429: `raise Throttle(30)`.

    The job returns to its place and uses up no retry, and for so many seconds no job of the queue starts; or if the job
    has a limit, none with the same key, unless `whole_queue` is true.
    """

    def __init__(self, seconds: float | timedelta, *, whole_queue: bool = False) -> None:
        self.seconds = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not 0 < self.seconds <= _LONGEST_REST:
            raise BadCall(
                f"a rest lasts more than 0 and at most {_LONGEST_REST:,} seconds, got {seconds!r:.80}"
            )
        self.whole_queue = whole_queue
        super().__init__(f"a task asked for a rest of {self.seconds:g} s")


class TimeLimit(ConveyorError, TimeoutError):
    """A run was ended from outside, since it reached its time limit, `timeout`. Nothing raises it in the task.

    It stands for such a run in the options `retry_on` and `give_up_on`, where TimeoutError includes it.
    """


class Retry(ConveyorError):
    """A task raises it to be run again `after` that many seconds, or a timedelta; by default after its usual delay.

    It uses up one of the job's retries; without any left, the job fails. Raise it from another error to show that as
    the reason. Raises BadCall for a negative or infinite time.
    """

    def __init__(self, after: float | timedelta | None = None, message: str = "") -> None:
        super().__init__(message)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds < float("inf")):
            raise BadCall(
                f"after must be a finite number of seconds from 0, or a timedelta, got {after!r:.80}",
                hint="raise Retry(after=30)",
            )
        self.after = seconds

    def __str__(self) -> str:
        if self.message or self.__cause__ is None:
            return self.message or "the task asked to be run again"
        return f"{type(self.__cause__).__name__}: {self.__cause__}"


class JobSuspended(BaseException):
    """The run ends here, and the job goes on in a later one: it sleeps, waits for a signal, or its worker stops.

    Raised inside a task by `sleep`, `wait_for` and `save`; do not catch it there. `except Exception`
    lets it pass.
    """

    def __init__(self, message: str = "", *, kind: str = "", name: str = "") -> None:
        super().__init__(message)
        self.kind, self.name = kind, name


class JobGone(ConveyorError, LookupError):
    """No job and no outcome with this id exists."""


class MissingExtra(ConveyorError, ImportError):
    """A library of an optional extra is not installed; `name` is the library."""

    def __init__(self, subject: str, extra: str, module: str | None) -> None:
        library = (module or "a library").partition(".")[0]
        super().__init__(
            f'{subject} needs the extra "{extra}": {library} is not installed',
            hint=f'run pip install ".[{extra}]" in a checkout of Conveyor',
        )
        self.name = library


class LeaseLost(ConveyorError):
    """The lease expired or another worker holds it now: this holder may not settle the job."""


class WaitTimeout(ConveyorError, TimeoutError):
    """The caller's timeout expired; the awaited job continues."""


class StoreError(ConveyorError):
    """An error of the Redis or Valkey server, or of the connection to it."""


class StoreUnavailable(StoreError, ConnectionError):
    """The server does not reply, or is not ready: it loads its data, is a replica, lacks replicas or a disk."""


class DurabilityUnknown(StoreError):
    """Jobs are in the queue, but the server has not confirmed their level of durability in time.

    `ids` are the jobs in the queue. The first `confirmed` of them have reached the level; for the others it is
    unknown. All of them run, so do not put them again.
    """

    confirmed: int = 0


class StoreRefused(StoreError):
    """The server refuses: out of memory, no rights, wrong password."""


class StoreFull(StoreRefused):
    """The server is out of memory: it accepts no more jobs until some are processed, or maxmemory is raised."""


class StoreDenied(StoreRefused):
    """The server refuses this client or command: a wrong password, or missing rights."""


class StoreMismatch(StoreError):
    """The server is too old, or its data have another protocol version."""
