"""The few numbers that every open page gets each second: enough for its tiles and its belts, no job among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from conveyor.dashboard.belt import Belt, belt_of, taken
from conveyor.monitor.busiest import by_rank
from conveyor.monitor.snapshot import Rate, ended, load_of

if TYPE_CHECKING:
    from conveyor.monitor.snapshot import Snapshot

#: Queues that are told of, those with the most to do first.
MOST_PULSED = 100


class QueuePulse(msgspec.Struct, frozen=True):
    """One queue's numbers."""

    waiting: int
    """Those that are due, and wait for a worker."""
    delayed: int
    """Those that are not due yet."""
    qsize: int
    """Both together: what `maxsize` bounds."""
    taken: int
    """Slots of a bounded queue that have jobs; 0 without a bound."""
    beyond: int
    """Jobs of a bounded queue beyond its bound: retried, given back, or put before the bound was lowered."""
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
    """Both since the queue began, so that a viewer who misses one pulse misses no job."""
    rate_in: float
    rate_out: float
    workers: int
    busy: int
    belt: Belt


class Pulse(msgspec.Struct, frozen=True):
    """All numbers of one moment."""

    at: float
    interval: float
    """Seconds until the next one."""
    waiting: int
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
    """Jobs that ended in the last 60 seconds; None until somebody has looked for so long."""
    queues: dict[str, QueuePulse]
    whole: bool = True
    """Whether this tells of all queues, or only of what has changed since the one before."""
    dropped: tuple[str, ...] = ()
    """Queues that the one before told of, and this one does not."""

    def since(self, before: Pulse) -> Pulse:
        """Give the same for somebody who has heard this one before: only the queues that have changed."""
        told = before.queues
        changed = {name: one for name, one in self.queues.items() if told.get(name) != one}
        dropped = tuple(sorted(told.keys() - self.queues.keys()))
        return msgspec.structs.replace(self, queues=changed, whole=False, dropped=dropped)


class Version(msgspec.Struct, frozen=True):
    """The state that a watched page is in: another text after each change, `gone` where there is no such thing."""

    address: str
    version: str


class Moment(msgspec.Struct, frozen=True):
    """What a stream would say now."""

    pulse: Pulse
    changed: list[Version]


class Trouble(msgspec.Struct, frozen=True):
    """Why there is nothing to tell: the server does not answer, or refuses to."""

    why: str
    hint: str = msgspec.field(name="try")


def pulse_of(snapshot: Snapshot, interval: float) -> Pulse:
    """Give the numbers of a snapshot."""
    loads = {
        name: load_of(count, snapshot.rates.get(name, Rate())) for name, count in snapshot.queues.items()
    }
    busiest = snapshot.busiest
    order = list(dict.fromkeys((*busiest.few, *busiest.many, *by_rank(loads))))[:MOST_PULSED]
    crew = snapshot.worker_counts
    rates = list(snapshot.rates.values())
    counts = list(snapshot.queues.values())
    return Pulse(
        at=round(snapshot.at, 3),
        interval=interval,
        waiting=sum(count.ready for count in counts),
        delayed=sum(count.delayed for count in counts),
        oldest=snapshot.oldest,
        running=sum(count.leased for count in counts),
        dead=sum(count.dead for count in counts),
        workers=crew.all,
        busy=crew.busy,
        leaving=crew.leaving,
        rate_in=round(sum(rate.accepted for rate in rates), 2),
        rate_out=round(sum(rate.ended for rate in rates), 2),
        per_minute=snapshot.per_minute,
        queues={name: queue_pulse(snapshot, name) for name in order},
    )


def queue_pulse(snapshot: Snapshot, name: str) -> QueuePulse:
    """Give the numbers of one queue that the snapshot knows."""
    count = snapshot.queues[name]
    rate = snapshot.rates.get(name, Rate())
    workers = snapshot.workers_of(name)
    return QueuePulse(
        waiting=count.ready,
        delayed=count.delayed,
        qsize=count.waiting,
        taken=taken(count),
        beyond=count.waiting - taken(count) if count.maxsize else 0,
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
