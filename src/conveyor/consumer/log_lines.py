"""Log lines of jobs on their way to the server: gathered, buffered while it is unavailable, counted if too many."""

from __future__ import annotations

import _thread
import queue
import threading
from collections import Counter
from contextvars import Context
from typing import TYPE_CHECKING, NamedTuple, Protocol

from conveyor import clock
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import records

if TYPE_CHECKING:
    from conveyor.store import Client
    from conveyor.store.command import Command

#: Seconds between two round trips for lines that are gathered.
EVERY = 0.1
#: Lines that are buffered while the server is unavailable.
MAX_WAITING = 500
#: Bytes of lines in one round trip, unless a single line has more: they must arrive in time on a slow connection, too.
MAX_SENT = 1 << 16
#: Runs whose lost lines are counted separately.
MAX_COUNTED = 100
#: Seconds for which a task waits for its lines at most: for a new connection, and for a reply.
PATIENCE, WITHIN = 0.25, 1.0
#: Seconds after a failed attempt in which tasks only buffer their lines.
PAUSE = 5.0
#: Seconds after which the thread tries again, for which no task waits.
RETRY = 0.5


class Logging(Protocol):
    """A run that logs."""

    queue: str
    id: str
    attempt: int
    lines_logged: int


class _Run(NamedTuple):
    queue: str
    job: str
    attempt: int


class _Line(NamedTuple):
    run: _Run
    level: str
    text: str
    number: int
    at: float
    """When it was logged, by the monotonic clock."""


class LogLines:
    """The lines of one process, in order. Any thread of a task may add some.

    Each line is sent when it is added, until `gather` is called. From then on a thread sends what has gathered, ten
    times a second at most, and a task waits only if the buffer is full and the server took the last lines.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.begin()

    def begin(self) -> None:
        """Start without lines; so does a forked child, since its parent sends its own."""
        self._waiting: list[_Line] = []
        self._lost: Counter[_Run] = Counter()
        self._others_lost = 0
        self._again_at = float("-inf")
        self._is_refused = self._has_failed = False
        # A signal handler may log while its thread does.
        self._lock = threading.RLock()  # held while the buffer changes, and never while something is sent
        self._sending = threading.RLock()
        # A forked child may end at any time, so it sends its lines at once.
        self._gathers = self._is_rung = False
        self._has_thread = False
        # What a signal handler may put into while its thread does.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def gather(self) -> None:
        """Send lines together from now on; the caller flushes them before it reports the end of a run."""
        self._gathers = True

    def stop_gathering(self) -> None:
        """Send each line when it is added again, and end the thread."""
        self._gathers = False
        self._bell.put(None)

    def add(self, run: Logging, level: str, text: str) -> None:
        """Keep a line for its job. Never raises a StoreError."""
        with self._lock:
            of = _Run(run.queue, run.id, run.attempt)
            # A full buffer that is being sent takes the line of a signal handler, which cannot wait for that.
            if len(self._waiting) < MAX_WAITING or not self._has_failed:
                run.lines_logged += 1
                cut = text[: records.MAX_LINE + 1]
                self._waiting.append(_Line(of, level, cut, run.lines_logged, clock.monotonic()))
            else:
                self._lose(of)
            is_full = len(self._waiting) >= MAX_WAITING
        if (is_full and not self._has_failed) or not self._will_send():
            with self._sending:
                if clock.monotonic() >= self._again_at:
                    self._send()

    def flush(self, *, exiting: bool = False) -> None:
        """Send buffered lines. Never raises, since the worker may hold a batch.

        Lines that the server refused wait for the end of the pause, unless the worker exits. In an outage they are
        tried again, since what follows in the same thread needs the server, too.
        """
        if not self._waiting and not self._lost:
            return
        with self._sending:
            if self._is_refused and not exiting and clock.monotonic() < self._again_at:
                return
            try:
                self._send()
            except Exception:  # noqa: BLE001 - lines must affect neither the worker nor later jobs
                self._drop(len(self._waiting))

    def resume(self) -> None:
        """Send what was buffered while the server was unavailable, since it has just replied to something else."""
        if self._has_failed:
            self.flush()

    def _will_send(self) -> bool:
        """Return True if the thread sends what has gathered; starts it if necessary."""
        if not self._gathers:
            return False
        if not self._has_thread:
            try:
                # In a context of its own, since what it does belongs to no job. And a single call: a cancellation that
                # is raised in the middle of `Thread.start` can be lost there.
                _thread.start_new_thread(Context().run, (self._serve,))
            except RuntimeError:  # the system allows no more
                return False
            self._has_thread = True
        if not self._is_rung:
            self._is_rung = True
            self._bell.put(None)
        return True

    def _serve(self) -> None:
        """Send lines soon after the first, and further ones together."""
        while self._gathers:
            if not self._waiting:
                self._bell.get()
            self._is_rung = False  # not later, or the bell would not ring for a line that is not sent here
            self.flush()
            clock.sleep(RETRY if self._has_failed else EVERY)

    def _send(self) -> None:
        """Send one part after the other, but start none after half a second; the rest stays for the next time."""
        until = clock.Deadline(WITHIN / 2)
        while (self._waiting or self._lost) and self._send_part() and not until.passed():
            pass

    def _send_part(self) -> bool:
        """Return True if the server has accepted it."""
        # Set first: a signal handler that logs meanwhile only buffers its line.
        self._again_at = clock.monotonic() + PAUSE
        sent: list[Command] = []
        expiring: dict[tuple[str, str], Command] = {}
        count, size, now = 0, 0, clock.monotonic()
        for run, level, text, number, at in self._waiting.copy():
            adding, expiring[run[:2]] = records.log(
                run.queue, run.job, text, level=level, attempt=run.attempt, number=number, age=now - at
            )
            size += sum(len(word) for word in adding.words if isinstance(word, bytes))
            if count and size > MAX_SENT:
                break
            sent.append(adding)
            count += 1
        sent += expiring.values()
        lost, others_lost = Counter[_Run](), 0
        with self._lock:
            if count == len(self._waiting):
                lost, others_lost = self._lost.copy(), self._others_lost
        sent += _lost_lines(lost, others_lost)
        try:
            self.client.run_all(sent, patience=PATIENCE, within=WITHIN)
        except StoreUnavailable:
            self._is_refused, self._has_failed = False, True
            return False
        except StoreError:
            self._is_refused = self._has_failed = True
            self._drop(count)
            return False
        with self._lock:
            self._lost -= lost
            self._others_lost -= others_lost
            del self._waiting[:count]
        self._again_at, self._is_refused, self._has_failed = float("-inf"), False, False
        return True

    def _drop(self, count: int) -> None:
        """Count the first lines instead of buffering them."""
        with self._lock:
            for line in self._waiting[:count]:
                self._lose(line.run)
            del self._waiting[:count]

    def _lose(self, run: _Run) -> None:
        if run in self._lost or len(self._lost) < MAX_COUNTED:
            self._lost[run] += 1
        else:
            self._others_lost += 1


def _lost_lines(lost: Counter[_Run], others: int) -> list[Command]:
    """Return the commands that report lost lines to their jobs, and to the last one those not counted separately."""
    sent: list[Command] = []
    for run, number in lost.items():
        sent += _warning(run, f"{_lines(number)} lost: the server took none")
    if others and lost:
        sent += _warning(list(lost)[-1], f"{_lines(others, ' of other jobs')} lost: the server took none")
    return sent


def _warning(run: _Run, text: str) -> list[Command]:
    return records.log(run.queue, run.job, text, level="WARNING", attempt=run.attempt)


def _lines(number: int, whose: str = "") -> str:
    return f"1 line{whose} was" if number == 1 else f"{number} lines{whose} were"
