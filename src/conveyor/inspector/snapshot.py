"""What is known of a whole server at one moment: counts of all queues, reports of all consumers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.inspector import operations, queues, workers
from conveyor.store import plain
from conveyor.store.commands import Count
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.control import ConsumerReport, WorkerReport

#: Seconds between two samples at least, for a rate to be worth saying; else that of before is said again.
SHORTEST = 0.2
#: Seconds that a rate is told of: jobs that take seconds end in bursts, and a rate from one second to the next would
#: mostly be nothing.
WINDOW = 6.0


class Rate(NamedTuple):
    """Jobs per second, over the last few seconds."""

    accepted: float = 0.0
    ended: float = 0.0


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
    past: Sequence[tuple[float, Mapping[str, Count]]] = ()
    """Moments and counts of the samples before, as far back as rates are told of."""

    @property
    def is_partial(self) -> bool:
        """Whether there is a queue that was not counted yet."""
        return any(name not in self.queues for name in self.names)

    def workers_of(self, queue: str) -> list[WorkerReport]:
        """Give the workers that take from a queue."""
        return [
            worker for consumer in self.consumers if queue in consumer.queues for worker in consumer.workers
        ]

    def workers(self) -> list[WorkerReport]:
        """Give all workers."""
        return [worker for consumer in self.consumers for worker in consumer.workers]


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


def question(before: Snapshot) -> Query[Sample]:
    """Ask for a sample in one round trip.

    Which queues and consumers there are is known from the sample before, so a new one is counted from the next on.
    """
    parts: list[Query[Any]] = [
        Query((plain.server_time(),), lambda answers: answers[0]),
        queues.names(),
        queues.counts(before.names),
        workers.consumers(),
        workers.reports(before.on_list),
        operations.names(0, operations.MOST_OPERATIONS_ON_PAGE),
    ]
    asked = together(parts)
    return Query(asked.commands, lambda answers: Sample(*asked.read(answers)))


def snapshot_of(sample: Sample, before: Snapshot) -> Snapshot:
    """Make a snapshot of a sample."""
    past = [one for one in (*before.past, (before.at, before.queues)) if sample.at - one[0] <= WINDOW]
    past = past or [(before.at, before.queues)]
    counts = {name: sample.counts[name] for name in sample.names if name in sample.counts}
    rates = {
        name: _rate(name, count, sample.at, past) or before.rates.get(name, Rate())
        for name, count in counts.items()
    }
    order = sorted(sample.reports, key=lambda report: (report.host, report.started, report.name))
    return Snapshot(sample.at, counts, order, rates, sample.names, sample.consumers, sample.operations, past)


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
