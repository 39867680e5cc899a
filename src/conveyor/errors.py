"""Everything that can go wrong, as one tree.

```text
ConveyorError
├── BadCall (TypeError)            the arguments do not fit the task, or cannot be carried
├── BadInput (ValueError)          a task refuses what it was given: missing file, not a video, …
├── TooLarge (ValueError)          a job or a result over the size limit
├── UnknownTask (LookupError)      no registered task has this name
├── DuplicateJob                   a job with this id was put before
├── NotEmpty                       a queue that is to be deleted has jobs
├── Full (queue.Full)              no room, and the caller did not want to wait any longer
├── Empty (queue.Empty)            no job, and the caller did not want to wait any longer
├── ShutDown (queue.ShutDown)      the queue takes no more (subclass of the stdlib's from 3.13 on)
├── JobFailed                      the task raised; carries type, message and traceback as text
│   └── JobLost                    its worker died too often
├── JobCancelled (CancelledError)  somebody cancelled the job
├── JobGone (LookupError)          no job and no outcome of this id is kept
├── MissingExtra (ImportError)     a library of an optional extra is not installed
├── LeaseLost                      the lease ran out or went to another worker
├── WaitTimeout (TimeoutError)     the caller's timeout ran out; the job goes on
└── StoreError
    ├── DurabilityUnknown                    the jobs are put; their level of durability was not confirmed
    ├── StoreUnavailable (ConnectionError)   no answer from the server, or it says: not now
    ├── StoreRefused                         the server answers, and says no (rights, memory)
    │   ├── StoreFull                        it is out of memory
    │   └── StoreDenied                      wrong password, or not enough rights
    └── StoreMismatch                        server too old, or data of another protocol version
```
"""

from __future__ import annotations

import queue
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_StdlibShutDown: type[Exception] = getattr(queue, "ShutDown", Exception)


class ConveyorError(Exception):
    """Root of all errors of Conveyor.

    `hint` is one sentence on what to try, or an empty string. Where jobs were put together and some of them are in the
    queue nevertheless, the first ones, `accepted` says how many are known to be, and `ids` which.
    """

    accepted: int = 0
    ids: Sequence[str] = ()

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class BadCall(ConveyorError, TypeError):
    """The arguments do not fit the task's signature, or one of them cannot be carried to a worker."""


class BadInput(ConveyorError, ValueError):
    """A task refuses what it was asked to work on; it will refuse it again, so it is never retried."""


class TooLarge(ConveyorError, ValueError):
    """An encoded job or result is over the limit of 1 MiB."""


class UnknownTask(ConveyorError, LookupError):
    """No registered task has this name."""


class DuplicateJob(ConveyorError):
    """A job with this id was accepted before and is still known.

    It may be the caller's own: if the reply to the put was lost, and the job has ended before the client sent it again.
    """


class NotEmpty(ConveyorError):
    """A queue cannot be deleted as long as it has waiting, delayed, running or dead jobs."""


class Full(ConveyorError, queue.Full):
    """The queue had no room for the job, or for all that were put together, within the time the caller allowed."""

    def __init__(self, message: str = "", *, hint: str = "", accepted: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.accepted = accepted


class Empty(ConveyorError, queue.Empty):
    """The queue had no job within the time the caller allowed."""


class ShutDown(ConveyorError, _StdlibShutDown):  # type: ignore[valid-type, misc]
    """The queue was shut down: it accepts nothing, and nothing is left in it for this caller."""


class JobFailed(ConveyorError):
    """The task raised an exception, in a worker.

    Errors travel as data: `kind` is the exception's type name and `traceback` its traceback,
    both text; no exception class is ever rebuilt from what a worker sent.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.reason = message
        self.traceback = traceback


class JobLost(JobFailed):
    """The worker process died under the job more often than the crash budget allows."""


class JobCancelled(ConveyorError, CancelledError):
    """The job was cancelled before it was done.

    Inside a task this is what a cancellation raises; let it pass.
    """


class JobGone(ConveyorError, LookupError):
    """No live job and no kept outcome has this id."""


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
    """The lease ran out or another worker holds it now: this holder may not settle the job."""


class WaitTimeout(ConveyorError, TimeoutError):
    """The caller's timeout ran out; what was waited for goes on."""


class StoreError(ConveyorError):
    """Something between this process and the Redis or Valkey server."""


class StoreUnavailable(StoreError, ConnectionError):
    """The server does not answer, or is not ready: it loads its data, is a replica, lacks replicas or a disk."""


class DurabilityUnknown(StoreError):
    """Jobs are in the queue, but the server has not confirmed their level of durability in time.

    `ids` are those that are in the queue. The first `confirmed` of them have reached the level; of the others it is
    not known. They run all the same, so do not put them again.
    """

    confirmed: int = 0


class StoreRefused(StoreError):
    """The server answers and refuses: out of memory, no rights, wrong password."""


class StoreFull(StoreRefused):
    """The server is out of memory: it takes no more jobs until some are worked off, or it is given more."""


class StoreDenied(StoreRefused):
    """The server does not let this client in, or not do that: a wrong password, or rights that are missing."""


class StoreMismatch(StoreError):
    """The server is too old, or its data are of another protocol version."""
