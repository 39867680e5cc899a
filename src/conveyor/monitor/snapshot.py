"""What is known of a whole server at one moment: counts of all queues, reports of all consumers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.monitor import operations, queues, silence, workers
from conveyor.monitor.busiest import NOBODY, Busiest, Load, busiest_of
from conveyor.monitor.rolling_count import UNSEEN, Lately
from conveyor.store import commands, records
from conveyor.store.commands import Count
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from conveyor.monitor.workers import WorkerCounts
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport

#: Seconds between two samples at least, for a rate to be worth saying; else that of before is said again.
SHORTEST = 0.2
#: Seconds that a rate is told of: jobs that take seconds end in bursts, and a rate from one second to the next would
#: mostly be nothing.
WINDOW = 6.0
#: Queues of which one sample asks since when the job at the head waits; where there are more they take turns.
MOST_HEADS = 20


class Rate(NamedTuple):
    """Jobs per second, over the last few seconds."""

    accepted: float = 0.0
    ended: float = 0.0


class Head(NamedTuple):
    """The job at the head of a queue."""

    put_at: float | None
    """Seconds since 1970 by its producer's clock; None where it is not known."""
    seen: float
    """When the server was asked."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One sample. Nothing in it changes any more, so all viewers share it."""

    at: float
    """Seconds since 1970, by the server's clock."""
    queues: Mapping[str, Count] = field(default_factory=dict)
    consumers: Sequence[ConsumerReport] = ()
    rates: Mapping[str, Rate] = field(default_factory=dict)
    names: Sequence[str] = ()
    """All queues; one that is new is counted from the next sample on."""
    on_list: Sequence[str] = ()
    """Names of consumers that are to be asked about in the next sample; some may be gone."""
    operations: Sequence[str] = ()
    """Names of the operations over many jobs that began last; some may be forgotten."""
    heads: Mapping[str, Head] = field(default_factory=dict)
    """Of queues in which jobs wait that are due."""
    busiest: Busiest = NOBODY
    past: Sequence[tuple[float, Mapping[str, Count]]] = ()
    """Moments and counts of the samples before, as far back as rates are told of."""
    lately: Lately = UNSEEN
    heard: Mapping[str, float] = field(default_factory=dict)
    """When each consumer on the list last reported, by its own machine's clock; one that left is not on it."""

    @property
    def is_partial(self) -> bool:
        """Whether there is a queue that was not counted yet."""
        return any(name not in self.queues for name in self.names)

    @property
    def per_minute(self) -> int | None:
        """How many jobs ended in the last minute; None until one was looked at as a whole."""
        return self.lately.in_the_last_minute(self.at)

    @property
    def oldest(self) -> float | None:
        """When the job was put that has waited longest, seconds since 1970; None where none waits that is due."""
        return min((head.put_at for head in self.heads.values() if head.put_at is not None), default=None)

    def only(self, shows: Callable[[str], bool], before: Busiest = NOBODY) -> Snapshot:
        """Give what is left of it where only some queues are shown: their counts, and who takes from them.

        Of a worker at a job of another queue it is said that it is busy, not at what. `before` has the busiest ones of
        the sample before, of those that are shown.
        """
        counts = {name: count for name, count in self.queues.items() if shows(name)}
        rates = {name: rate for name, rate in self.rates.items() if name in counts}
        loads = {name: load_of(count, rates.get(name, Rate())) for name, count in counts.items()}
        return replace(
            self,
            queues=counts,
            consumers=[
                _only_of(one, shows) for one in self.consumers if any(shows(name) for name in one.queues)
            ],
            rates=rates,
            names=[name for name in self.names if shows(name)],
            heads={name: head for name, head in self.heads.items() if name in counts},
            busiest=busiest_of(loads, before),
            past=(),
            lately=UNSEEN,
        )

    def with_queue(self, queue: str) -> Snapshot:
        """Return the snapshot with an empty queue of this name if there is none yet, but workers listen to it."""
        if queue in self.queues or not any(queue in one.queues for one in self.consumers):
            return self
        return replace(self, queues={**self.queues, queue: EMPTY})

    def workers_of(self, queue: str) -> list[WorkerReport]:
        """Give the workers that take from a queue."""
        return [
            worker for consumer in self.consumers if queue in consumer.queues for worker in consumer.workers
        ]

    def workers(self) -> list[WorkerReport]:
        """Give all workers."""
        return [worker for consumer in self.consumers for worker in consumer.workers]

    @property
    def worker_counts(self) -> WorkerCounts:
        """How many workers there are, and how many of them are busy or leaving."""
        return workers.counts(self.consumers)


def _only_of(report: ConsumerReport, shows: Callable[[str], bool]) -> ConsumerReport:
    """Give a report without the names of queues that are not shown, and without what is told of their jobs."""
    workers = [
        one if not one.queue or shows(one.queue) else msgspec.structs.replace(one, **_UNSAID)
        for one in report.workers
    ]
    queues = [name for name in report.queues if shows(name)]
    return msgspec.structs.replace(report, queues=queues, workers=workers)


_UNSAID: dict[str, Any] = {
    **dict.fromkeys(("job", "task", "queue", "message"), ""),
    **dict.fromkeys(("busy_for", "done", "total", "kill_in"), 0.0),
    "attempt": 0,
    "cancelling": False,
    "busy": True,
}
NOTHING = Snapshot(0.0)
EMPTY = Count(*[0] * len(Count._fields))


class Sample(NamedTuple):
    """The raw answers of one look, before they are compared with the look before."""

    at: float
    names: list[str]
    counts: dict[str, Count]
    consumers: list[str]
    reports: list[ConsumerReport]
    operations: list[str]
    heads: Mapping[str, float | None] = {}
    heard: Mapping[str, float] = {}


def question(before: Snapshot) -> Query[Sample]:
    """Ask for a sample in one round trip.

    Which queues and consumers there are is known from the sample before, so a new one is counted from the next on.
    """
    parts: list[Query[Any]] = [
        Query((commands.server_time(),), lambda answers: answers[0]),
        queues.names(),
        queues.counts(before.names),
        workers.heard(),
        workers.reports(before.on_list),
        operations.names(0, operations.MOST_OPERATIONS_ON_PAGE),
        records.oldest_waiting(_heads_due(before)),
    ]
    asked = together(parts)
    return Query(asked.commands, lambda answers: _sample(asked.read(answers)))


def _sample(answers: Sequence[Any]) -> Sample:
    at, names, counts, heard, *more = answers
    last = {one.name: one.at for one in heard}
    return Sample(at, names, counts, list(last), *more)._replace(heard=last)


def snapshot_of(sample: Sample, before: Snapshot) -> Snapshot:
    """Make a snapshot of a sample."""
    past = [one for one in (*before.past, (before.at, before.queues)) if sample.at - one[0] <= WINDOW]
    past = past or [(before.at, before.queues)]
    counts = {name: sample.counts[name] for name in sample.names if name in sample.counts}
    rates = {
        name: _rate(name, count, sample.at, past) or before.rates.get(name, Rate())
        for name, count in counts.items()
    }
    seen = {name: Head(at, sample.at) for name, at in sample.heads.items()}
    waiting = {
        name: head for name, head in {**before.heads, **seen}.items() if name in counts and counts[name].ready
    }
    reports = [silence.marked(one, sample.at, sample.heard.get(one.name, 0.0)) for one in sample.reports]
    order = sorted(reports, key=lambda report: (report.host, report.started, report.name))
    return Snapshot(
        sample.at,
        counts,
        order,
        rates,
        sample.names,
        sample.consumers,
        sample.operations,
        waiting,
        busiest_of({name: load_of(count, rates[name]) for name, count in counts.items()}, before.busiest),
        past,
        before.lately.later(sample.at, _ended_since(before.queues, counts)),
        sample.heard,
    )


def _ended_since(before: Mapping[str, Count], now: Mapping[str, Count]) -> int:
    """Give how many jobs have ended of the queues that were counted before."""
    return sum(max(0, ended(now[name]) - ended(before[name])) for name in now.keys() & before.keys())


def load_of(count: Count, rate: Rate) -> Load:
    """Return what a queue has to do."""
    return Load(count.leased + rate.ended, count.live or 0.5 * (rate.accepted > 0 or rate.ended > 0))


def _heads_due(before: Snapshot) -> list[str]:
    """Give the queues whose heads are asked for next: of those in which jobs wait the ones asked longest ago."""
    waiting = [name for name in before.names if name not in before.queues or before.queues[name].ready]
    unseen = Head(None, 0.0)
    return sorted(waiting, key=lambda name: before.heads.get(name, unseen).seen)[:MOST_HEADS]


def is_complete(sample: Sample, before: Snapshot) -> bool:
    """Tell whether all that is there was asked about."""
    return set(sample.names) <= set(before.names) and set(sample.consumers) <= set(before.on_list)


def _rate(name: str, now: Count, at: float, past: Sequence[tuple[float, Mapping[str, Count]]]) -> Rate | None:
    """Give the rate since the queue was first counted; None where that is too short a time to say one."""
    then, old = next(((then, counts[name]) for then, counts in past if name in counts), (at, now))
    seconds = at - then
    if seconds < SHORTEST:
        return None
    return Rate(max(0, now.accepted - old.accepted) / seconds, max(0, ended(now) - ended(old)) / seconds)


def ended(count: Count) -> int:
    """Give how many jobs of a queue have ended, however they did."""
    return count.finished + count.cancelled + count.dead + count.discarded


def in_state(count: Count, state: str) -> int:
    """Give how many jobs of a queue are waiting, delayed, running or dead; of those that ended, how many ever did."""
    if state == "ended":
        return ended(count)
    return {"waiting": count.ready, "delayed": count.delayed, "running": count.leased, "dead": count.dead}[
        state
    ]


def fullest(queues: Mapping[str, Count], names: Iterable[str], state: str) -> list[str]:
    """Give some queues by how many jobs they have in a state, the one with the most first."""
    return sorted(names, key=lambda name: (-in_state(queues[name], state), name))
