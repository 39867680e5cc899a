"""The inbox, where results arrive: one per process and server, however many results are awaited.

While results are awaited, the inbox is open: scripts that finish a job push its outcome to it, and one thread takes
them out in large batches. The server limits the inbox: large outcomes, and those behind many others, are pushed as ids
only and looked up. Jobs that finished before the inbox was open are looked up once. After an error that may have cost
pushes (a lost connection, an inbox that had expired or was full), everything awaited is looked up, slice by slice.
Other lost pushes are found by a poll every two seconds. When nothing is awaited, the inbox is closed, and outcomes
are only kept, not pushed.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Protocol

from conveyor import clock
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.restoring import TRY_AGAIN, Restorer
from conveyor.store import commands, scripts
from conveyor.store.address import shown
from conveyor.store.client import time_for
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from conveyor.clock import Deadline
    from conveyor.restoring import Kept, Known
    from conveyor.store import Client
    from conveyor.wire.outcome import Settled

#: Seconds that the server holds an inbox open after the last request.
HOLD = 30.0
#: Seconds after which the request is repeated.
HOLD_AGAIN = 10.0
#: Max seconds of one wait for pushes, after which awaited outcomes are looked up.
POLL_AGAIN = 2.0
#: Max bytes of outcomes of jobs that no one awaits yet; beyond it the oldest are dropped and looked up if necessary.
MAX_ARRIVED = 32 << 20
#: What an outcome takes beyond its own bytes, roughly.
ENTRY_BYTES = 200
#: Ids that are looked up at once.
MAX_ASKED = 500
#: Arrived, instead of an outcome: the job has finished, and its outcome must be looked up.
ASK = b""
#: Seconds in which the loss of a server's data is a warning once: it may have had many queues.
WARN_AGAIN = 60.0
#: The log message about it, with the server's URL and the queue.
LOST_QUEUE = (
    "the server at %s has lost the queue %s: it was emptied or came back in an older state; jobs whose results this "
    "process wants are put again and may run twice, but not items of `put`, nor jobs of processes that have ended"
)
#: Max seconds for noting the name of a lost queue.
NOTE_WITHIN = 1.0
#: Seconds that the threads for callbacks and for queries last after the last one.
BACKGROUND_LASTS = 10.0

#: Numbers of openings. A forked child continues from its parent's, since it has handles that carry them.
_openings = itertools.count(1)
_log = logging.getLogger("conveyor")


class PendingResult(Protocol):
    """A result that is awaited here: a job's handle."""

    id: str
    settled: Settled | None
    covered: int
    """The opening of the inbox before the job could have finished; 0 for none."""

    @property
    def queue_name(self) -> str:
        """The queue the job was put on."""

    def settle(self, outcome: bytes) -> None:
        """Set the outcome; empty bytes mean that the job is unknown."""

    def wake(self) -> bool:
        """Wake coroutines after `settle`. Return True if callbacks are left to run. Never blocks."""

    def refuse(self, error: Exception) -> None:
        """Raise an error in the coroutines that await the result. Never blocks."""

    def call_back(self) -> None:
        """Run the callbacks, whatever they do, and raise nothing."""

    @property
    def kept(self) -> tuple[Kept | None, int]:
        """What is kept to put the job again, and its number there."""

    def neighbors(self, most: int) -> Sequence[PendingResult]:
        """Return this one and those that are best looked up together with it."""


class Arrived:
    """Outcomes, or ASK, of jobs that no one awaits yet, of all queues. The server has them as well."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}  # oldest first
        self.size = 0

    def pop(self, queue: str, job_id: str) -> bytes | None:
        """Remove and return an outcome or ASK, or None if there is none."""
        outcome = self.kept.pop((queue, job_id), None)
        if outcome is not None:
            self.size -= len(outcome) + ENTRY_BYTES
        return outcome

    def add(self, queue: str, job_id: str, outcome: bytes) -> bool:
        """Keep an outcome. Return True if others were dropped for it."""
        self.pop(queue, job_id)
        self.kept[queue, job_id] = outcome
        self.size += len(outcome) + ENTRY_BYTES
        if self.size <= MAX_ARRIVED:
            return False
        # Many at once, since each time all handles have to look up theirs.
        for queue_and_id in list(self.kept):
            if self.size <= MAX_ARRIVED * 3 // 4:
                break
            self.pop(*queue_and_id)
        return True

    def forget(self, queue: str) -> None:
        """Drop the outcomes of a queue."""
        for queue_and_id in [one for one in self.kept if one[0] == queue]:
            self.pop(*queue_and_id)


class Box:
    """The part of an inbox that belongs to one queue: ids are unique only within a queue."""

    def __init__(self) -> None:
        self.held: float | None = None  # when the server was last requested to hold it open
        self.waiting: dict[str, list[PendingResult]] = {}  # all handles by job
        self.unsure: deque[PendingResult] = deque()  # may have finished without a push

    def expect(self, job: PendingResult) -> None:
        """Add a handle to settle."""
        handles = self.waiting.setdefault(job.id, [])
        if job not in handles:
            handles.append(job)

    def settle(self, job_id: str, outcome: bytes) -> None:
        """Settle all handles of a job. After an error, those that are not settled remain."""
        handles = self.waiting.get(job_id, [])
        try:
            for job in reversed(handles):  # until the first one is settled, the outcome is looked up again
                job.settle(outcome)
        finally:
            if handles and handles[0].settled is not None:
                del self.waiting[job_id]

    def doubtful(self) -> list[PendingResult]:
        """Return some awaited results to look up; they come last the next time."""
        some = list(itertools.islice(self.waiting, MAX_ASKED))
        for job_id in some:
            self.waiting[job_id] = self.waiting.pop(job_id)
        return [self.waiting[job_id][0] for job_id in some]

    def next_unsure(self) -> list[PendingResult]:
        """Take out the results to look up next."""
        some: list[PendingResult] = []
        while self.unsure and len(some) < MAX_ASKED:
            job = self.unsure.popleft()
            if job.settled is None:
                some.append(job)
        return some


class Background:
    """A thread that processes settled or awaited jobs in order, apart from the one that receives results.

    It starts with the first job and ends when there was none for a while.
    """

    def __init__(self, name: str, process: Callable[[PendingResult], object]) -> None:
        self.name, self.process = name, process
        self.changed = threading.Condition()
        self.due: deque[PendingResult] = deque()
        self.thread: threading.Thread | None = None

    def add(self, jobs: Iterable[PendingResult]) -> None:
        """Process jobs after earlier ones."""
        with self.changed:
            self.due.extend(jobs)
            self.changed.notify()
        self.start()

    def start(self) -> None:
        """Start the thread if a job is due. If the system allows no more threads, the inbox's thread retries."""
        with self.changed:
            if self.lacks_thread:
                self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                with contextlib.suppress(RuntimeError):
                    self.thread.start()

    @property
    def lacks_thread(self) -> bool:
        """True if a job is due and no thread runs."""
        thread = self.thread
        return bool(self.due) and (thread is None or not thread.is_alive())

    def _run(self) -> None:
        while True:
            with self.changed:
                if not self.due and not self.changed.wait_for(lambda: self.due, BACKGROUND_LASTS):
                    self.thread = None
                    return
                job = self.due.popleft()
            self.process(job)


class Inbox:
    """The inbox of this process at one server. Thread-safe."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name = ids.producer()
        self.changed = threading.Condition()
        self.boxes: dict[str, Box] = defaultdict(Box)  # of queues with awaited results, now or a moment ago
        self.arrived = Arrived()
        self.callbacks = Background("conveyor-callbacks", lambda job: job.call_back())
        self.queries = Background("conveyor-queries", self._query)
        self.restorer = Restorer(client)
        self.warned_at = float("-inf")  # when a loss was last reported
        self.knows, self.agrees = self.restorer.knows, self.restorer.agrees
        # Changes whenever an outcome may have been missed: a box was closed for a moment, or some were dropped.
        self.opening = next(_openings)
        self.thread: threading.Thread | None = None
        self.idle_since: float | None = None
        self.trouble = ""  # the last error that was logged
        scripts.load("listen")  # later this process may be out of file descriptors

    def open_for(self, queue: str) -> int:
        """Return the number of the opening if outcomes of this queue are being pushed here now, or else 0."""
        opening = self.opening  # read first: the old number, if it is closed and opened meanwhile
        box = self.boxes.get(queue)
        if box is None or box.held is None or clock.monotonic() - box.held >= HOLD_AGAIN + 5.0:
            return 0
        return opening

    def expect(self, job: PendingResult, deadline: Deadline | None = None) -> None:
        """Settle the job as soon as its outcome is known. Queries the server if it may be known already.

        Raises StoreUnavailable, soon after the deadline if there is one. The job is expected nevertheless.
        """
        try:
            if self._expect(job):
                self._ask(job.queue_name, job.neighbors(MAX_ASKED), deadline)
        finally:
            self._start()

    def expect_soon(self, job: PendingResult) -> None:
        """Settle the job as soon as its outcome is known, as `expect` does, but never block: for asyncio."""
        if self._expect(job):
            self.queries.add([job])
        self._try_to_start()

    def _expect(self, job: PendingResult) -> bool:
        """Expect a job, unless its outcome has arrived. Return True if the server may know the outcome already."""
        queue = job.queue_name
        with self.changed:
            box = self.boxes[queue]
            outcome = self.arrived.pop(queue, job.id)
            if outcome:
                job.settle(outcome)
            if job.settled is not None:
                return False
            box.expect(job)
            if outcome == ASK:
                job.covered = 0
            return self._may_be_over(job)

    def _may_be_over(self, job: PendingResult) -> bool:
        """Return True if the job may have finished without a push."""
        return job.covered == 0 or job.covered != self.open_for(job.queue_name)

    def _query(self, job: PendingResult) -> None:
        """Look up the outcome of an expected job, unless this was done together with others'."""
        if job.settled is None and self._may_be_over(job):
            try:
                self._ask(job.queue_name, job.neighbors(MAX_ASKED))
            except StoreUnavailable:  # the thread that receives results tries until the server is back
                pass
            except Exception as error:  # noqa: BLE001 - no error may end this thread
                job.refuse(error)

    def wait(self, job: PendingResult, deadline: Deadline) -> bool:
        """Wait until the job, which is expected, is settled. Return False if the deadline came first."""
        with self.changed:
            while job.settled is None:
                if deadline.passed():
                    return False
                self.boxes[job.queue_name].expect(job)  # an error in another thread may have lost it
                self._try_to_start()
                self.changed.wait(deadline.left(POLL_AGAIN))
        return True

    def keep(self, kept: Kept) -> None:
        """Keep jobs that were put, in case that the server loses them, or has lost them during the put."""
        self.restorer.keep(kept)
        if self.restorer.due:
            self._try_to_start()

    def observe(self, queue: str, before: Known, lineage: commands.Lineage) -> None:
        """Check by a reply if the server has lost the queue. If so, report it, and put the jobs again."""
        try:  # not `suppress`, which would be a twentieth of a put
            self._check_loss(queue, before, lineage, TRY_AGAIN)
        except StoreError:
            return  # the next reply decides

    def _check_loss(self, queue: str, before: Known, lineage: commands.Lineage, within: float | None) -> None:
        if not self.restorer.observe(queue, before, lineage, within):
            return
        now = clock.monotonic()
        level = logging.WARNING if now - self.warned_at > WARN_AGAIN else logging.INFO
        self.warned_at = now
        try:
            _log.log(level, LOST_QUEUE, shown(self.client.url), queue)
            with contextlib.suppress(StoreError):
                self.client.run(commands.note_queue(queue), within=NOTE_WITHIN)
                if open_ones := self._open():  # wake our own thread, which puts them again
                    self.client.run(commands.nudge(open_ones[0], self.name), within=NOTE_WITHIN)
        finally:  # the program's logging may raise
            self._try_to_start()

    def forget(self) -> None:
        """Forget all jobs, since the server was emptied on purpose: none of them is lost."""
        with self.changed:
            self.restorer.forget()
            self.arrived = Arrived()
            self.opening = next(_openings)
            for box in self.boxes.values():
                box.waiting.clear()
                box.unsure.clear()
                if box.held is not None:  # our thread still reads it, but the server knows it no longer
                    box.held = float("-inf")

    # --- looking up outcomes

    def _ask(self, queue: str, jobs: Sequence[PendingResult], deadline: Deadline | None = None) -> int:
        """Look up outcomes and hold the inbox open. Return how many of the jobs were looked up."""
        asked = [job for job in jobs if job.settled is None][:MAX_ASKED]
        at = clock.monotonic()
        with self.changed:
            box = self.boxes[queue]
            was_open = box.held is not None
            opening = self.opening  # what is dropped meanwhile may have been theirs
        before = self.restorer.knows(queue)
        listen = commands.listen(queue, self.name, HOLD, [job.id for job in asked])
        reply: commands.ListenReply = self.client.run(listen, within=time_for(deadline))
        with self.changed:
            if was_open and not reply.was_open:  # it had expired, or the server was emptied
                self._doubt(box)
        # Without an answer to why jobs are unknown, no outcome is accepted.
        self._check_loss(queue, before, reply.lineage, time_for(deadline))
        with self.changed:
            self.boxes[queue].held = at
            for job in asked[: reply.looked]:
                job.covered = opening
        self.take(queue, reply.outcomes, at)
        others = [] if was_open else [one for one in self._open() if one != queue]
        if others:  # wake our own thread, so that it listens to the new queue as well
            self.client.run(commands.nudge(others[0], self.name), within=time_for(deadline))
        return reply.looked

    def _ask_unsure(self, queue: str, box: Box) -> None:
        """Look up a slice of the results that may have finished without a push."""
        with self.changed:
            some = box.next_unsure()
        looked = 0
        try:
            if some:
                looked = self._ask(queue, some)
        finally:
            with self.changed:
                box.unsure.extendleft(reversed(some[looked:]))

    def _ask_doubtful(self, queue: str, box: Box) -> None:
        """Look up some awaited results, in case that a push got lost, and hold the inbox open."""
        with self.changed:
            doubtful = box.doubtful()
        if doubtful:
            self._ask(queue, doubtful)

    def _doubt(self, *boxes: Box) -> None:
        """Look up everything awaited, since pushes may have been missed."""
        self.opening = next(_openings)
        for box in boxes:
            box.unsure = deque(handles[0] for handles in box.waiting.values())

    def _doubt_all(self) -> None:
        with self.changed:
            self._doubt(*self.boxes.values())

    # --- receiving outcomes

    def take(self, queue: str, outcomes: dict[str, bytes], asked_at: float = 0.0) -> None:
        """Settle the handles of these jobs, and keep the other outcomes for later handles."""
        affected: list[PendingResult] = []
        try:
            with self.changed:
                box = self.boxes[queue]
                for job_id, outcome in outcomes.items():
                    handles = box.waiting.get(job_id, [])
                    if not outcome and any(self.restorer.may_return(*job.kept, asked_at) for job in handles):
                        continue
                    affected += handles
                    if handles:
                        box.settle(job_id, outcome)
                    elif self.arrived.add(queue, job_id, outcome):
                        self.opening = next(_openings)
        finally:  # on an error, settled handles are woken all the same
            with self.changed:
                self.changed.notify_all()
            if due := [job for job in affected if job.settled is not None and job.wake()]:
                self.callbacks.add(due)

    def _sort(self, queue: str, entries: Sequence[bytes]) -> None:
        """Process what was pushed: outcomes, ids of outcomes to look up, and a marker that there are more."""
        outcomes: dict[str, bytes] = {}
        finished: list[str] = []
        more = False
        for job_id, outcome in zip(entries[::2], entries[1::2], strict=True):
            if job_id and outcome:
                outcomes[job_id.decode()] = outcome
            elif job_id:
                finished.append(job_id.decode())
            elif outcome:
                more = True
        self.take(queue, outcomes)
        with self.changed:
            box = self.boxes[queue]
            for one in finished:
                if one in box.waiting:
                    box.unsure.append(box.waiting[one][0])
                elif (queue, one) not in self.arrived.kept and self.arrived.add(queue, one, ASK):
                    self.opening = next(_openings)
            if more:
                self._doubt(box)

    # --- the thread

    def _open(self) -> list[str]:
        return [queue for queue, box in list(self.boxes.items()) if box.held is not None]

    def _has_work(self) -> bool:
        waits = bool(self.restorer.due) or any(box.waiting for box in self.boxes.values())
        return waits or self.callbacks.lacks_thread or self.queries.lacks_thread

    def _start(self) -> None:
        """Start the thread if it has work. Raises RuntimeError if the system allows no more threads."""
        with self.changed:
            running = self.thread is not None and self.thread.is_alive()
            if not running and self._has_work():
                self.thread = threading.Thread(target=self._read, name="conveyor-inbox", daemon=True)
                self.thread.start()

    def _try_to_start(self) -> None:
        with contextlib.suppress(RuntimeError):  # the next call retries
            self._start()

    def _read(self) -> None:
        """Receive outcomes as long as any are awaited, then close the inbox. No error ends this thread."""
        self.idle_since = None
        self.trouble = ""
        while True:
            try:
                if (closing := self._to_close()) is not None:
                    break
                self.callbacks.start()
                self.queries.start()
                self._try_to_read()
            except Exception:  # noqa: BLE001 - no memory, or the program's own logging raised
                clock.sleep(0.5)
        self._close(closing)

    def _try_to_read(self) -> None:
        try:
            self._read_once()
            self.trouble = ""
        except StoreError:
            clock.sleep(0.5)  # the server is unavailable; callers have deadlines
        except Exception as error:  # noqa: BLE001 - whatever it was, results must keep arriving
            self._doubt_all()
            if self.trouble != repr(error):  # log it once
                self.trouble = repr(error)
                _log.exception("an error while results were received; looking them up again")
            clock.sleep(0.5)

    def _to_close(self) -> list[str] | None:
        """Return the queues whose boxes to close if no result was awaited for a while, or None to continue."""
        with self.changed:
            if self._has_work():
                self.idle_since = None
            elif self.idle_since is None:
                self.idle_since = clock.monotonic()
            elif clock.monotonic() - self.idle_since > HOLD_AGAIN:
                closing = self._open()
                self.opening = next(_openings)
                self.arrived = Arrived()
                self.boxes.clear()
                return closing
        return None

    def _read_once(self) -> None:
        boxes = list(self.boxes.items())
        now = clock.monotonic()
        self._restore(now)
        failed: StoreError | None = None
        for queue, box in boxes:
            try:
                self._tend(queue, box, now)
            except StoreError as error:  # it may concern only one queue: results of the others arrive
                failed = error
        self._receive(boxes)
        if failed is not None:
            raise failed

    def _tend(self, queue: str, box: Box, now: float) -> None:
        """Look up what may have finished, hold the box open if it is time, or drop it if it is of no more use."""
        if box.unsure:
            self._ask_unsure(queue, box)
            return
        with self.changed:
            if box.held is not None and now - box.held <= HOLD_AGAIN:
                return
            is_idle = not box.waiting and not box.unsure
            if is_idle and box.held is None:
                self.boxes.pop(queue, None)
            elif is_idle and self.idle_since is None:
                # Others are in use; if all are idle, they are closed soon.
                box.held = None
                self.arrived.forget(queue)
                self.opening = next(_openings)
        if not is_idle:
            self._ask_doubtful(queue, box)

    def _receive(self, boxes: Sequence[tuple[str, Box]]) -> None:
        """Wait for pushes; poll if there were none. A hint of room resumes the putting of lost jobs."""
        queues, lined = self._open(), list(self.restorer.lined)
        if not queues and not lined:
            clock.sleep(0.1)  # nothing was open, so nothing was awaited
            return
        hurry = any(box.unsure for _, box in boxes)
        seconds = 0.0 if hurry else POLL_AGAIN if queues else 0.1  # without any, nothing can wake this thread
        await_outcomes = commands.await_outcomes(queues, self.name, seconds, lined, self.restorer.waiter)
        try:
            pushed: commands.Pushed | None = self.client.run(await_outcomes, patience=0.0)
        except StoreUnavailable:  # its reply is lost
            self._doubt_all()
            clock.sleep(0.05 if any(box.unsure for _, box in boxes) else 0.5)
            return
        if pushed is None:
            for queue, box in [] if hurry else boxes:
                self._ask_doubtful(queue, box)
        elif pushed.has_room:
            self.restorer.due[pushed.queue] = clock.monotonic()
        else:
            self._sort(pushed.queue, pushed.entries)
            with self.changed:  # the reply is of the first box with entries: the others come first now
                self.boxes[pushed.queue] = self.boxes.pop(pushed.queue)

    def _restore(self, now: float) -> None:
        """Put again what the server has lost, and then look up everything awaited: some may not come back."""
        for queue in [queue for queue, at in list(self.restorer.due.items()) if at <= now]:
            box = self.boxes.get(queue) or Box()
            if self.restorer.restore(queue, box.waiting, self):
                with self.changed:
                    self._doubt(box)

    def _close(self, queues: Sequence[str]) -> None:
        """Close boxes on the server; only then another thread may read.

        Results that were awaited meanwhile are looked up again, since their boxes may have been closed as well.
        """
        for queue in queues:
            with contextlib.suppress(Exception):
                self.client.run(commands.listen(queue, self.name, 0.0), patience=0.0)
        with self.changed:
            self.thread = None
        for queue in self._open():
            with contextlib.suppress(Exception):
                self._ask(queue, self.boxes[queue].doubtful())
        self._start()


#: The inbox of this process at one server; a forked child has its own.
inbox_of = ids.PerProcess(Inbox)
