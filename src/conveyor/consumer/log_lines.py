"""Lines that jobs log, on their way to the server: kept while it is away, counted where there are too many."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import plain

if TYPE_CHECKING:
    from conveyor.store import Client
    from conveyor.store.commands import Command

#: Lines that are kept while the server is away.
MOST_WAITING = 500
#: Bytes of lines that are sent at once, unless one line alone has more: they must arrive in time on a thin line, too.
MOST_SENT = 1 << 16
#: Jobs whose lost lines are counted apart.
MOST_COUNTED = 100
#: Seconds that a task stands still for its lines at most: for a new connection, and for an answer.
PATIENCE, WITHIN = 0.25, 1.0
#: Seconds after a try in vain in which lines are only kept.
PAUSE = 5.0


class LogLines:
    """The lines of one worker, in their order. Any thread of a task may add some."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.begin()

    def begin(self) -> None:
        """Begin without lines; a forked child does too, since its parent sends those that it has."""
        self._waiting: list[tuple[str, str, str]] = []  # queue, job, text
        self._lost: Counter[tuple[str, str]] = Counter()
        self._others_lost = 0
        self._again_at = float("-inf")
        self._is_refused = False
        self._lock = threading.RLock()  # a signal handler may log while its thread does

    def add(self, queue: str, job_id: str, text: str) -> None:
        """Send a line, or keep it where the server is away; never raises for the server's sake."""
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((queue, job_id, text[: plain.LONGEST_LINE + 1]))
            else:
                self._lose(queue, job_id)
            if clock.monotonic() >= self._again_at:
                self._send()

    def flush(self, *, leaving: bool = False) -> None:
        """Send what was kept, just after a reply of the server. Never raises, since the worker may hold a batch.

        If the server refused the last lines, they wait for the end of the pause, unless the worker is leaving.
        """
        if not self._waiting and not self._lost:
            return
        if self._is_refused and not leaving and clock.monotonic() < self._again_at:
            return
        with self._lock:
            try:
                self._send()
            except Exception:  # noqa: BLE001 - the lines must harm neither the worker nor later jobs
                self._drop(len(self._waiting))

    def _send(self) -> None:
        """Send one part after the other, but begin none after half a second; the rest stays for the next time."""
        until = clock.Deadline(WITHIN / 2)
        while self._send_part() and (self._waiting or self._lost) and not until.passed():
            pass

    def _send_part(self) -> bool:
        """Return True if the server has taken it."""
        self._again_at = clock.monotonic() + PAUSE  # a signal handler that logs meanwhile only keeps its line
        told: list[Command] = []
        count, size = 0, 0
        for line in self._waiting:
            adding, expiring = plain.log(*line)
            size += len(adding.words[-1])
            if count and size > MOST_SENT:
                break
            told += (adding, expiring)
            count += 1
        lost, others_lost = Counter[tuple[str, str]](), 0
        if count == len(self._waiting):
            lost, others_lost = self._lost.copy(), self._others_lost
            told += _lost_lines(lost, others_lost)
        try:
            self.client.run_all(told, patience=PATIENCE, within=WITHIN)
        except StoreUnavailable:
            self._is_refused = False
            return False
        except StoreError:
            self._is_refused = True
            self._drop(count)
            return False
        self._lost -= lost
        self._others_lost -= others_lost
        del self._waiting[:count]
        self._again_at, self._is_refused = float("-inf"), False
        return True

    def _drop(self, count: int) -> None:
        """Count the first lines instead of keeping them."""
        for queue, job_id, _ in self._waiting[:count]:
            self._lose(queue, job_id)
        del self._waiting[:count]

    def _lose(self, queue: str, job_id: str) -> None:
        if (queue, job_id) in self._lost or len(self._lost) < MOST_COUNTED:
            self._lost[queue, job_id] += 1
        else:
            self._others_lost += 1


def _lost_lines(lost: Counter[tuple[str, str]], others: int) -> list[Command]:
    """Return the commands that report lost lines to their jobs, and those of jobs not counted apart to the last one."""
    told: list[Command] = []
    for (queue, job_id), number in lost.items():
        told += plain.log(queue, job_id, f"{_lines(number)} lost: the server took none")
    if others and lost:
        told += plain.log(*list(lost)[-1], f"{_lines(others, ' of other jobs')} lost: the server took none")
    return told


def _lines(number: int, whose: str = "") -> str:
    return f"1 line{whose} was" if number == 1 else f"{number} lines{whose} were"
