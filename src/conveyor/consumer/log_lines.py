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

#: Lines that are kept while the server is away.
MOST_WAITING = 500
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
        self._again_at = float("-inf")
        self._lock = threading.RLock()  # a signal handler may log while its thread does

    def add(self, queue: str, job_id: str, text: str) -> None:
        """Send a line, or keep it where the server is away; never raises for the server's sake."""
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((queue, job_id, text[: plain.LONGEST_LINE + 1]))
            else:
                self._lost[queue, job_id] += 1
            if clock.monotonic() >= self._again_at:
                self._send()

    def flush(self) -> None:
        """Send what was kept, just after a reply of the server. Never raises, since the worker may hold a batch."""
        if self._waiting or self._lost:
            with self._lock:
                try:
                    self._send()
                except Exception:  # noqa: BLE001 - the lines must harm neither the worker nor later jobs
                    self._drop(len(self._waiting))

    def _send(self) -> None:
        self._again_at = clock.monotonic() + PAUSE  # a signal handler that logs meanwhile only keeps its line
        count, lost = len(self._waiting), self._lost.copy()
        told = [command for line in self._waiting[:count] for command in plain.log(*line)]
        for (queue, job_id), number in lost.items():
            words = "1 line was" if number == 1 else f"{number} lines were"
            told += plain.log(queue, job_id, f"{words} lost: the server took none")
        try:
            self.client.run_all(told, patience=PATIENCE, within=WITHIN)
        except StoreUnavailable:
            return
        except StoreError:
            self._drop(count)
        else:
            self._lost -= lost
            del self._waiting[:count]
            self._again_at = float("-inf")

    def _drop(self, count: int) -> None:
        """Count the first lines instead of keeping them."""
        self._lost.update((queue, job_id) for queue, job_id, _ in self._waiting[:count])
        del self._waiting[:count]
