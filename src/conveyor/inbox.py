"""Where results arrive: one inbox per process and server, however many jobs are waited for.

While somebody waits, the inbox is open: scripts that end a job push its outcome to it, and one thread takes whole
handfuls out. The server bounds the inbox: large outcomes, and those behind many others, are pushed as ids alone and
asked for. What ended before the inbox was open is asked for once. After a fault that may have cost pushes (a lost
connection, an inbox that had lapsed or was full) everything waited for is asked for, slice after slice. Any other
push that got lost is found by asking again every two seconds. Nobody waits: the inbox is closed, and outcomes are
only kept, not pushed.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
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
    from collections.abc import Iterable, Sequence

    from conveyor.clock import Deadline
    from conveyor.restoring import Kept, Known
    from conveyor.store import Client
    from conveyor.wire.outcome import Settled

#: Seconds that the server keeps an inbox open after it was last asked to.
HOLD = 30.0
#: Seconds after which it is asked again.
HOLD_AGAIN = 10.0
#: Seconds that one wait for outcomes lasts at most; what is still waited for is then asked for.
LOOK_AGAIN = 2.0
#: Bytes of outcomes that came for jobs nobody has asked about yet; beyond that the oldest are dropped, and asked for
#: again if need be.
MOST_ARRIVED = 32 << 20
#: What an outcome takes beyond its own bytes, roughly.
ENTRY_BYTES = 200
#: Ids that are asked for at once.
MOST_ASKED = 500
#: Arrived, instead of an outcome: the server has something to say of this job and must be asked.
ASK = b""
#: Seconds in which a server's loss is a warning once: it may have had many queues.
SAY_AGAIN = 60.0
#: What is logged of it, with the server's address and the queue.
LOST_QUEUE = (
    "the server at %s has lost the queue %s: it was emptied or came back in an older state; jobs whose results this "
    "process wants are put again and may run twice, but not items of `put`, nor jobs of processes that have ended"
)
#: Seconds that noting the name of a queue that was lost may take.
NOTE_WITHIN = 1.0
#: Seconds that the thread for callbacks lasts after the last one.
CALLBACKS_LAST = 10.0

#: Numbers for openings. A forked child counts on from its parent's, since it has handles that carry them.
_openings = itertools.count(1)
_log = logging.getLogger("conveyor")


class Waiting(Protocol):
    """Who waits here for a job: its handle."""

    id: str
    settled: Settled | None
    covered: int
    """The opening of the inbox that was there before the job could have ended; 0 for none."""

    @property
    def queue_name(self) -> str:
        """The queue the job was put on."""

    def settle(self, outcome: bytes) -> None:
        """Take the outcome in; empty bytes mean that the job is not known."""

    def wake(self) -> bool:
        """Wake coroutines, after it was settled; return True if callbacks are left to run. Never blocks."""

    def call_back(self) -> None:
        """Run the callbacks, whatever they do, and raise nothing."""

    @property
    def kept(self) -> tuple[Kept | None, int]:
        """What is kept to put it again, and its number there."""

    def neighbours(self, most: int) -> Sequence[Waiting]:
        """Give this one and those that are best asked about together with it."""


class Arrived:
    """Outcomes, or ASK, that came for jobs nobody has asked about yet, of all queues; the server has them as well."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}  # oldest first
        self.size = 0

    def pop(self, queue: str, job_id: str) -> bytes | None:
        """Return an outcome or ASK, if it is here, and keep it no longer."""
        outcome = self.kept.pop((queue, job_id), None)
        if outcome is not None:
            self.size -= len(outcome) + ENTRY_BYTES
        return outcome

    def add(self, queue: str, job_id: str, outcome: bytes) -> bool:
        """Keep an outcome; tell whether others had to go for it."""
        self.pop(queue, job_id)
        self.kept[queue, job_id] = outcome
        self.size += len(outcome) + ENTRY_BYTES
        if self.size <= MOST_ARRIVED:
            return False
        for queue_and_id in list(self.kept):  # many at once, since each time all handles have to ask again
            if self.size <= MOST_ARRIVED * 3 // 4:
                break
            self.pop(*queue_and_id)
        return True

    def forget(self, queue: str) -> None:
        """Keep nothing of a queue."""
        for queue_and_id in [one for one in self.kept if one[0] == queue]:
            self.pop(*queue_and_id)

    def clear(self) -> None:
        """Keep nothing."""
        self.kept = {}
        self.size = 0


class Box:
    """The part of an inbox that belongs to one queue: ids are unique within a queue only."""

    def __init__(self) -> None:
        self.held: float | None = None  # when the server was last asked to hold it open
        self.waiting: dict[str, Waiting] = {}
        self.twins: dict[str, list[Waiting]] = {}  # further handles of a job that is waited for already
        self.unsure: deque[Waiting] = (
            deque()
        )  # those that may have ended without a push: asked for without a pause

    def expect(self, job: Waiting) -> None:
        """Remember who is to be told."""
        first = self.waiting.setdefault(job.id, job)
        if first is not job and job not in self.twins.get(job.id, ()):
            self.twins.setdefault(job.id, []).append(job)

    def all_of(self, job_id: str) -> list[Waiting]:
        """Return all who wait for this job."""
        first = self.waiting.get(job_id)
        return [] if first is None else [first, *self.twins.get(job_id, ())]

    def take(self, job_id: str, outcome: bytes, told: Sequence[Waiting]) -> None:
        """Settle `told`, all who wait for this job. After an error, those that are not settled still wait."""
        try:
            for job in reversed(told):  # the first one last: until it is settled, the server is asked again
                job.settle(outcome)
        finally:
            if told and told[0].settled is not None:
                self.waiting.pop(job_id, None)
                self.twins.pop(job_id, None)

    def doubtful(self) -> list[Waiting]:
        """Give some of those waited for; those given now come last next time."""
        some = list(itertools.islice(self.waiting.values(), MOST_ASKED))
        for job in some:
            self.waiting[job.id] = self.waiting.pop(job.id)
        return some

    def next_unsure(self) -> list[Waiting]:
        """Take out those to be asked for next."""
        some: list[Waiting] = []
        while self.unsure and len(some) < MOST_ASKED:
            job = self.unsure.popleft()
            if job.settled is None:
                some.append(job)
        return some


class Callbacks:
    """The thread that runs callbacks in order. It is not the one that receives results, so no callback can stop those.

    It starts with the first callback and ends when there was none for a while.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.due: deque[Waiting] = deque()
        self.thread: threading.Thread | None = None

    def add(self, jobs: Iterable[Waiting]) -> None:
        """Run the callbacks of settled jobs, after those of earlier ones."""
        with self.changed:
            self.due.extend(jobs)
            self.changed.notify()
        self.start()

    def start(self) -> None:
        """Start the thread if a callback is due. If the system allows no more threads, the inbox's thread retries."""
        with self.changed:
            if self.lacks_thread:
                self.thread = threading.Thread(target=self._run, name="conveyor-callbacks", daemon=True)
                with contextlib.suppress(RuntimeError):
                    self.thread.start()

    @property
    def lacks_thread(self) -> bool:
        """True if a callback is due and no thread runs."""
        thread = self.thread
        return bool(self.due) and (thread is None or not thread.is_alive())

    def _run(self) -> None:
        while True:
            with self.changed:
                if not self.due and not self.changed.wait_for(lambda: self.due, CALLBACKS_LAST):
                    self.thread = None
                    return
                job = self.due.popleft()
            job.call_back()


class Inbox:
    """Takes in outcomes and hands them to the jobs that wait."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name = ids.producer()
        self.changed = threading.Condition()
        self.boxes: dict[str, Box] = defaultdict(Box)  # of queues that are waited for, or were a moment ago
        self.arrived = Arrived()
        self.callbacks = Callbacks()
        self.restorer = Restorer(client)
        self.said_at = float("-inf")  # when a loss was last said
        self.knows = self.restorer.knows
        # Another one whenever an outcome may have been missed: a box was closed for a moment, or some were dropped.
        self.opening = next(_openings)
        self.thread: threading.Thread | None = None
        self.idle_since: float | None = None
        self.trouble = ""  # the last error that was logged
        scripts.load("listen")  # later this process may be out of file descriptors

    def open_for(self, queue: str) -> int:
        """Give the number of the opening, if outcomes of this queue are being pushed here now; else 0."""
        opening = self.opening  # before the look: the old number, if it is closed and opened meanwhile
        box = self.boxes.get(queue)
        if box is None or box.held is None or clock.monotonic() - box.held >= HOLD_AGAIN + 5.0:
            return 0
        return opening

    def expect(self, job: Waiting, deadline: Deadline | None = None) -> None:
        """Have the job settled as soon as its outcome is known; asks the server if it may be known already.

        Raises StoreUnavailable; soon after the deadline, if there is one. The job is expected even so.
        """
        queue = job.queue_name
        with self.changed:
            box = self.boxes[queue]
            outcome = self.arrived.pop(queue, job.id)
            if outcome:
                job.settle(outcome)
            if job.settled is not None:
                return
            box.expect(job)
            ask = outcome == ASK or job.covered == 0 or job.covered != self.open_for(queue)
        try:
            if ask:
                self._ask(queue, job.neighbours(MOST_ASKED), deadline)
        finally:
            self._start()

    def heard(self, queue: str, before: Known, lineage: commands.Lineage) -> None:
        """See in a reply whether the server has lost the queue. Then say it, and have jobs put again."""
        with contextlib.suppress(StoreError):  # the next reply decides
            self._hear(queue, before, lineage, TRY_AGAIN)

    def _hear(self, queue: str, before: Known, lineage: commands.Lineage, within: float | None) -> None:
        if not self.restorer.heard(queue, before, lineage, within):
            return
        now = clock.monotonic()
        level = logging.WARNING if now - self.said_at > SAY_AGAIN else logging.INFO
        self.said_at = now
        try:
            _log.log(level, LOST_QUEUE, shown(self.client.url), queue)
            with contextlib.suppress(StoreError):
                self.client.run(commands.note_queue(queue), within=NOTE_WITHIN)
                if open_ones := self._open():  # wake our own thread, which puts them again
                    self.client.run(commands.nudge(open_ones[0], self.name), within=NOTE_WITHIN)
        finally:  # the program's logging may raise
            with contextlib.suppress(RuntimeError):  # no room for a thread now: the next call tries again
                self._start()

    def keep(self, kept: Kept) -> None:
        """Keep jobs that were put, in case that the server loses them, or has lost them during the put."""
        self.restorer.keep(kept)
        if self.restorer.due:
            with contextlib.suppress(RuntimeError):  # no room for a thread now: the next call tries again
                self._start()

    def wait(self, job: Waiting, deadline: Deadline) -> bool:
        """Wait until the job, which is expected, is settled; gives False if the deadline came first."""
        with self.changed:
            while job.settled is None:
                if deadline.passed():
                    return False
                self.boxes[job.queue_name].expect(job)  # an error in another thread may have lost it
                with contextlib.suppress(RuntimeError):  # no room for a thread now: tried again
                    self._start()
                self.changed.wait(deadline.left(LOOK_AGAIN))
        return True

    def take(self, queue: str, outcomes: dict[str, bytes], asked_at: float = 0.0) -> None:
        """Hand outcomes to the jobs that wait for them, and keep the others for those who may ask."""
        told: list[Waiting] = []
        try:
            with self.changed:
                box = self.boxes[queue]
                for job_id, outcome in outcomes.items():
                    waiting = box.all_of(job_id)
                    if not outcome and any(self.restorer.may_return(*job.kept, asked_at) for job in waiting):
                        continue
                    told += waiting
                    box.take(job_id, outcome, waiting)
                    if not waiting and self.arrived.add(queue, job_id, outcome):
                        self.opening = next(_openings)
        finally:  # an error in between costs none of those that are settled their wake-up
            with self.changed:
                self.changed.notify_all()
            if due := [job for job in told if job.settled is not None and job.wake()]:
                self.callbacks.add(due)

    def _sort(self, queue: str, pairs: Sequence[bytes]) -> None:
        """Take in what was pushed: outcomes, ids of outcomes that must be asked for, and that there are more."""
        outcomes: dict[str, bytes] = {}
        ended: list[str] = []
        more = False
        for job_id, outcome in zip(pairs[::2], pairs[1::2], strict=True):
            if job_id and outcome:
                outcomes[job_id.decode()] = outcome
            elif job_id:
                ended.append(job_id.decode())
            elif outcome:
                more = True
        self.take(queue, outcomes)
        with self.changed:
            box = self.boxes[queue]
            for one in ended:
                job = box.waiting.get(one)
                if job is not None:
                    box.unsure.append(job)
                elif (queue, one) not in self.arrived.kept and self.arrived.add(queue, one, ASK):
                    self.opening = next(_openings)
            if more:
                self._doubt(box)

    def _doubt(self, *boxes: Box) -> None:
        """Ask for everything that is waited for: pushes may have been missed."""
        self.opening = next(_openings)
        for box in boxes:
            box.unsure = deque(box.waiting.values())

    def _doubt_all(self) -> None:
        with self.changed:
            self._doubt(*self.boxes.values())

    def _ask(self, queue: str, jobs: Sequence[Waiting], deadline: Deadline | None = None) -> int:
        """Ask for outcomes and hold the inbox open; return how many of the jobs were looked at, or more."""
        asked = [job for job in jobs if job.settled is None][:MOST_ASKED]
        at = clock.monotonic()
        with self.changed:
            box = self.boxes[queue]
            was_open = box.held is not None
            opening = self.opening  # what is dropped while we ask may have been theirs
        before = self.restorer.knows(queue)
        listen = commands.listen(queue, self.name, HOLD, [job.id for job in asked])
        letters: commands.ListenReply = self.client.run(listen, within=time_for(deadline))
        with self.changed:
            if was_open and not letters.was_open:  # it had lapsed, or the server was emptied
                self._doubt(box)
        # Nothing is taken in if it is not known why jobs are gone.
        self._hear(queue, before, letters.lineage, time_for(deadline))
        with self.changed:
            self.boxes[queue].held = at
            for job in asked[: letters.looked]:
                job.covered = opening
        self.take(queue, letters.outcomes, at)
        others = [] if was_open else [one for one in self._open() if one != queue]
        if others:  # wake our own thread out of its block, so that it listens to the new queue as well
            self.client.run(commands.nudge(others[0], self.name), within=time_for(deadline))
        return letters.looked

    def _ask_unsure(self, queue: str, box: Box) -> None:
        """Ask for a slice of what may have ended without having been pushed."""
        with self.changed:
            some = box.next_unsure()
        looked = 0
        try:
            if some:
                looked = self._ask(queue, some)
        finally:
            with self.changed:
                box.unsure.extendleft(reversed(some[looked:]))

    def _open(self) -> list[str]:
        return [queue for queue, box in list(self.boxes.items()) if box.held is not None]

    def _has_work(self) -> bool:
        waits = bool(self.restorer.due) or any(box.waiting for box in self.boxes.values())
        return waits or self.callbacks.lacks_thread

    def _start(self) -> None:
        with self.changed:
            running = self.thread is not None and self.thread.is_alive()
            if not running and self._has_work():
                self.thread = threading.Thread(target=self._read, name="conveyor-inbox", daemon=True)
                self.thread.start()

    def _read(self) -> None:
        """Take outcomes out as long as somebody waits; then close the inbox. No error ends this thread."""
        self.idle_since = None
        self.trouble = ""
        while True:
            try:
                if (closing := self._to_close()) is not None:
                    break
                self.callbacks.start()
                self._try_to_read()
            except Exception:  # noqa: BLE001 - no memory, or the program's own logging raised
                clock.sleep(0.5)
        self._close(closing)

    def _try_to_read(self) -> None:
        try:
            self._read_once()
            self.trouble = ""
        except StoreError:
            clock.sleep(0.5)  # the server is away; those who wait have deadlines of their own
        except Exception as error:  # noqa: BLE001 - whatever it was, results must go on arriving
            self._doubt_all()
            if self.trouble != repr(error):  # said once
                self.trouble = repr(error)
                _log.exception("an error while results were received; asking for them again")
            clock.sleep(0.5)

    def _to_close(self) -> list[str] | None:
        """Return the queues whose boxes are to be closed, if no one has waited for a while; None if it is to go on."""
        with self.changed:
            if self._has_work():
                self.idle_since = None
            elif self.idle_since is None:
                self.idle_since = clock.monotonic()
            elif clock.monotonic() - self.idle_since > HOLD_AGAIN:
                closing = self._open()
                self.opening = next(_openings)
                self.arrived.clear()
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
                self._attend_to(queue, box, now)
            except StoreError as error:  # it may be one queue's alone: results of the others arrive
                failed = error
        self._take_letters(boxes)
        if failed is not None:
            raise failed

    def _attend_to(self, queue: str, box: Box, now: float) -> None:
        """Ask for what may have ended, and hold the box open if its time has come; drop one that is of no more use."""
        if box.held is None and not box.waiting and not box.unsure:
            with self.changed:
                if box.held is None and not box.waiting:
                    self.boxes.pop(queue, None)
        elif box.unsure:
            self._ask_unsure(queue, box)
        elif self._let_go(queue, box, now):
            return
        elif (box.held is None and box.waiting) or (box.held is not None and now - box.held > HOLD_AGAIN):
            self._look(queue, box)

    def _take_letters(self, boxes: Sequence[tuple[str, Box]]) -> None:
        """Take in what was pushed, and look once more if there was nothing; lost jobs go on where there is room."""
        queues, lined = self._open(), list(self.restorer.lined)
        if not queues and not lined:
            clock.sleep(0.1)  # nothing was open, so nothing was waited for
            return
        hurry = any(box.unsure for _, box in boxes)
        seconds = 0.0 if hurry else LOOK_AGAIN if queues else 0.1  # without any, nobody can wake this thread
        await_letters = commands.await_outcomes(queues, self.name, seconds, lined, self.restorer.waiter)
        try:
            letters = self.client.run(await_letters, patience=0.0)
        except StoreUnavailable:  # what it would have answered is lost
            self._doubt_all()
            clock.sleep(0.05 if any(box.unsure for _, box in boxes) else 0.5)
            return
        if letters is not None and letters.has_room:
            self.restorer.due[letters.queue] = clock.monotonic()
        elif letters is not None:
            self._sort(letters.queue, letters.entries)
            with self.changed:  # the first one with letters gave them: the others come first now
                self.boxes[letters.queue] = self.boxes.pop(letters.queue)
        elif not hurry:
            for queue, box in boxes:
                self._look(queue, box)

    def _let_go(self, queue: str, box: Box, now: float) -> bool:
        """Let the server forget a box that would have to be held open again, and return True, if nobody waits in it."""
        with self.changed:
            if box.held is None or now - box.held <= HOLD_AGAIN or box.waiting or box.unsure:
                return False
            box.held = None
            self.arrived.forget(queue)
            self.opening = next(_openings)
            return True

    def _restore(self, now: float) -> None:
        """Put again what the server has lost, and then ask for all that is waited for: some may not come back."""
        for queue in [queue for queue, at in list(self.restorer.due.items()) if at <= now]:
            box = self.boxes.get(queue) or Box()
            if self.restorer.restore(queue, box.waiting, self):
                with self.changed:
                    self._doubt(box)

    def _look(self, queue: str, box: Box) -> None:
        """Ask for some of what is waited for, in case that a push got lost, and hold the inbox open."""
        with self.changed:
            doubtful = box.doubtful()
        if doubtful:
            self._ask(queue, doubtful)

    def _close(self, queues: Sequence[str]) -> None:
        """Tell the server; only then may another thread read.

        What somebody began to wait for meanwhile is asked for again, since it may have been closed with the rest.
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


_inboxes: dict[tuple[Client, int], Inbox] = {}
os.register_at_fork(after_in_child=_inboxes.clear)


def inbox_of(client: Client) -> Inbox:
    """Give this process's inbox at one server; a forked child has one of its own."""
    key = client, os.getpid()  # C code forks without hooks
    # setdefault, since two threads may come here first at once, and both must get the same one
    return _inboxes.get(key) or _inboxes.setdefault(key, Inbox(client))
