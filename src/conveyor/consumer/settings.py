"""How a consumer is to run, as one checked value that travels from its caller to the supervisor process."""

from __future__ import annotations

import os
import signal
from typing import Literal

import msgspec

from conveyor.errors import BadCall
from conveyor.wire import ids

Kind = Literal["process", "thread", "coroutine"]

#: Signals that ask the consumer to leave, each one a step further; the last comes when its terminal is closed.
LEAVE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Workers of one consumer at most.
MOST_WORKERS = 1000
#: Seconds that a lease lasts; seconds between renewals. If all workers are busy, only renewals look for ended leases:
#: both and a TICK must be less than the 20 seconds that are promised.
LEASE, RENEWAL = 15.0, 4.0
#: Seconds after which a consumer reports, and asks for commands anew, although nothing has changed.
HEARTBEAT = 5.0
#: Seconds between two looks of the supervisor at its workers' slates.
TICK = 0.5
#: Seconds that a task has to react to a cancellation before its worker is killed.
GRACE = 10.0
#: Seconds that a leaving consumer may be told to wait for its current jobs.
LONGEST_GRACE = 30 * 86_400


class ConsumerSettings(msgspec.Struct, frozen=True):
    """What the supervisor needs to know."""

    queues: tuple[str, ...] = ("default",)
    """In order of precedence: the first that has a job gives it."""
    workers: int = 0
    """0: one per core."""
    kind: Kind = "process"
    modules: tuple[str, ...] = ()
    """Modules whose tasks and functions may run."""
    script: str = ""
    script_name: str = ""
    """The script of the caller, whose functions may run as well."""
    script_arguments: tuple[str, ...] = ()
    """What the script was started with; it may look at that while it is read."""
    path: tuple[str, ...] = ()
    """Where modules are looked for, first."""
    url: str = ""
    """The server's address; empty: CONVEYOR_URL or the embedded server."""
    until_empty: bool = False
    grace: float = GRACE
    """Seconds that a task has to react to a cancellation before its worker is killed."""
    leave_grace: float | None = None
    """Seconds after which a leaving consumer cancels running jobs and gives them back; None: it waits for them."""
    lifeline: bool = False
    """True if the caller is at standard input: a byte asks to leave, each one a step further, and so does its end."""

    def __post_init__(self) -> None:
        if not self.queues:
            message = "a consumer needs a queue"
            raise BadCall(message, hint="name one or more")
        for queue in self.queues:
            ids.checked_queue(queue)
        if not 0 <= self.workers <= MOST_WORKERS:
            message = f"workers={self.workers}: it is 1 to {MOST_WORKERS}"
            raise BadCall(message)
        seconds = self.leave_grace
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and 0 <= seconds <= LONGEST_GRACE):
            message = f"grace must be between 0 and {LONGEST_GRACE} seconds, got {self.leave_grace!r}"
            raise BadCall(message, hint="leave it out to wait for the current jobs")
        if self.kind != "process":
            message = f"kind={self.kind!r} is not there yet"
            raise BadCall(message, hint="use kind='process'")

    @property
    def crew_size(self) -> int:
        """How many workers that makes on this machine."""
        return self.workers or cores()


def cores() -> int:
    """Give how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
