"""Where results arrive: one inbox per process and server, however many jobs are waited for.

While somebody waits, the inbox is open: scripts that end a job push its outcome to it, and one thread takes whole
handfuls out. What ended before the inbox was open is asked for once; a push that got lost is found by asking again
every two seconds. Nobody waits: the inbox is closed, and outcomes are only kept, not pushed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from typing import TYPE_CHECKING, Any

from conveyor import clock, ids
from conveyor.clock import Deadline
from conveyor.errors import StoreError
from conveyor.store import commands, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.job import Job
    from conveyor.store import Client

#: Seconds that the server keeps an inbox open after it was last asked to.
HOLD = 30.0
#: Seconds after which it is asked again.
HOLD_AGAIN = 10.0
#: Outcomes that came for jobs nobody has asked about yet; beyond that many the oldest are asked for again if need be.
MOST_ARRIVED = 200_000
#: Ids that are asked for at once.
MOST_ASKED = 500


class Inbox:
    """Takes in outcomes and hands them to the jobs that wait."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name = ids.producer()
        self.changed = threading.Condition()
        self.waiting: dict[str, Job[Any]] = {}
        self.arrived: dict[str, bytes] = {}
        self.held: dict[str, float] = {}  # queue -> when its inbox was last held open
        self.opening = 1  # counts up whenever an inbox may have been closed for a moment
        self.thread: threading.Thread | None = None

    def open_for(self, queue: str) -> int:
        """Give the number of the opening, if outcomes of this queue are being pushed here now; else 0."""
        return self.opening if clock.monotonic() - self.held.get(queue, -HOLD) < HOLD_AGAIN + 5.0 else 0

    def expect(self, job: Job[Any]) -> None:
        """Have the job settled as soon as its outcome is known; asks the server if it may be known already."""
        with self.changed:
            if self._settle_arrived(job):
                return
            self.waiting[job.id] = job
            ask = job.covered == 0 or job.covered != self.open_for(job.queue_name)
        if ask:
            self._ask(job.queue_name, job.neighbours(MOST_ASKED))
        self._start()

    def wait(self, job: Job[Any], deadline: Deadline) -> bool:
        """Wait until the job, which is expected, is settled; gives False if the deadline came first."""
        with self.changed:
            while job.settled is None:
                if deadline.passed():
                    return False
                self.changed.wait(deadline.left(60.0))
        return True

    def take(self, outcomes: dict[str, bytes]) -> None:
        """Hand outcomes to the jobs that wait for them, and keep the others for those who may ask."""
        settled = []
        with self.changed:
            for job_id, outcome in outcomes.items():
                job = self.waiting.pop(job_id, None)
                if job is None:
                    self.arrived[job_id] = outcome
                else:
                    job.settle(outcome)
                    settled.append(job)
            while len(self.arrived) > MOST_ARRIVED:
                del self.arrived[next(iter(self.arrived))]
            self.changed.notify_all()
        for job in settled:
            job.call_back()

    def _settle_arrived(self, job: Job[Any]) -> bool:
        outcome = self.arrived.pop(job.id, None)
        if outcome is not None:
            job.settle(outcome)
        return job.settled is not None

    def _ask(self, queue: str, jobs: Sequence[Job[Any]]) -> None:
        asked = [job for job in jobs if job.settled is None][:MOST_ASKED]
        at = clock.monotonic()
        new_queue = queue not in self.held
        if not new_queue and at - self.held[queue] > HOLD:
            self.opening += 1
        letters = self.client.run(commands.listen(queue, self.name, HOLD, [job.id for job in asked]))
        self.held[queue] = at
        for job in asked[: letters.looked]:
            job.covered = self.opening
        self.take(letters.outcomes)
        if new_queue and len(self.held) > 1:
            self._nudge(next(iter(self.held)))

    def _nudge(self, queue: str) -> None:
        """Wake our own thread out of its block, so that it listens to the new queue as well."""
        self.client.run(plain.nudge(queue, self.name))

    def _start(self) -> None:
        with self.changed:
            if self.thread is None and self.waiting:
                self.thread = threading.Thread(target=self._read, name="conveyor-inbox", daemon=True)
                self.thread.start()

    def _read(self) -> None:
        """Take outcomes out as long as somebody waits; then close the inbox."""
        idle_since = None
        while True:
            with self.changed:
                if self.waiting:
                    idle_since = None
                elif idle_since is None:
                    idle_since = clock.monotonic()
                elif clock.monotonic() - idle_since > HOLD_AGAIN:
                    self.thread = None
                    break
            try:
                self._read_once()
            except StoreError:
                clock.sleep(0.5)  # the server is away; those who wait have deadlines of their own
        self._close()

    def _read_once(self) -> None:
        pairs = self.client.run(plain.await_letters(list(self.held), self.name, 2.0))
        if pairs:
            self.take({key.decode(): outcome for key, outcome in zip(pairs[::2], pairs[1::2], strict=True) if key})
        now = clock.monotonic()
        for queue, at in list(self.held.items()):
            if not pairs or now - at > HOLD_AGAIN:
                with self.changed:
                    doubtful = [job for job in self.waiting.values() if job.queue_name == queue][:MOST_ASKED]
                if doubtful or now - at > HOLD_AGAIN:
                    self._ask(queue, doubtful)

    def _close(self) -> None:
        for queue in list(self.held):
            self.opening += 1
            del self.held[queue]
            with contextlib.suppress(StoreError):
                self.client.run(commands.listen(queue, self.name, 0.0), patience=0.0)
        self._start()


@functools.lru_cache(maxsize=256)
def _inbox(client: Client, process: int) -> Inbox:
    return Inbox(client)


def inbox_of(client: Client) -> Inbox:
    """Give this process's inbox at one server; a forked child has one of its own."""
    return _inbox(client, os.getpid())
