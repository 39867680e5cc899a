"""How `put` waits for room, `get` for a job and `join` for the end, without polling in short intervals.

1. The caller's script replies that the queue is full or empty, or has unfinished jobs. For put and join it also notes
   the caller.
2. The caller blocks on a list: `bell` for all consumers, `wake:<waiter>` for one producer or joiner.
3. The script that changes this (claim makes room, put brings jobs, finish ends the last) pushes a wake-up to the list,
   in the same atomic step. A wake-up pushed between 1 and 2 stays in the list and is found immediately.
4. Wake-ups may be lost with their receivers, so no block is longer than two seconds, after which step 1 is repeated.

A blocked producer asks without its jobs, which keeps its position in line, and the wake-up carries the number of jobs
there is room for: a job is rarely sent before there is room for it.

Producers are served first come, first served: the line keeps their order, and a put further back, or not in line at
all, only gets what those in front leave.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from conveyor.errors import (
    ConveyorError,
    DurabilityUnknown,
    Empty,
    Full,
    ShutDown,
    StoreError,
    StoreUnavailable,
    WaitTimeout,
)
from conveyor.store import commands, fitness
from conveyor.store.client import GRACE, time_for
from conveyor.store.command import Exchange
from conveyor.store.outbox import deliver_soon
from conveyor.wire import ids
from conveyor.wire.durability import MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from conveyor.clock import Deadline
    from conveyor.store.client import Client
    from conveyor.store.command import Command, Operation
    from conveyor.wire.durability import Durability

#: Max seconds of one block.
MAX_BLOCK = 2.0
#: Max jobs and bytes of one put; jobs with terms keep the server busy for longer.
MAX_JOBS, MAX_WITH_TERMS, MAX_PUT_BYTES = 500, 64, 4 << 20
#: Max seconds to wait for a level of durability, and then for the server's reply that it was not reached.
CONFIRM_WITHIN, CONFIRM_GRACE = 15.0, 1.0
#: Max seconds for noting the name of a new queue, after its first job was put.
NOTE_WITHIN = 1.0


class ReplyObserver(Protocol):
    """An observer of replies, which can prove that the server has lost data."""

    def knows(self, queue: str) -> Any:
        """Return what is known before a command is sent."""

    def agrees(self, queue: str, before: Any, lineage: commands.Lineage) -> bool:
        """Process the reply if that takes no query, or else return False."""

    def observe(self, queue: str, before: Any, lineage: commands.Lineage) -> object:
        """Process the reply. Raises StoreError if it has to query the server and fails."""


class _Feed:
    """The next jobs to put, few however many follow; each step adds a part of them."""

    __slots__ = ("done", "error", "ids", "jobs", "parts", "size")

    def __init__(
        self, jobs: Sequence[tuple[str, bytes]], parts: Iterator[Sequence[tuple[str, bytes]]] | None
    ) -> None:
        self.jobs = [*jobs]
        self.size = sum([len(data) for _, data in jobs])
        self.parts = parts
        """What follows; None if there is nothing more."""
        self.ids = [job_id for job_id, _ in jobs]
        """Of these jobs, and of those that were put."""
        self.done = 0
        """Jobs that were put."""
        self.error: Exception | None = None
        """Why there are no more jobs, raised only once the jobs before it were put."""

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> None:
        if self.parts is None or len(self.jobs) > 2 * MAX_JOBS or self.is_heavy:
            return
        try:
            part = next(self.parts, None)
        except Exception as error:  # noqa: BLE001 - a put is under way, and must be counted first
            part, self.error = None, error
        if part is None:
            self.parts = None
        else:
            self.jobs += part
            self.size += sum([len(data) for _, data in part])
            self.ids += [job_id for job_id, _ in part]

    def fill(self) -> None:
        """Take parts until there are more jobs than one put carries, or no more parts."""
        while self.parts is not None and len(self.jobs) <= MAX_JOBS and not self.is_heavy:
            next(self)

    @property
    def is_heavy(self) -> bool:
        """True if one put cannot carry the bytes of the jobs that are there."""
        return self.size > MAX_PUT_BYTES

    def first(self, most: int) -> list[tuple[str, bytes]]:
        """Return the first jobs, as many as one put can carry: `most`, and at least one unless that is 0."""
        some, size = self.jobs[: min(most, MAX_JOBS)], 0
        if self.is_heavy:
            for place, (_, data) in enumerate(some):
                size += len(data)
                if size > MAX_PUT_BYTES:
                    return some[: max(1, place)]
        return some

    def accept(self, count: int) -> None:
        """Remove the first jobs, which were put."""
        self.done += count
        self.size -= sum([len(data) for _, data in self.jobs[:count]])
        del self.jobs[:count]

    def end(self) -> None:
        """Raise why there are no more jobs, if that was an error."""
        if self.error is not None:
            raise self.error

    def complete(self, error: BaseException, same: Mapping[str, str]) -> None:
        """Add to an error which jobs were put, or stand for those that were not."""
        if isinstance(error, ConveyorError):
            # One of the iterable itself, perhaps of another queue, counts none of these jobs.
            error.accepted = self.done + (0 if error is self.error else error.accepted)
            error.ids = [same.get(one, one) for one in self.ids[: error.accepted]]
        elif error is self.error and self.done:
            error.add_note(f"{self.done:,} jobs before it were put")


def put_jobs(  # noqa: C901, PLR0913, PLR0917 - what, where, how, until when, and what follows
    client: Client,
    queue: str,
    jobs: Sequence[tuple[str, bytes]],
    params: commands.PutParams,
    deadline: Deadline | None,
    observer: ReplyObserver,
    parts: Iterator[Sequence[tuple[str, bytes]]] | None = None,
    accepted: Callable[[int], object] | None = None,
) -> Operation[dict[str, str]]:
    """Put all jobs, in order. Wait for room until the deadline, or not at all if it is None.

    Return the ids of those for which other jobs stand, since they have their unique keys, with theirs.

    Further `parts` are taken, and thus made, while the server works on the jobs before them. `accepted` is called with
    the number of jobs that the server has accepted and confirmed since its last call.

    With a `waiter` it asks for room before it sends any job, and the waiter stays in line after Full, and while there
    is a `rest`, so that the caller can bring more within seconds. Each part of the jobs reaches the level of durability
    before the next one is sent.

    Raises Full, ShutDown, DurabilityUnknown, and what the parts raise, once the jobs before it were put. Each of these
    errors says which jobs were put: by `accepted` and `ids`, or by a note if it is none of this package.
    """
    feed = _Feed(jobs, parts)
    waiter = params.waiter
    trust = min(MAX_JOBS, params.maxsize or MAX_JOBS)
    room = 0 if waiter else trust
    same: dict[str, str] = {}
    try:
        while True:
            feed.fill()
            most = MAX_WITH_TERMS if params.terms and params.terms.own else MAX_JOBS
            some = feed.first(min(room, trust, most))
            rest = params.rest + len(feed.jobs) - len(some)
            before = observer.knows(queue)
            asked = params if (waiter, rest) == ("", 0) else params._replace(waiter=waiter, rest=rest)
            put = commands.put(queue, some, asked)
            if params.durability == MEMORY or not some:
                (reply,), lacking = (yield Exchange((put,), time_for(deadline), None, feed)), ""
            else:
                reply, lacking = yield from _put_durably(client, put, params.durability, deadline)
            feed.accept(reply.accepted)
            if reply.same:
                same.update(reply.same)
            if not observer.agrees(queue, before, reply.lineage):
                yield partial(observer.observe, queue, before, reply.lineage)
            if 0 < reply.lineage.sequence <= reply.accepted:
                yield from _list_new(queue)
            if lacking:
                _check_confirmed(queue, some[: reply.accepted], feed.done, params.durability, lacking)
            if accepted is not None:
                accepted(reply.accepted)
            if not feed.jobs:
                break
            # Others may have taken the room meanwhile: jobs sent without success stay few, compared with accepted ones.
            trust = 4 * reply.accepted if some else max(1, trust)
            room = reply.room
            if room <= 0:
                waiter, room = yield from _wait_for_room(queue, waiter, deadline)
        feed.end()
    except BaseException as error:
        stays = isinstance(error, Full) and params.waiter
        # The caller must get this error; a hanging server forgets the waiter without this command.
        if waiter and not stays and not isinstance(error, StoreUnavailable | GeneratorExit):
            yield from leave(queue, waiter)
        feed.complete(error, same)
        raise
    return same


def _wait_for_room(queue: str, waiter: str, deadline: Deadline | None) -> Operation[tuple[str, int]]:
    """Return a name in the line, and for how many jobs there is room: none before the next put has joined the line.

    Raises Full after the deadline.
    """
    if deadline is None or deadline.passed():
        raise Full(f"the queue {queue} is full")
    if not waiter:
        return ids.unique(), 0
    (room,) = yield Exchange((commands.await_wake(queue, waiter, deadline.left(1.0)),), time_for(deadline))
    return waiter, int(room or 0)


def leave(queue: str, waiter: str) -> Operation[None]:
    """Leave the line; best effort, since the server forgets waiters that do not come back."""
    with contextlib.suppress(StoreError):
        yield Exchange((commands.leave(queue, waiter),), GRACE, 0.0)


def _put_durably(
    client: Client, put: Command, durability: Durability, deadline: Deadline | None
) -> Operation[tuple[commands.PutReply, str]]:
    """Put jobs. Return the reply, and what their level of durability lacks, or "" if it was reached."""
    seconds = CONFIRM_WITHIN if deadline is None else deadline.left(CONFIRM_WITHIN)
    within = time_for(deadline)
    if within is not None and durability.level != "written":  # that takes no time
        within = seconds + CONFIRM_GRACE
    sent = [put, fitness.confirm(durability, seconds)]
    if is_proven := durability.level == "fsync" and not client.waits_for_sync:
        sent.append(fitness.setting("appendfsync", optional=True))  # it may have changed
    reply, lacking, *synced = yield Exchange(sent, within)
    if is_proven and not lacking and synced != ["always"]:
        lacking = f"the server no longer syncs before it replies (appendfsync {synced[0]})"
    if lacking and not durability.replicas:  # there may be too few replicas for a moment, in a failover
        client.levels.pop(durability, None)  # check again before the next put
    return reply, lacking


def _check_confirmed(
    queue: str, jobs: Sequence[tuple[str, bytes]], done: int, durability: Durability, lacking: str
) -> None:
    """Raise DurabilityUnknown if jobs, the last of `done` in the queue, lack something for their level."""
    if not jobs:
        return
    first, last, is_one = jobs[0][0], jobs[-1][0], len(jobs) == 1
    many = f"the job {last} is" if is_one else f"{len(jobs):,} jobs, {first} to {last}, are"
    error = DurabilityUnknown(
        f"{many} on the queue {queue}, but the level {durability} is not confirmed: {lacking}",
        hint=f"do not put {'it' if is_one else 'them'} again; `conveyor doctor` shows what the server can confirm",
    )
    error.confirmed = done - len(jobs)
    raise error


def _list_new(queue: str) -> Operation[None]:
    """Note the name of a queue with its first jobs; best effort.

    It was noted before the put, but a deletion of the queue may have removed it meanwhile.
    """
    with contextlib.suppress(StoreError):
        yield Exchange((commands.note_queue(queue),), NOTE_WITHIN, 0.0)


class Claimant:
    """The owner of a claim; `nonce` is that of its last claim, whose reply may never have arrived."""

    def __init__(self, owner: str, lease: float, nonces: ids.Nonces) -> None:
        self.owner = owner
        self.lease = lease
        self.nonces = nonces
        self.nonce = ""


def get_job(queue: str, claimant: Claimant, deadline: Deadline | None) -> Operation[commands.Batch]:
    """Claim a job. Wait for one until the deadline, or not at all if it is None.

    It is held, and counts as started once the caller renews its lease. Raises Empty, and ShutDown once a queue that was
    shut down is empty.
    """
    while True:
        claimant.nonce = claimant.nonces.next()
        claim = commands.claim(queue, claimant.owner, claimant.nonce, 1, claimant.lease, first=commands.HELD)
        (found,) = yield Exchange((claim,), time_for(deadline))
        batch: commands.Batch = found
        if batch.has_messages:
            yield from deliver_soon(queue)
        if batch.jobs:
            return batch
        if batch.state == "SHUT":
            raise ShutDown(f"the queue {queue} is shut down and empty")
        if batch.state == "OK":  # the claimed jobs had no bytes, or were released: there may be more
            continue
        if deadline is None or deadline.passed():
            raise Empty(f"the queue {queue} is {'paused' if batch.state == 'PAUSED' else 'empty'}")
        seconds = deadline.left(min(MAX_BLOCK, batch.wait))
        yield Exchange((commands.await_bell([queue], seconds),), time_for(deadline))


def join_queue(queue: str, deadline: Deadline) -> Operation[None]:
    """Wait until no job of the queue is waiting, deferred, delayed or in progress. Raises WaitTimeout."""
    joiner = ids.unique()
    try:
        while True:
            (live,) = yield Exchange((commands.join(queue, joiner),), time_for(deadline))
            if live == 0:
                return
            if deadline.passed():
                raise WaitTimeout(f"{live} jobs of the queue {queue} are unfinished")
            seconds = deadline.left(MAX_BLOCK)
            yield Exchange((commands.await_wake(queue, joiner, seconds),), time_for(deadline))
    except BaseException as error:
        if not isinstance(error, StoreUnavailable | GeneratorExit):
            yield from leave(queue, joiner)
        raise
