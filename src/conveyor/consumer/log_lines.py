"""Log lines of jobs on their way to the server: buffered while it is unavailable, counted if there are too many."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.store import Client
    from conveyor.store.command import Command

#: Lines that are buffered while the server is unavailable.
MAX_WAITING = 500
#: Bytes of lines in one round trip, unless a single line has more: they must arrive in time on a slow connection, too.
MAX_SENT = 1 << 16
#: Jobs whose lost lines are counted separately.
MAX_COUNTED = 100
#: Seconds for which a task waits for its lines at most: for a new connection, and for a reply.
PATIENCE, WITHIN = 0.25, 1.0
#: Seconds after a failed attempt in which lines are only buffered.
PAUSE = 5.0


class LogLines:
    """The lines of one process, in order. Any thread of a task may add some.

    If `waits` returns False, the caller should not wait for the server, and another thread will call `flush`. It waits
    all the same if the buffer is full, unless the server did not take the last lines.
    """

    def __init__(self, client: Client, waits: Callable[[], bool] = lambda: True) -> None:
        self.client = client
        self._waits = waits
        self.begin()

    def begin(self) -> None:
        """Start without lines; so does a forked child, since its parent sends its own."""
        self._waiting: list[tuple[str, str, str]] = []  # queue, job, text
        self._lost: Counter[tuple[str, str]] = Counter()
        self._others_lost = 0
        self._again_at = float("-inf")
        self._is_refused = self._has_failed = False
        # A signal handler may log while its thread does.
        self._lock = threading.RLock()  # held while the buffer changes, and never while something is sent
        self._sending = threading.RLock()

    def add(self, queue: str, job_id: str, text: str) -> None:
        """Send a line, or buffer it if the server is unavailable. Never raises a StoreError."""
        with self._lock:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append((queue, job_id, text[: records.MAX_LINE + 1]))
            else:
                self._lose(queue, job_id)
            is_full = len(self._waiting) >= MAX_WAITING
        if (is_full and not self._has_failed) or self._waits():
            with self._sending:
                if clock.monotonic() >= self._again_at:
                    self._send()

    def flush(self, *, exiting: bool = False) -> None:
        """Send buffered lines, just after a reply of the server. Never raises, since the worker may hold a batch.

        If the server refused the last lines, they wait for the end of the pause, unless the worker exits.
        """
        if not self._waiting and not self._lost:
            return
        if self._is_refused and not exiting and clock.monotonic() < self._again_at:
            return
        with self._sending:
            try:
                self._send()
            except Exception:  # noqa: BLE001 - lines must affect neither the worker nor later jobs
                self._drop(len(self._waiting))

    def _send(self) -> None:
        """Send one part after the other, but start none after half a second; the rest stays for the next time."""
        until = clock.Deadline(WITHIN / 2)
        while self._send_part() and (self._waiting or self._lost) and not until.passed():
            pass

    def _send_part(self) -> bool:
        """Return True if the server has accepted it."""
        # Set first: a signal handler that logs meanwhile only buffers its line.
        self._again_at = clock.monotonic() + PAUSE
        sent: list[Command] = []
        count, size = 0, 0
        for line in self._waiting.copy():
            adding, expiring = records.log(*line)
            size += len(adding.words[-1])
            if count and size > MAX_SENT:
                break
            sent += (adding, expiring)
            count += 1
        lost, others_lost = Counter[tuple[str, str]](), 0
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
            for queue, job_id, _ in self._waiting[:count]:
                self._lose(queue, job_id)
            del self._waiting[:count]

    def _lose(self, queue: str, job_id: str) -> None:
        if (queue, job_id) in self._lost or len(self._lost) < MAX_COUNTED:
            self._lost[queue, job_id] += 1
        else:
            self._others_lost += 1


def _lost_lines(lost: Counter[tuple[str, str]], others: int) -> list[Command]:
    """Return the commands that report lost lines to their jobs, and to the last one those not counted separately."""
    sent: list[Command] = []
    for (queue, job_id), number in lost.items():
        sent += records.log(queue, job_id, f"{_lines(number)} lost: the server took none")
    if others and lost:
        sent += records.log(*list(lost)[-1], f"{_lines(others, ' of other jobs')} lost: the server took none")
    return sent


def _lines(number: int, whose: str = "") -> str:
    return f"1 line{whose} was" if number == 1 else f"{number} lines{whose} were"
