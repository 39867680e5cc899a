"""The few numbers that every open page receives each second: enough for its tiles and its belts, without any job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from conveyor.monitor.belt import Belt, belt_of, slots_taken
from conveyor.monitor.snapshot import by_rank, ended

if TYPE_CHECKING:
    from conveyor.monitor.snapshot import Snapshot

#: Queues that are included, those with the most to do first.
MAX_QUEUES = 100


class QueueStats(msgspec.Struct, frozen=True):
    """Numbers of one queue."""

    waiting: int
    """Jobs that are due."""
    deferred: int
    """Jobs that wait for others."""
    delayed: int
    """Jobs that are not due yet."""
    qsize: int
    """All three together: what `maxsize` limits."""
    taken: int
    """Slots of a bounded queue that have jobs; 0 without a limit."""
    beyond: int
    """Jobs of a bounded queue beyond its limit: retried, released, or put before the limit was lowered."""
    running: int
    dead: int
    blocked: int
    maxsize: int
    state: str
    """As of `Count.state`."""
    full: bool
    paused: bool
    accepted: int
    ended: int
    """Both since the queue began, so that a viewer who misses one update misses no job."""
    rate_in: float
    rate_out: float
    workers: int
    busy: int
    belt: Belt


class LiveStats(msgspec.Struct, frozen=True):
    """All numbers of one moment."""

    at: float
    interval: float
    """Seconds until the next ones."""
    waiting: int
    deferred: int
    delayed: int
    oldest: float | None
    """When the job was put that has waited longest of those that are due, seconds since 1970."""
    running: int
    dead: int
    workers: int
    busy: int
    """Workers that run a job, leaving ones included."""
    leaving: int
    rate_in: float
    rate_out: float
    per_minute: int | None
    """Jobs that finished in the last 60 seconds, or None if not polled throughout them."""
    queues: dict[str, QueueStats]
    whole: bool = True
    """True with all queues, False with only those that have changed."""
    dropped: tuple[str, ...] = ()
    """Queues that are no longer included."""

    def since(self, before: LiveStats) -> LiveStats:
        """Return the same for a viewer that has received `before`: only the queues that have changed."""
        changed = {name: one for name, one in self.queues.items() if before.queues.get(name) != one}
        dropped = tuple(sorted(before.queues.keys() - self.queues.keys()))
        return msgspec.structs.replace(self, queues=changed, whole=False, dropped=dropped)


def live_stats(snapshot: Snapshot, interval: float) -> LiveStats:
    """Return the numbers of a snapshot."""
    loads = {name: snapshot.load_of(name) for name in snapshot.queues}
    busiest = snapshot.busiest
    order = list(dict.fromkeys((*busiest.few, *busiest.many, *by_rank(loads))))[:MAX_QUEUES]
    workers = snapshot.worker_counts
    rates, counts = list(snapshot.rates.values()), list(snapshot.queues.values())
    return LiveStats(
        at=round(snapshot.at, 3),
        interval=interval,
        waiting=sum(count.ready for count in counts),
        deferred=sum(count.deferred for count in counts),
        delayed=sum(count.delayed for count in counts),
        oldest=snapshot.oldest,
        running=sum(count.leased for count in counts),
        dead=sum(count.dead for count in counts),
        workers=workers.all,
        busy=workers.busy,
        leaving=workers.leaving,
        rate_in=round(sum(rate.accepted for rate in rates), 2),
        rate_out=round(sum(rate.ended for rate in rates), 2),
        per_minute=snapshot.per_minute,
        queues={name: queue_stats(snapshot, name) for name in order},
    )


def queue_stats(snapshot: Snapshot, name: str) -> QueueStats:
    """Return the numbers of one queue that the snapshot has."""
    count = snapshot.queues[name]
    rate = snapshot.rate_of(name)
    workers = snapshot.workers_of(name)
    return QueueStats(
        waiting=count.ready,
        deferred=count.deferred,
        delayed=count.delayed,
        qsize=count.qsize,
        taken=slots_taken(count),
        beyond=count.qsize - slots_taken(count) if count.maxsize else 0,
        running=count.leased,
        dead=count.dead,
        blocked=count.blocked,
        maxsize=count.maxsize,
        state=count.state,
        full=count.is_full,
        paused=bool(count.paused),
        accepted=count.accepted,
        ended=ended(count),
        rate_in=round(rate.accepted, 2),
        rate_out=round(rate.ended, 2),
        workers=len(workers),
        busy=sum(worker.is_busy_on(name) for worker in workers),
        belt=belt_of(name, count, workers),
    )
