"""The jobs that a worker gathers for one run of a batch task.

Each keeps the lease of the claim that brought it, and is settled on its own.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import structs

from conveyor import clock
from conveyor.consumer.process_state import TINY
from conveyor.consumer.settings import LEASE
from conveyor.consumer.shared_status import HeldBatch
from conveyor.store import commands, leases
from conveyor.wire import call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conveyor.batch_tasks import BatchFunction
    from conveyor.consumer.settlement import Settler
    from conveyor.store.command import Command
    from conveyor.store.commands import Claimed
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Outcome

#: Bytes of the jobs of one run after which no more are claimed for it.
MAX_BYTES = 16 << 20


class GatheredJob(NamedTuple):
    """A job under lease, as of its renewal."""

    queue: str
    token: str
    claimed: Claimed
    call: Call

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.claimed.id

    @property
    def progress(self) -> str:
        """How it is held when its run begins."""
        return commands.STARTED

    @property
    def tries(self) -> int:
        """Runs before this one."""
        return self.claimed.retries + self.claimed.crashes


class Gathering:
    """Jobs of one batch task in one queue. The time to wait for more begins with the first claim.

    `most` is how many jobs its worker may still run.
    """

    def __init__(self, queue: str, task: str, function: BatchFunction, most: float) -> None:
        self.queue = queue
        self.task = task
        self.jobs: list[GatheredJob] = []
        self._size = int(min(function.size, most))
        self._until = clock.Deadline(function.wait)
        self._bytes = 0
        self._has_asked = self._is_over = False

    @property
    def room(self) -> int:
        """How many jobs to claim next: 0 once it has waited, is full, or others wait in the queue."""
        if self._is_over or self._bytes >= MAX_BYTES or (self._has_asked and self._until.passed()):
            return 0
        return self._size - len(self.jobs)

    @property
    def may_wait(self) -> bool:
        """True if the jobs that wait in the queue were claimed, so that it is to wait for more."""
        return self._has_asked

    def left(self, at_most: float) -> float:
        """Return the seconds that it is still to wait, at most `at_most`."""
        return self._until.left(at_most)

    def take(self, jobs: Iterable[Claimed], token: str) -> list[str]:
        """Take the jobs of a claim that are of its task, and return the ids of the others, which are to be released.

        After others it takes no more, since they wait. A job that may have ended a worker is one of them, to run alone.
        """
        others = []
        for job in jobs:
            decoded = None if job.crashes else _decoded(job)
            if decoded is None or decoded.task != self.task or len(self.jobs) >= self._size:
                others.append(job.id)
            else:
                self.jobs.append(GatheredJob(self.queue, token, job, decoded))
                self._bytes += len(job.data)
        self._is_over = self._is_over or bool(others)
        return others

    def asked(self, left: int) -> None:
        """Note that the queue was asked for more, and how many jobs it has left: these are taken without a wait."""
        self._has_asked = left == 0

    def held(self, nonce: str) -> HeldBatch:
        """Return it for the shared status; `nonce` is that of the last claim."""
        tokens = [(token, len(list(jobs))) for token, jobs in self._by_token()]
        return HeldBatch(self.queue, "", nonce, [one.id for one in self.jobs], tokens)

    def renewals(self, seconds: float = LEASE) -> list[Command]:
        """Return the commands that renew the leases as started, right before the run. `confirm` takes the replies."""
        return leases.renewals(self.jobs, seconds)

    def confirm(self, replies: Iterable[leases.Renewed[GatheredJob]]) -> list[Command]:
        """Leave out jobs whose leases are lost, and cancelled ones. Return the commands that settle the latter."""
        lost: set[str] = set()
        cancelled: set[str] = set()
        for reply in replies:
            lost.update(one.id for one in reply.lost)
            cancelled.update(one.id for one in reply.cancelled)
        sent = self.releases([one for one in self.jobs if one.id in cancelled])  # that settles them
        self.jobs = [one for one in self.jobs if one.id not in lost | cancelled]
        return sent

    def releases(self, jobs: Sequence[GatheredJob] | None = None) -> list[Command]:
        """Return the commands that release some of the jobs, or all."""
        found = self._by_token(jobs)
        return [commands.release(self.queue, token, [one.id for one in some]) for token, some in found]

    def limited(self) -> Call:
        """Return the call of the first job with the limits of the whole run: the shortest of all jobs.

        Without a soft limit if the limit of another job ends the run before it.
        """
        options = [one.call.options for one in self.jobs]
        limits = [one.timeout for one in options if one.timeout is not None]
        soft_limits = [one.soft_timeout for one in options if one.soft_timeout is not None]
        limit, soft_limit = min(limits, default=None), min(soft_limits, default=None)
        if limit is not None and soft_limit is not None and soft_limit >= limit:
            soft_limit = None
        first = self.jobs[0].call
        changed = structs.replace(first.options, timeout=limit, soft_timeout=soft_limit)
        return structs.replace(first, options=changed)

    def leave_out(self, settler: Settler, ended: Mapping[str, Outcome]) -> list[Command]:
        """Leave out jobs whose outcomes are certain before the run. Return the commands that settle them."""
        jobs = [one for one in self.jobs if one.id in ended]
        self.jobs = [one for one in self.jobs if one.id not in ended]
        settling = self._settling(settler, jobs, [ended[one.id] for one in jobs], 0.0)
        return [*itertools.chain.from_iterable(settling)]

    def settle(
        self, settler: Settler, outcomes: Sequence[Outcome], elapsed: float
    ) -> Iterator[list[Command]]:
        """Yield the commands that settle the jobs, as many at a time as may travel together."""
        return self._settling(settler, self.jobs, outcomes, elapsed)

    def _settling(
        self, settler: Settler, settled: Sequence[GatheredJob], outcomes: Sequence[Outcome], elapsed: float
    ) -> Iterator[list[Command]]:
        # As of jobs that run alone, more is kept than the result, unless they are so short that this would be the main
        # cost.
        is_burst = elapsed < TINY * len(settled)
        outcome = iter(outcomes)
        for token, some in self._by_token(settled):
            jobs = list(some)
            settler.begin(self.queue, token, len(jobs) if is_burst else 1)
            for one in jobs:
                settler.add(one.id, one.call, next(outcome), elapsed, one.tries)
                if settler.is_much:
                    yield settler.commands(counted=False)
            yield settler.commands(counted=False)

    def _by_token(
        self, jobs: Sequence[GatheredJob] | None = None
    ) -> Iterator[tuple[str, Iterator[GatheredJob]]]:
        return itertools.groupby(self.jobs if jobs is None else jobs, key=lambda one: one.token)


def _decoded(job: Claimed) -> Call | None:
    try:
        return call.decode_call(job.data)
    except (msgspec.MsgspecError, ValueError):
        return None  # a worker that takes it alone reports that
