"""The batches a worker claims: their size, and a monitor for those that take longer than expected."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from conveyor import clock, events
from conveyor.consumer.health import Isolation
from conveyor.consumer.settings import LEASE
from conveyor.consumer.settlement import is_claim
from conveyor.errors import StoreError
from conveyor.store import commands
from conveyor.store.waiting import MAX_BLOCK

if TYPE_CHECKING:
    from collections import deque

    from conveyor.consumer.log_lines import LogLines
    from conveyor.consumer.settlement import Settler
    from conveyor.consumer.shared_status import SharedStatus
    from conveyor.store import Client
    from conveyor.store.client import Pipeline
    from conveyor.store.command import Command
    from conveyor.store.commands import Batch, Claimed
    from conveyor.wire.call import Call

#: Seconds that the jobs of one claim may take together.
BATCH_SECONDS = 0.010
#: Seconds after which a batch is long although none of its jobs is.
MAX_BATCH_SECONDS = 10 * BATCH_SECONDS
#: Jobs in one claim.
MAX_JOBS = 500
#: Factor by which a batch may grow from one claim to the next.
GROWTH = 4

Held = tuple[str, str, int, "deque[tuple[int, Claimed]]"]


class BatchSizer:
    """The number of jobs to claim together: more than one only while measured jobs are so short that it pays."""

    def __init__(self) -> None:
        self.size = 1

    def learn(self, jobs: int, seconds: float) -> None:
        """Adapt to a batch of `jobs` that took the given time."""
        if jobs == 0:
            return
        fitting = int(BATCH_SECONDS * jobs / seconds) if seconds > 0 else MAX_JOBS
        self.size = max(1, min(fitting, self.size * GROWTH, MAX_JOBS))

    def reset(self) -> None:
        """Start from one job again, since the queue was empty."""
        self.size = 1


class BatchMonitor:
    """A thread that settles and releases the jobs of a batch that takes long, through one of its jobs or all.

    It also notes the arguments of the long job, for the supervisor's report in case its worker dies. It sleeps unless
    several jobs are held. The worker takes jobs from the left of a deque, the monitor from the right. Both operations
    are atomic, so each job goes one way or the other.

    What it sends travels on another connection than the worker's next claim, and that claim must not overtake it: it
    would bring later jobs than the released ones. So the worker takes over commands without a reply, and sends them
    again ahead of the claim. That is harmless: a finish or a release that arrives again, or late, has an invalid token.
    A claim that the worker has sent already, for its next batch, is taken back.
    """

    def __init__(
        self,
        client: Client,
        settler: Settler,
        status: SharedStatus,
        pipeline: Pipeline,
        lines: LogLines,
    ) -> None:
        self.client = client
        self.pipeline = pipeline
        self.settler = settler
        self.status = status
        self.lines = lines
        self._running: tuple[str, Call] | None = None
        self.since = 0.0
        """When the running job started."""
        self._began = 0.0  # when the batch did
        self._busy = threading.Event()
        self.lock = threading.Lock()
        """Held while it is decided what becomes of a batch; never while something is sent."""
        self._watched: Held | None = None
        self._unconfirmed: list[Command] = []  # sent, without a reply so far
        self.taken_back = -1
        """The wait, by its number in the shared status, whose claim the worker must not run."""
        self._isolation = Isolation()
        self._thread: threading.Thread | None = None
        self._is_refused = False

    def watch(self, queue: str, token: str, number: int, held: deque[tuple[int, Claimed]]) -> None:
        """Watch a batch that starts now; `number` is its number in the shared status."""
        self.since = self._began = clock.monotonic()
        self._watched = (queue, token, number, held)
        if not self._busy.is_set() and self.can_watch():
            self._busy.set()

    def can_watch(self) -> bool:
        """Return True if the thread is running; starts it if necessary.

        If the system allows no more threads, this is reported once, and the next call tries again.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="conveyor-batch-monitor", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if not self._is_refused:
                    events.emit(events.ThreadRefused(self.settler.worker, str(error)))
                self._is_refused = True
                return False
            self._thread = thread
        return True

    def begin(self, job_id: str, job: Call) -> None:
        """Note that a job starts, or that its task was found only now.

        Notes its arguments immediately if it is the only job; in a burst that would be the main cost.
        """
        self._running = (job_id, job)
        if self._watched is None:
            self._note_arguments()
        self.since = clock.monotonic()

    def rest(self) -> None:
        """Stop polling, since the worker has nothing to do."""
        self._busy.clear()

    @property
    def is_watching(self) -> bool:
        """True if a batch is watched that has not taken long so far. To be read with the lock held."""
        return self._watched is not None

    def unwatch(self) -> None:
        """Note the end of the batch."""
        with self.lock:
            self._watched = None

    def take_unconfirmed(self) -> list[Command]:
        """Return the commands without a reply, once; the caller sends them again."""
        with self.lock:
            unconfirmed, self._unconfirmed = self._unconfirmed, []
            return unconfirmed

    def _run(self) -> None:
        while True:
            self._busy.wait()
            clock.sleep(BATCH_SECONDS)
            with self._isolation:
                self._poll()
            self._isolation.rest()

    def _poll(self) -> None:
        with self.lock:
            watched, now = self._watched, clock.monotonic()
            if watched is None:
                return
            if now - self.since <= BATCH_SECONDS and now - self._began <= MAX_BATCH_SECONDS:
                return
            self._watched = None
            queue, token, number, held = watched
            # What the worker has settled so far is sent again: it reads the replies only after the long job.
            unread = [*self._unconfirmed, *(one for one in self.pipeline.unread if not is_claim(one))]
            sent = self._unconfirmed = [*unread, *self._collect(queue, token, held)]
            claim = self._take_back()
        self._note_arguments()
        if sent:
            self.lines.flush()  # of the jobs that are settled here
            self._send(sent, number)
        if claim is not None:
            self._release_claimed(*claim)  # behind the others, which come first in the queue

    def _take_back(self) -> tuple[str, str] | None:
        """Keep the worker from running what it has claimed ahead. Return the claim's nonce and queue."""
        self.taken_back, since = self.status.wait()
        return self.status.claim() if since else None

    def _release_claimed(self, nonce: str, queue: str) -> None:
        """Release the jobs that were claimed ahead; if that fails, the worker does it after the long job."""
        with contextlib.suppress(StoreError):
            claim = commands.claim(queue, self.settler.worker, nonce, 0, LEASE)
            batch: Batch = self.client.run(claim, patience=0.0)
            if batch.jobs:
                ids = [job.id for job in batch.jobs]
                self.client.run(commands.release(queue, batch.token, ids), patience=0.0)

    def _note_arguments(self) -> None:
        if self._running is not None:
            job_id, job = self._running
            text = self.settler.preview(job)
            if text is not None:  # otherwise the task may be found, and the text noted, at this moment
                self.status.set_arguments(job_id, text)

    def _collect(self, queue: str, token: str, held: deque[tuple[int, Claimed]]) -> list[Command]:
        ids = []
        while held:
            try:
                ids.append(held.pop()[1].id)
            except IndexError:  # the worker was faster
                break
        settling: list[Command] = self.settler.commands()
        return [*settling, commands.release(queue, token, ids)] if ids else settling

    def _send(self, sent: list[Command], number: int) -> None:
        """Send until the server replies, or until the worker takes over: the running job may last for hours."""
        while self._unconfirmed is sent:
            try:
                replies = self.client.run_all(sent, patience=MAX_BLOCK)
            except StoreError:
                clock.sleep(MAX_BLOCK)
                continue
            with self.lock:
                if self._unconfirmed is not sent:
                    return  # the worker has taken over, and processes its own replies
                self._unconfirmed = []
            self.status.settled_batch = number
            self.settler.settled(sent, replies)
