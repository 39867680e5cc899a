"""What this process put on a server, kept in case the server loses it.

A server can come back empty or in an older state. Each reply to a put, and to a lookup of results, carries the birth of
the queue and its sequence number, which only grows. A reply with another birth, or with a lower number before its own
command than an earlier reply, proves a loss, unless the queue was deleted on purpose. Then unfinished jobs whose
handles live are put again under their ids, so that a result comes. The bytes are those made for the put, kept until
the job has finished, at most MAX_KEPT bytes in all.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_right
from collections import deque
from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

from conveyor import clock
from conveyor.errors import DuplicateJob, Full, ShutDown, StoreError, StoreRefused
from conveyor.store import commands
from conveyor.store.commands import Lineage
from conveyor.store.waiting import MAX_JOBS, leave, put_jobs
from conveyor.wire import ids
from conveyor.wire.durability import MEMORY

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from conveyor.store import Client
    from conveyor.store.commands import PutParams
    from conveyor.store.waiting import ReplyObserver

#: Max bytes of jobs that a process keeps; jobs beyond that are not put again.
MAX_KEPT = 64 << 20
#: What a kept job takes beyond its own bytes, roughly.
ENTRY_BYTES = 100
#: Seconds until refused jobs are put again: without a server, or without room and a hint that there is some.
TRY_AGAIN = 1.0


class Known(NamedTuple):
    """What is known of a queue's data on the server, and how often this process has seen that they were lost."""

    lineage: Lineage = Lineage()
    losses: int = 0

    def is_older_than(self, now: Known) -> bool:
        """Return True if a loss or a deletion was noticed since."""
        born = self.lineage.born
        return self.losses != now.losses or bool(born and born != now.lineage.born)


_UNKNOWN = Known()


class Kept:
    """Jobs that were put together, in order, each until it has finished."""

    __slots__ = (
        "__weakref__",
        "again",
        "freed",
        "jobs",
        "losses",
        "params",
        "put_at",
        "queue",
        "restored_at",
        "size",
        "until",
    )

    def __init__(
        self, queue: str, jobs: Sequence[tuple[str, bytes]], params: PutParams, losses: int, keep: float
    ) -> None:
        self.queue, self.params = queue, params
        self.jobs: list[tuple[str, bytes] | None] = [*jobs]
        self.size = sum([len(data) for _, data in jobs]) + ENTRY_BYTES * len(jobs)
        self.losses = losses
        """The losses that these jobs have survived, or were put after."""
        self.again = (losses, 0)
        """A loss, and how many of the jobs, from the first, were put again or left out after it."""
        self.freed: deque[int] = deque()  # takes no lock, so it is safe during garbage collection
        self.put_at = clock.monotonic()
        self.until = self.put_at + params.delay + keep
        """Until then the server knows each of them, or has lost it; later it may have forgotten the outcome."""
        self.restored_at = float("-inf")

    def drop(self, number: int) -> None:
        """Stop keeping a job."""
        if number < len(self.jobs) and (job := self.jobs[number]) is not None:
            self.jobs[number] = None
            freed = len(job[1]) + ENTRY_BYTES
            self.size -= freed
            self.freed.append(freed)

    def left(self, losses: int, awaited: Container[str]) -> Iterator[tuple[Kept, int, tuple[str, bytes]]]:
        """Yield this, the number after it, and each job that is still to be put again after a loss.

        Jobs whose outcome the server may have forgotten are left out unless they are awaited.
        """
        now = clock.monotonic()
        first = self.again[1] if self.again[0] == losses else 0
        for number, job in enumerate(islice(self.jobs, first, None), first + 1):
            if job is not None and (now < self.until or job[0] in awaited):
                yield self, number, job

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and number < len(self.jobs) and self.jobs[number] is not None

    def __del__(self) -> None:
        self.freed.append(self.size)


class Restorer:
    """Notices that a server lost a queue, and puts its jobs again."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.lock = threading.Lock()
        self.known: dict[str, Known] = {}
        self.waiter = ids.unique()  # the name under which it waits for room for lost jobs
        self.due: dict[str, float] = {}
        """Queues whose jobs are to be put again, and when at the earliest."""
        self.lined: set[str] = set()
        """Full queues in whose lines it waits."""
        self._left: dict[str, tuple[int, deque[weakref.ref[Kept]]]] = {}
        """By queue: a loss, and the puts that are still to be repeated after it."""
        self._kept: weakref.WeakSet[Kept] = weakref.WeakSet()
        self._size = 0
        self._freed: deque[int] = deque()

    def knows(self, queue: str) -> Known:
        """Return what is known now; to be called before a command is sent."""
        return self.known.get(queue, _UNKNOWN)

    def agrees(self, queue: str, before: Known, lineage: Lineage) -> bool:
        """Process a reply that proves no loss without a query, or else return False.

        `before` was known when its command was sent.
        """
        born = before.lineage.born
        if (born and lineage.born != born) or lineage.prior < before.lineage.sequence:
            return False
        with self.lock:
            now = self.known.get(queue, _UNKNOWN)
            if now is before:  # nothing else was sent meanwhile
                self.known[queue] = Known(lineage, before.losses)
            elif not before.is_older_than(now):  # or others know more by now, and this reply may be older
                highest = max(lineage.sequence, now.lineage.sequence)
                self.known[queue] = Known(Lineage(lineage.born or now.lineage.born, highest), now.losses)
        return True

    def observe(self, queue: str, before: Known, lineage: Lineage, within: float | None = TRY_AGAIN) -> bool:
        """Process a reply. Return True if it proves a new loss.

        `within` limits in seconds the query if the queue was deleted. Raises StoreError if that fails: the next reply
        decides.
        """
        if self.agrees(queue, before, lineage) or before.is_older_than(self.knows(queue)):
            return False
        born = before.lineage.born
        is_another = lineage.born != born
        deleted = is_another and self._was_deleted(queue, born, within)
        with self.lock:
            now = self.knows(queue)
            if before.is_older_than(now):
                return False
            if not deleted:
                self.known[queue] = Known(lineage, now.losses + 1)
                self.due[queue] = clock.monotonic()
                return True
            self.known[queue] = Known(lineage, now.losses)
            return False

    def _was_deleted(self, queue: str, born: int, within: float | None) -> bool:
        try:
            return bool(self.client.run(commands.was_deleted(queue, born), within=within))
        except StoreRefused:
            return True  # unknown, and finished jobs must not run again

    def keep(self, kept: Kept) -> None:
        """Keep jobs that were put, the first ones if not all fit."""
        with self.lock:
            while self._freed:
                self._size -= self._freed.popleft()
            room = MAX_KEPT - self._size
            if kept.size > room:
                sizes = [0, *accumulate(len(job[1]) + ENTRY_BYTES for job in kept.jobs if job)]
                fitting = max(0, bisect_right(sizes, room) - 1)
                del kept.jobs[fitting:]
                kept.size = sizes[fitting]
            self._size += kept.size
            kept.freed = self._freed
            self._kept.add(kept)
            if kept.losses < self.knows(kept.queue).losses:  # lost during the put
                self.due[kept.queue] = clock.monotonic()

    def forget(self) -> None:
        """Forget all jobs and what is known of the queues, since the server was emptied on purpose."""
        with self.lock:
            for one in (self.known, self.due, self.lined, self._left, self._kept):
                one.clear()

    def may_return(self, kept: Kept | None, number: int, asked_at: float) -> bool:
        """Return True if a job that the server did not know at `asked_at` is, or was since, put again."""
        if kept is None or number not in kept or kept not in self._kept:  # a forked child's parent keeps it
            return False
        return kept.losses < self.knows(kept.queue).losses or asked_at < kept.restored_at

    def restore(self, queue: str, awaited: Container[str], observer: ReplyObserver) -> bool:
        """Put again what a queue lost. Return False if some jobs were refused for now and have to be tried again."""
        losses = self.knows(queue).losses
        self.due[queue] = clock.monotonic() + TRY_AGAIN
        puts = self._puts_left(queue, losses)
        while puts:
            alike = _take_alike(puts)
            is_accepted = self._put_again(alike, losses, awaited, observer, is_last=not puts)
            for kept in reversed(alike):
                if kept.again == (losses, len(kept.jobs)):
                    kept.losses, kept.restored_at = losses, clock.monotonic()
                else:
                    puts.appendleft(weakref.ref(kept))
            if not is_accepted:
                return False
        if queue in self.lined:
            self.client.perform(leave(queue, self.waiter))
            self.lined.discard(queue)
        with self.lock:  # a put that began before the loss may have ended meanwhile
            del self._left[queue]
            if losses == self.knows(queue).losses and not self._lost(queue, losses):
                self.due.pop(queue, None)
        return True

    def _puts_left(self, queue: str, losses: int) -> deque[weakref.ref[Kept]]:
        """Return the puts to repeat, in order: collected once after each loss, since there may be many."""
        if queue not in self._left or self._left[queue][0] != losses:
            with self.lock:
                lost = sorted(self._lost(queue, losses), key=lambda one: one.put_at)
            self._left[queue] = losses, deque(map(weakref.ref, lost))
        return self._left[queue][1]

    def _lost(self, queue: str, losses: int) -> list[Kept]:
        return [one for one in list(self._kept) if one.queue == queue and one.losses < losses]

    def _put_again(
        self,
        alike: list[Kept],
        losses: int,
        awaited: Container[str],
        observer: ReplyObserver,
        *,
        is_last: bool,
    ) -> bool:
        """Put the next MAX_JOBS of these again, as many as there is room for. Return False if some were refused."""
        found = (one for kept in alike for one in kept.left(losses, awaited))
        sent = list(islice(found, MAX_JOBS))
        is_all = len(sent) < MAX_JOBS
        accepted = len(sent)
        try:
            if sent:
                if not (is_last and is_all):
                    self.lined.add(alike[0].queue)
                self._put(
                    [job for _, _, job in sent], alike[0], observer, rest=0 if is_last and is_all else 1
                )
        except (ShutDown, DuplicateJob):  # these jobs cannot come back
            pass
        except (Full, StoreError) as error:
            accepted = error.accepted
            if isinstance(error, Full):
                self.lined.add(alike[0].queue)
        for kept, number, _ in sent[:accepted]:
            kept.again = (losses, number)
        if accepted < len(sent):
            return False
        for kept in alike if is_all else ():
            kept.again = (losses, len(kept.jobs))
        return True

    def _put(self, jobs: list[tuple[str, bytes]], like: Kept, observer: ReplyObserver, *, rest: int) -> None:
        """Put jobs again; with a `rest`, keep the position in line for others."""
        delay = max(0.0, like.params.delay + like.put_at - clock.monotonic())
        # At the level memory: another level would block this thread, on which results arrive.
        again = like.params._replace(
            delay=delay, again=True, waiter=self.waiter, rest=rest, durability=MEMORY
        )
        self.client.perform(put_jobs(self.client, like.queue, jobs, again, None, observer))


def _take_alike(puts: deque[weakref.ref[Kept]]) -> list[Kept]:
    """Take out the first of these puts, with those behind it that can be put again as one."""
    alike: list[Kept] = []
    size = 0
    while puts and size < MAX_JOBS:
        kept = puts[0]()
        if kept is not None:
            if alike and (kept.params != alike[0].params or kept.params.own_ids or kept.params.delay):
                break
            alike.append(kept)
            size += len(kept.jobs)
        puts.popleft()
    return alike
