"""Settings of a consumer, as one validated value that its caller passes to the supervisor process."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from conveyor.errors import BadCall
from conveyor.store import leases
from conveyor.wire import control_messages, ids

Kind = Literal["process", "thread", "coroutine"]
LogLevel = Literal["debug", "info", "warning", "error"]

#: Signals that request a stop, each one raising the stop level; the last one arrives when the terminal is closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Workers of one consumer.
MAX_WORKERS = control_messages.MAX_WORKERS
#: Threads, and coroutines, of a consumer by default.
DEFAULT_WORKERS = {"thread": 10, "coroutine": 100}
#: Seconds that a lease lasts, and seconds between renewals.
LEASE, RENEWAL = leases.LEASE, leases.RENEWAL
#: Seconds after a claim for which its jobs are certainly held, whatever became of their renewals.
SURE = LEASE / 3
#: Seconds after which a consumer reports, and polls for control commands again, although nothing has changed.
HEARTBEAT = 5.0
#: Seconds between two polls of the workers' shared status by the supervisor.
TICK = 0.5
#: Seconds between two checks for the end of all jobs, if the worker is to exit then: no wake-up announces that.
POLL_EMPTY = 0.25
#: Highest weight of a queue.
MAX_WEIGHT = 1000
#: Queues of which each is asked for jobs by a claim.
FEW_QUEUES = 4
#: Seconds that a worker takes to send its counts when it exits.
LAST_TALLY = 0.5
#: Seconds that a task has to react to a cancellation before its worker is killed.
GRACE = 10.0
#: Bytes by the letter of a unit, and the smallest limit of a process's memory, which is usually a forgotten unit.
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MIN_MEMORY = 1 << 20
#: Limit, in seconds, of the time that a stopping consumer waits for its current jobs.
MAX_GRACE = 30 * 86_400


_chance = random.SystemRandom()  # the program's own random numbers are its own


class ConsumerSettings(msgspec.Struct, frozen=True):
    """Everything the supervisor needs to know."""

    queues: tuple[str, ...] = ("default",)
    """In order of precedence: the next job comes from the first queue that has one."""
    weights: tuple[int, ...] = ()
    """Of each queue, instead of the precedence: how often it is asked first, compared with the others."""
    workers: int | None = None
    """Jobs that run at a time. None: one per core, 10 threads, or 100 coroutines."""
    kind: Kind = "process"
    """How a worker runs its jobs: in a process of its own, or in a thread or as a coroutine of a shared one."""
    processes: int | None = None
    """Processes of threads and coroutines; None: one."""
    min_workers: int | None = None
    max_workers: int | None = None
    """Limits between which the number of workers follows what waits; None: it is `workers`."""
    max_jobs: int | None = None
    """Runs after which a worker process is replaced; None: no limit."""
    max_memory: int | None = None
    """Resident bytes above which a worker process is replaced between jobs; None: no limit."""
    modules: tuple[str, ...] = ()
    """Modules whose tasks and functions may run."""
    script: str = ""
    script_name: str = ""
    """The script of the caller, whose functions may run as well."""
    script_arguments: tuple[str, ...] = ()
    """Command-line arguments of the script, which may read them while it is loaded."""
    path: tuple[str, ...] = ()
    """Folders to search for modules first."""
    url: str = ""
    """URL of the server; empty: CONVEYOR_URL or the embedded server."""
    until_empty: bool = False
    grace: float = GRACE
    """Seconds that a task has to react to a cancellation before its worker is killed."""
    leave_grace: float | None = None
    """Seconds after which a stopping consumer cancels its running jobs and releases them; None: it waits for them."""
    executor: str = ""
    """Private folder of the caller's executor: what its workers may run as well, and what they run first."""
    log_level: LogLevel = "info"
    """The lowest level of what tasks log through `logging` that is kept with their jobs."""
    prints: bool = False
    """True if what tasks print is kept with their jobs as well."""
    lifeline: bool = False
    """True if standard input leads to the caller: each byte raises the stop level, and so does the end of file."""

    def __post_init__(self) -> None:
        self._check_queues()
        if self.workers is not None and not (type(self.workers) is int and 1 <= self.workers <= MAX_WORKERS):
            message = f"workers must be a whole number between 1 and {MAX_WORKERS}, got {self.workers!r}"
            is_more = type(self.workers) is int and self.workers > MAX_WORKERS
            hint = (
                "start several consumers for more" if is_more else "leave it out for the default of its kind"
            )
            raise BadCall(message, hint=hint)
        seconds = self.leave_grace
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and 0 <= seconds <= MAX_GRACE):
            message = f"grace must be between 0 and {MAX_GRACE} seconds, got {self.leave_grace!r}"
            raise BadCall(message, hint="leave it out to wait for the current jobs")
        if self.kind not in get_args(Kind):
            message = f"kind must be process, thread or coroutine, got {self.kind!r}"
            raise BadCall(message, hint="leave it out for workers in processes of their own")
        if self.log_level not in get_args(LogLevel):
            message = f"log_level must be debug, info, warning or error, got {self.log_level!r}"
            raise BadCall(message, hint="leave it out to keep lines from the level INFO on")
        if self.processes is not None:
            if self.kind == "process":
                message = "processes is for threads and coroutines: every worker of kind process has its own"
                raise BadCall(message, hint="use workers")
            if not 1 <= self.processes <= self.worker_count:
                message = (
                    f"processes must be between 1 and {self.worker_count}, the number of workers at the start, "
                    f"got {self.processes}"
                )
                raise BadCall(message, hint="leave it out for one process")
        self._check_limits()

    def _check_queues(self) -> None:
        """Raise BadCall without a queue, or for an invalid name or weight."""
        if not self.queues:
            message = "a consumer needs a queue"
            raise BadCall(message, hint="name one or more")
        for queue in self.queues:
            ids.checked_queue(queue)
        if self.weights and not (
            len(self.weights) == len(self.queues)
            and all(_is_whole(one, 1, MAX_WEIGHT) for one in self.weights)
        ):
            message = f"the weight of a queue must be a whole number between 1 and {MAX_WEIGHT}"
            raise BadCall(message, hint='name a queue with a weight so: "mail:5"')

    def _check_limits(self) -> None:
        """Raise BadCall for invalid limits of the number of workers, or of a worker process."""
        if self.max_workers is None and self.min_workers is not None:
            raise BadCall("min_workers needs max_workers", hint="add it, or use workers for a fixed number")
        if self.max_workers is not None:
            if self.workers is not None:
                message = "workers is a fixed number; min_workers and max_workers let it follow what waits"
                raise BadCall(message, hint="leave workers out, or the two others")
            if not _is_whole(self.max_workers, 1, MAX_WORKERS):
                message = f"max_workers must be a whole number between 1 and {MAX_WORKERS}, got {self.max_workers!r}"
                raise BadCall(message)
            if self.min_workers is not None and not _is_whole(self.min_workers, 1, self.max_workers):
                message = (
                    f"min_workers must be a whole number between 1 and max_workers, got {self.min_workers!r}"
                )
                raise BadCall(message)
        if self.max_jobs is not None and not _is_whole(self.max_jobs, 1):
            message = f"max_jobs must be a whole number and at least 1, got {self.max_jobs!r}"
            raise BadCall(message, hint="leave it out for no limit")
        if self.max_memory is not None and not _is_whole(self.max_memory, MIN_MEMORY):
            message = f"max_memory must be at least {MIN_MEMORY} bytes (1M), got {self.max_memory!r}"
            raise BadCall(message, hint="give it as bytes, or with a unit: 512M, 2G")

    def order(self) -> Sequence[str]:
        """Return the queues in the order in which to ask them now: that of precedence or, with weights, by chance.

        The queue with the shortest of exponentially distributed times comes first as often as its weight says.
        """
        if not self.weights:
            return self.queues
        times = [_chance.expovariate(weight) for weight in self.weights]
        return [queue for _, queue in sorted(zip(times, self.queues, strict=True))]

    @property
    def worker_count(self) -> int:
        """Number of workers on this machine at the start: of jobs that run at a time."""
        if self.max_workers is not None:
            return self.min_workers or 1
        return self.workers or (cores() if self.kind == "process" else DEFAULT_WORKERS[self.kind])

    @property
    def process_count(self) -> int:
        """Number of processes that run jobs."""
        return self.worker_count if self.kind == "process" else self.processes or 1


def _is_whole(number: object, least: int, most: float = float("inf")) -> bool:
    return type(number) is int and least <= number <= most


def read_queues(queues: str | Iterable[str] | Mapping[str, int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names and weights of queues, such as `mail:5` or {"mail": 5}: empty if no queue has a weight."""
    if isinstance(queues, Mapping):
        return tuple(queues), tuple(queues.values())
    names, weights, has_weights = [], [], False
    for queue in (queues,) if isinstance(queues, str) else queues:
        name, colon, weight = queue.partition(":")
        names.append(name)
        weights.append(int(weight) if weight.isdecimal() else 0 if colon else 1)
        has_weights = has_weights or bool(colon)
    return tuple(names), tuple(weights) if has_weights else ()


def read_size(size: int | str | None) -> int | None:
    """Return bytes, which a string may give with a unit of 1024: `512M`, `1.5 GiB`. Raises BadCall if it is invalid."""
    if not isinstance(size, str):
        return size
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", size.strip(), re.ASCII | re.IGNORECASE)
    if found is None:
        raise BadCall(f"invalid size {size!r:.80}", hint="give it as bytes, or with a unit: 512M, 2G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def consumer_name() -> str:
    """Return a name for a new consumer: its host and four letters, unique on that host."""
    return f"{ids.host_name()}-{ids.unique(4)}"
