"""How `put` waits for room, `get` for a job and `join` for the end, without asking over and over.

1. The caller's script runs and says: no room, no job, not done. For put and join it has also noted who waits.
2. The caller blocks on a list: `bell` for any consumer, `wake:<waiter>` for one producer or joiner.
3. The script that changes the matter (claim makes room, put brings jobs, finish ends the last) pushes a hint there,
   in the same atomic step; a hint pushed between 1 and 2 lies in the list and is found at once.
4. Hints may be lost with their receiver, so no block is longer than two seconds; whoever wakes runs step 1 again.

A producer that waits asks without its jobs, which keeps its place in line, and the hint says for how many of them there
is room: a job is seldom sent before there is room for it.

Producers are served first come, first served: the line remembers the order, and a put that stands further back, or
does not stand in line at all, only gets what those in front leave over.
"""

from __future__ import annotations

import contextlib
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
from conveyor.wire import ids
from conveyor.wire.durability import MEMORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.clock import Deadline
    from conveyor.store.client import Client
    from conveyor.wire.durability import Durability

#: No block is longer than this many seconds.
MAX_BLOCK = 2.0
#: Jobs and bytes that one put carries at most.
MOST_JOBS, MOST_PUT_BYTES = 500, 4 << 20
#: Seconds that a level of durability is waited for at most, and then for the server's word that it was not reached.
CONFIRM_WITHIN, CONFIRM_GRACE = 15.0, 1.0
#: Seconds that noting the name of a new queue may take, after its first job was put.
NOTE_WITHIN = 1.0


class Witness(Protocol):
    """An observer of replies, which can show that the server has lost data."""

    def knows(self, queue: str) -> Any:
        """Return what is known before something is sent."""

    def heard(self, queue: str, before: Any, lineage: commands.Lineage) -> object:
        """Process the reply. May raise StoreError if the server has to be asked and does not reply."""


def put_jobs(
    client: Client,
    queue: str,
    jobs: Sequence[tuple[str, bytes]],
    place: commands.PutParams,
    deadline: Deadline | None,
    witness: Witness,
) -> None:
    """Put all jobs, in order; wait for room until the deadline, or not at all if it is None.

    With a `waiter` in the place it asks for room before it sends any job, and that waiter stays in line after Full, and
    while the place has a `rest`, so that the caller can come back in some seconds for more. Each part of the jobs
    reaches the level of durability in the place before the next one is sent.
    Raises Full, ShutDown and DurabilityUnknown. The `accepted` of each error is how many of the jobs were put.
    """
    done = 0
    waiter = place.waiter
    trust = min(MOST_JOBS, place.maxsize or MOST_JOBS)
    room = 0 if waiter else trust
    try:
        while True:
            some = jobs[done : done + _fitting(jobs, done, min(room, trust))]
            rest = place.rest + len(jobs) - done - len(some)
            before = witness.knows(queue)
            asked = place._replace(waiter=waiter, rest=rest)
            answer, lacking = _put_some(client, queue, some, asked, deadline)
            done += answer.accepted
            witness.heard(queue, before, answer.lineage)
            _list_new(client, queue, answer)
            fresh = some[: answer.accepted]
            _check_confirmed(queue, fresh, done - len(fresh), place.durability, lacking)
            if done == len(jobs):
                return
            # Others may have taken the room that was seen: what is sent in vain stays a small part of what is accepted.
            trust = 4 * answer.accepted if some else max(1, trust)
            room = answer.room
            if room > 0:
                continue
            if deadline is None or deadline.passed():
                break
            if waiter:
                hint = client.run(
                    commands.await_wake(queue, waiter, deadline.left(1.0)), within=time_for(deadline)
                )
                room = int(hint or 0)
            else:
                waiter = ids.unique()  # and ask with it, which makes it stand in line
    except BaseException as error:
        # The caller must get this error; a server that hangs forgets the waiter by itself.
        if waiter and not isinstance(error, StoreUnavailable):
            leave(client, queue, waiter)
        if isinstance(error, ConveyorError):
            error.accepted += done
        raise
    if waiter and not place.waiter:
        leave(client, queue, waiter)
    message = f"the queue {queue} is full"
    raise Full(message, accepted=done)


def leave(client: Client, queue: str, waiter: str) -> None:
    """Stand in line no longer; best effort, since the server forgets who does not come back."""
    with contextlib.suppress(StoreError):
        client.run(commands.leave(queue, waiter), patience=0.0, within=GRACE)


def _put_some(
    client: Client,
    queue: str,
    jobs: Sequence[tuple[str, bytes]],
    place: commands.PutParams,
    deadline: Deadline | None,
) -> tuple[commands.PutReply, str]:
    """Put jobs; return the answer, and what their level of durability lacks, or "" if it was reached."""
    put, durability = commands.put(queue, jobs, place), place.durability
    if not jobs or durability == MEMORY:
        return client.run(put, within=time_for(deadline)), ""
    seconds = CONFIRM_WITHIN if deadline is None else deadline.left(CONFIRM_WITHIN)
    within = time_for(deadline)
    if within is not None and durability.level != "written":  # that is not waited for
        within = seconds + CONFIRM_GRACE
    told = [put, fitness.confirm(durability, seconds)]
    if is_proven := durability.level == "fsync" and not client.waits_for_sync:
        told.append(fitness.setting("appendfsync", optional=True))  # it may have changed
    answer, lacking, *synced = client.run_all(told, within=within)
    if is_proven and not lacking and synced != ["always"]:
        lacking = f"the server does not sync before it answers any more (appendfsync {synced[0]})"
    if lacking and not durability.replicas:  # of replicas there may be too few for a moment, in a failover
        client.levels.pop(durability, None)  # check again before the next put
    return answer, lacking


def _check_confirmed(
    queue: str, jobs: Sequence[tuple[str, bytes]], confirmed: int, durability: Durability, lacking: str
) -> None:
    """Raise DurabilityUnknown if jobs, in the queue behind `confirmed` others, lack something for their level."""
    if not jobs or not lacking:
        return
    first, last, is_one = jobs[0][0], jobs[-1][0], len(jobs) == 1
    many = f"the job {last} is" if is_one else f"{len(jobs):,} jobs, {first} to {last}, are"
    message = f"{many} on the queue {queue}, but the level {durability} is not confirmed: {lacking}"
    hint = (
        f"do not put {'it' if is_one else 'them'} again; `conveyor doctor` shows what the server can confirm"
    )
    error = DurabilityUnknown(message, hint=hint)
    error.confirmed = confirmed
    raise error


def _list_new(client: Client, queue: str, answer: commands.PutReply) -> None:
    """List a queue if these jobs are the first that were put to it; best effort.

    Its name was noted before, but whoever deleted the queue meanwhile has taken it off the list.
    """
    if not 0 < answer.accepted == answer.lineage.sequence:
        return
    with contextlib.suppress(StoreError):
        client.run(commands.note_queue(queue), patience=0.0, within=NOTE_WITHIN)


def _fitting(jobs: Sequence[tuple[str, bytes]], start: int, most: int) -> int:
    """Return how many of the jobs from `start` on one put can carry: `most`, and at least one unless that is 0."""
    size = 0
    for place in range(start, min(start + min(most, MOST_JOBS), len(jobs))):
        size += len(jobs[place][1])
        if size > MOST_PUT_BYTES:
            return max(1, place - start)
    return min(most, MOST_JOBS, len(jobs) - start)


class Claimant:
    """Who takes a job: `nonce` is that of the last claim, whose answer may never have come."""

    def __init__(self, owner: str, lease: float, nonces: ids.Nonces) -> None:
        self.owner = owner
        self.lease = lease
        self.nonces = nonces
        self.nonce = ""


def get_job(client: Client, queue: str, claimant: Claimant, deadline: Deadline | None) -> commands.Batch:
    """Take a job under lease; wait for one until the deadline, or not at all where it is None.

    It is only held, and counts as started once the caller renews its lease. Raises Empty, and ShutDown once a queue
    that was shut down has nothing left.
    """
    while True:
        claimant.nonce = claimant.nonces.next()
        claim = commands.claim(queue, claimant.owner, claimant.nonce, 1, claimant.lease, first=commands.HELD)
        batch: commands.Batch = client.run(claim, within=time_for(deadline))
        if batch.jobs:
            return batch
        if batch.state == "SHUT":
            message = f"the queue {queue} was shut down, and nothing is left in it"
            raise ShutDown(message)
        if batch.state == "OK":  # what was taken had no bytes, or was given back meanwhile: there may be more
            continue
        if deadline is None or deadline.passed():
            message = f"the queue {queue} is {'paused' if batch.state == 'PAUSED' else 'empty'}"
            raise Empty(message)
        seconds = deadline.left(min(MAX_BLOCK, batch.wait))
        client.run(commands.await_bell([queue], seconds), within=time_for(deadline))


def join_queue(client: Client, queue: str, deadline: Deadline) -> None:
    """Wait until no job of the queue is waiting, delayed or taken; raises WaitTimeout."""
    joiner = ids.unique()
    while True:
        live = client.run(commands.join(queue, joiner), within=time_for(deadline))
        if live == 0:
            return
        if deadline.passed():
            leave(client, queue, joiner)
            message = f"{live} jobs of {queue} are not over"
            raise WaitTimeout(message)
        seconds = deadline.left(MAX_BLOCK)
        client.run(commands.await_wake(queue, joiner, seconds), within=time_for(deadline))
