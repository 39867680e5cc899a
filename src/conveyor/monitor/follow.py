"""Following a control command or a cancelled job until it is done, and noticing that no worker is there to do it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.clock import Deadline
from conveyor.errors import StoreUnavailable
from conveyor.monitor.format import printable
from conveyor.monitor.job_record import MAX_LINES, log_after
from conveyor.store import commands, control_channel
from conveyor.store.query import Query, together
from conveyor.wire import control_messages
from conveyor.wire.codec import try_decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, MutableMapping

    from conveyor.monitor.job_record import LogLine
    from conveyor.store import Client
    from conveyor.wire.control_messages import Acknowledgement

#: Seconds of one wait for an acknowledgement, and between two polls of a running job or for workers.
STEP, JOB_INTERVAL, WORKER_INTERVAL = 0.5, 0.25, 2.0
#: States of the `state` script in which no worker has a job.
_UNTAKEN = ("ready", "deferred", "delayed")
NO_REPLY, ACKNOWLEDGED, DONE = "no answer", "acknowledged", "done"


@dataclass(slots=True)
class Target:
    """A worker or consumer that a control command is for, and its last acknowledgement."""

    name: str
    state: str = NO_REPLY
    """no answer, or the state of its last acknowledgement."""
    detail: str = ""

    @property
    def is_worker(self) -> bool:
        """True if it is a single worker, not a whole consumer."""
        return "/" in self.name

    @property
    def had_no_effect(self) -> bool:
        """True if the command was received but not carried out."""
        return self.state in control_messages.NOT_DONE

    @property
    def job(self) -> str | None:
        """The job that it is still running."""
        is_job = self.state == ACKNOWLEDGED and " " not in self.detail  # unlike the numbers of workers
        return self.detail or None if is_job else None

    @property
    def description(self) -> str:
        """The state, with the reason if the command had no effect."""
        label = control_messages.WORDS.get(self.state, self.state)
        return f"{label}: {printable(self.detail)}" if self.had_no_effect and self.detail else label


def follow_command(
    client: Client,
    command_id: str,
    targets: MutableMapping[str, Target],
    timeout: float,
    first_reply: float | None = None,
) -> Iterator[Target]:
    """Yield each target of a control command when it acknowledges, until all are done or `timeout` seconds passed.

    `first_reply` is the timeout of a target without any reply. A target that was not named, such as the consumer that
    exits with its last worker, is added.
    """
    deadline, first = Deadline(timeout), Deadline(timeout if first_reply is None else first_reply)
    while (left := _left(targets.values(), deadline, first)) > 0:
        data = client.run(control_channel.await_acknowledgement(command_id, min(STEP, left)))
        if data is not None:
            answer = control_messages.decode_acknowledgement(data)
            target = targets.setdefault(answer.target, Target(answer.target))
            target.state, target.detail = answer.state, answer.detail
            yield target


def acknowledgements(command_id: str) -> Query[list[Acknowledgement]]:
    """Return the acknowledgements of a control command in the last minute, oldest first, and leave them for others.

    At most 500, without unreadable ones.
    """
    decode = control_messages.decode_acknowledgement
    return Query(
        (control_channel.acknowledgements(command_id),),
        lambda replies: list(filter(None, (try_decode(decode, data) for data in replies[0]))),
    )


def wait_until_stopped(client: Client, queue: str, job_id: str, timeout: float) -> bool:
    """Wait until a job is no longer running; return False after `timeout` seconds."""
    deadline = Deadline(timeout)
    while not deadline.passed():
        state: commands.State = client.run(commands.state(queue, job_id))
        if state.state != "leased":
            return True
        clock.sleep(JOB_INTERVAL)
    return False


def follow_log(client: Client, queue: str, job_id: str) -> Iterator[tuple[bool, list[LogLine]]]:
    """Yield the log lines of a job, then four times a second the new ones, until it has finished.

    With them comes True if the job waits for a worker. Raises StoreUnavailable.
    """
    after = ""
    while True:
        # The lines second: those of a run are there when its outcome is.
        asking = Query((commands.state(queue, job_id),), itemgetter(0))
        state, lines = together([asking, log_after(queue, job_id, after)]).ask(client)
        after = lines[-1].id if lines else after
        yield state.state in _UNTAKEN, lines
        if len(lines) == MAX_LINES:
            continue
        if state.state not in {*_UNTAKEN, "leased"}:
            return
        clock.sleep(JOB_INTERVAL)


@dataclass(slots=True)
class WorkerMonitor:
    """Checks every two seconds whether a queue has workers, while nothing else shows that it has.

    `count_workers` returns the number of workers; it may raise StoreUnavailable.
    """

    count_workers: Callable[[], int]
    missing_for: float = 0.0
    """Seconds since workers, or progress, were last seen, as of the last check; 0 if there are workers."""
    _seen: float = field(default_factory=clock.monotonic)
    _checked: float = field(default_factory=clock.monotonic)

    def progressed(self) -> None:
        """Note that jobs progress, so there are workers."""
        self.missing_for, self._seen, self._checked = 0.0, clock.monotonic(), clock.monotonic()

    def check(self) -> float:
        """Return `missing_for`, after a check if the last one is two seconds old."""
        now = clock.monotonic()
        if now - self._checked >= WORKER_INTERVAL:
            self._checked = now
            with contextlib.suppress(StoreUnavailable):
                if self.count_workers():
                    self.progressed()
                else:
                    self.missing_for = now - self._seen
        return self.missing_for


def _left(targets: Iterable[Target], deadline: Deadline, first: Deadline) -> float:
    """Return the seconds to wait at most: the longest time that is left to any target."""
    states = {one.state for one in targets}
    return max(
        first.left(STEP) if NO_REPLY in states else 0.0,
        deadline.left(STEP) if ACKNOWLEDGED in states else 0.0,
    )
