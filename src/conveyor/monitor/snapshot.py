"""The state of a whole server at one moment: counts and rates of all queues, and the reports of all consumers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.monitor import bulk, workers
from conveyor.monitor.job_data import INDEXES
from conveyor.store import commands, fitness, records
from conveyor.store.commands import Count
from conveyor.store.query import Query, together
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.monitor.workers import WorkerCounts
    from conveyor.store.control_channel import LastSeen
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport


MINUTE = 60.0
#: Seconds between two notes of a rolling count.
_NOTE_INTERVAL = 0.9
#: Seconds of age up to which a note describes the last minute; polls may be half of that apart.
_MAX_NOTE_AGE = 90.0
#: Queues of the short and of the long list of busiest queues.
FEW, MANY = 6, 20
#: A queue is clearly ahead of another if it has more than this factor times its jobs, plus this many.
AHEAD_FACTOR, AHEAD_BY = 2, 5


class Rate(NamedTuple):
    """Jobs per second, over the last few seconds."""

    accepted: float = 0.0
    ended: float = 0.0


class RollingCount(NamedTuple):
    """Number of jobs that finished in the last minute, from totals noted at several moments of it and one before."""

    total: int = 0
    notes: tuple[tuple[float, int], ...] = ()

    def add(self, at: float, more: int) -> RollingCount:
        """Return the count at a later moment, in seconds since 1970, after `more` jobs finished."""
        total, notes = self.total + more, self.notes
        if notes and at < notes[-1][0]:  # the clock was set back
            notes = ()
        older = [note for note in notes if at - note[0] >= MINUTE][-1:]
        notes = (*older, *(note for note in notes if at - note[0] < MINUTE))
        if not notes or at - notes[-1][0] >= _NOTE_INTERVAL:
            notes = (*notes, (at, total))
        return RollingCount(total, notes)

    def last_minute(self, at: float) -> int | None:
        """Return how many jobs finished in the last minute, or None if not polled throughout it."""
        since, then = next(iter(self.notes), (at, 0))
        seconds = at - since
        return round((self.total - then) * MINUTE / seconds) if MINUTE <= seconds <= _MAX_NOTE_AGE else None


class Load(NamedTuple):
    """What a queue has to do. A queue with work ranks before any without, however many jobs wait there."""

    work: float
    """Running jobs, plus those that finished per second recently."""
    live: float
    """Unfinished jobs; a fraction if the queue is only between two jobs."""


class Busiest(NamedTuple):
    """Names of the queues with the most to do, sorted."""

    few: Sequence[str] = ()
    many: Sequence[str] = ()


NO_COUNT = RollingCount()
NONE_BUSY = Busiest()


def busiest_of(loads: Mapping[str, Load], before: Busiest) -> Busiest:
    """Return the busiest queues. One of the queues `before` is replaced only by a queue that is clearly ahead.

    Otherwise two queues that are about as busy would alternate with every poll.
    """
    return Busiest(_choose(loads, before.few, FEW), _choose(loads, before.many, MANY))


def by_rank(loads: Mapping[str, Load]) -> list[str]:
    """Return all queues, the one with the most to do first."""
    return sorted(loads, key=lambda name: (-loads[name].work, -loads[name].live, name))


def _choose(loads: Mapping[str, Load], before: Sequence[str], most: int) -> list[str]:
    """Keep the queues of before, fill up with the next ones, and replace those that others are clearly ahead of."""
    ranked = by_rank(loads)
    ranks = {name: rank for rank, name in enumerate(ranked)}
    kept = [name for name in before if name in loads][:most]
    known = set(kept)
    others = [name for name in ranked if name not in known]
    room = most - len(kept)
    chosen, others = [*kept, *others[:room]], others[room:]
    chosen.sort(key=ranks.__getitem__)
    for position, other in enumerate(others[:most], 1):
        if not _is_ahead(loads[other], loads[chosen[-position]]):
            break
        chosen[-position] = other
    return sorted(chosen)


def _is_ahead(one: Load, other: Load) -> bool:
    return _exceeds(one.work, other.work) or (not other.work and _exceeds(one.live, other.live))


def _exceeds(one: float, other: float) -> bool:
    return one > (AHEAD_FACTOR * other + AHEAD_BY if other else 0)


#: Seconds between two polls from which a rate is reliable; otherwise the previous rate is kept.
MIN_SECONDS = 0.2
#: Seconds that a rate covers: long jobs finish in bursts, so the rate of one second would mostly be zero.
RATE_SECONDS = 6.0
#: Queues whose head one poll asks for; more of them take turns.
MAX_HEADS = 20


class Head(NamedTuple):
    """The job at the head of a queue."""

    put_at: float | None
    """Seconds since 1970 by its producer's clock; None if unknown."""
    seen: float
    """When the server was polled."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a server at one moment. Immutable, so all viewers share it."""

    at: float
    """Seconds since 1970, by the server's clock."""
    queues: Mapping[str, Count] = field(default_factory=dict)
    consumers: Sequence[ConsumerReport] = ()
    rates: Mapping[str, Rate] = field(default_factory=dict)
    names: Sequence[str] = ()
    """All queues; a new one is counted from the next poll on."""
    operations: Sequence[str] = ()
    """Names of the latest bulk operations; some may be forgotten."""
    heads: Mapping[str, Head] = field(default_factory=dict)
    """Of queues with waiting jobs."""
    busiest: Busiest = NONE_BUSY
    past: Sequence[tuple[float, Mapping[str, Count]]] = ()
    """Times and counts of earlier polls, as many as rates cover."""
    finished: RollingCount = NO_COUNT
    reported: Mapping[str, float] = field(default_factory=dict)
    """When each listed consumer last reported, by its own machine's clock; a consumer that exited is not listed."""

    @property
    def is_partial(self) -> bool:
        """True if a queue has not been counted yet."""
        return any(name not in self.queues for name in self.names)

    @property
    def per_minute(self) -> int | None:
        """Number of jobs that finished in the last minute, or None if not polled throughout it."""
        return self.finished.last_minute(self.at)

    @property
    def oldest(self) -> float | None:
        """When the oldest waiting job was put, seconds since 1970, or None without waiting jobs."""
        return min((head.put_at for head in self.heads.values() if head.put_at is not None), default=None)

    @property
    def worker_counts(self) -> WorkerCounts:
        """Numbers of all, busy and leaving workers."""
        return workers.counts(self.consumers)

    def workers(self) -> list[WorkerReport]:
        """Return all workers."""
        return [worker for one in self.consumers for worker in one.workers]

    def workers_of(self, queue: str) -> list[WorkerReport]:
        """Return the workers that take from a queue."""
        return [worker for one in self.consumers if queue in one.queues for worker in one.workers]

    def rate_of(self, queue: str) -> Rate:
        """Return the rate of a queue, zero if unknown."""
        return self.rates.get(queue, Rate())

    def load_of(self, queue: str) -> Load:
        """Return what a queue has to do."""
        return _load(self.queues[queue], self.rate_of(queue))

    def with_queue(self, queue: str) -> Snapshot:
        """Return the snapshot with an empty queue of this name if there is none yet, but workers take from it."""
        if queue in self.queues or not any(queue in one.queues for one in self.consumers):
            return self
        return replace(self, queues={**self.queues, queue: EMPTY})

    def silent_since(self, consumer: str) -> float | None:
        """Return when a silent consumer last reported, or None if it is not silent or no longer listed."""
        report = next((one for one in self.consumers if one.name == consumer), None)
        listed_at = self.reported.get(consumer, 0.0)
        if report is not None:
            return workers.silent_since(report, self.at, listed_at)
        return listed_at if listed_at and self.at - listed_at > workers.SILENT_AFTER else None

    def job_silent_since(self, worker: str, claimed: float | None) -> float | None:
        """Return the last sign of life of a running job's worker if its consumer is silent, else None.

        That is the last report or the claim, whichever is later. A job that a program took with `Queue.get` has no
        consumer.
        """
        consumer, claimed = control_messages.consumer_of(worker), claimed or 0.0
        if consumer == worker:
            return None
        last = self.silent_since(consumer)
        known = consumer in self.reported or any(one.name == consumer for one in self.consumers)
        if last is None and not known and self.at - claimed > workers.SILENT_AFTER:
            last = claimed  # it is no longer listed; right after the claim its report may not be polled yet
        return None if last is None else max(last, claimed)


NOTHING = Snapshot(0.0)
EMPTY = Count(*[0] * len(Count._fields))


class Sample(NamedTuple):
    """The replies of one poll, in their order."""

    at: float
    names: Sequence[str]
    counts: Mapping[str, Count]
    last_reports: Sequence[LastSeen] = ()
    reports: Sequence[ConsumerReport] = ()
    operations: Sequence[str] = ()
    heads: Mapping[str, float | None] = {}


def query(before: Snapshot) -> Query[Snapshot]:
    """Return the query of one poll, in one round trip.

    The snapshot before names the queues and consumers, so a new one is included from the next poll on.
    """
    parts: list[Query[Any]] = [
        server_time(),
        queue_names(),
        queue_counts(before.names),
        workers.last_reports(),
        workers.reports(list(before.reported)),
        bulk.operation_names(0, bulk.MAX_LISTED),
        records.oldest_waiting(_due_heads(before)),
    ]
    return together(parts).map(lambda replies: snapshot_of(Sample(*replies), before))


def snapshot_of(sample: Sample, before: Snapshot) -> Snapshot:
    """Return the snapshot of a sample, given the snapshot before."""
    at = sample.at
    past = [one for one in (*before.past, (before.at, before.queues)) if at - one[0] <= RATE_SECONDS]
    past = past or [(before.at, before.queues)]
    counts = {name: sample.counts[name] for name in sample.names if name in sample.counts}
    rates = {name: _rate(name, count, at, past) or before.rate_of(name) for name, count in counts.items()}
    loads = {name: _load(count, rates[name]) for name, count in counts.items()}
    heads = {**before.heads, **{name: Head(put_at, at) for name, put_at in sample.heads.items()}}
    reported = {one.name: one.at for one in sample.last_reports}
    reports = [workers.with_silence(one, at, reported.get(one.name, 0.0)) for one in sample.reports]
    return Snapshot(
        at=at,
        queues=counts,
        consumers=sorted(reports, key=lambda report: (report.host, report.started, report.name)),
        rates=rates,
        names=sample.names,
        operations=sample.operations,
        heads={name: head for name, head in heads.items() if name in counts and counts[name].ready},
        busiest=busiest_of(loads, before.busiest),
        past=past,
        finished=before.finished.add(at, _ended_since(before.queues, counts)),
        reported=reported,
    )


def is_complete(found: Snapshot, before: Snapshot) -> bool:
    """Return True if the poll after `before` included all queues and consumers."""
    return set(found.names) <= set(before.names) and found.reported.keys() <= before.reported.keys()


def server_time() -> Query[float]:
    """Return the time of the server's clock, seconds since 1970."""
    return Query((commands.server_time(),), lambda replies: replies[0])


def queue_names() -> Query[list[str]]:
    """Return the names of all queues that were ever put to, sorted."""
    return Query((commands.queue_names(),), lambda replies: list(replies[0]))


def queue_counts(queues: Sequence[str]) -> Query[dict[str, Count]]:
    """Return the number of jobs by state, for each queue."""
    return Query(
        tuple(commands.count(name) for name in queues),
        lambda replies: dict(zip(queues, replies, strict=True)),
    )


def queue_memory(queues: Sequence[str]) -> Query[dict[str, int]]:
    """Return the approximate bytes of memory that each queue's unfinished jobs take, estimated from five samples."""

    def read(replies: Sequence[int]) -> dict[str, int]:
        pairs = zip(queues, replies[::2], replies[1::2], strict=True)
        return {queue: jobs + ready for queue, jobs, ready in pairs}

    return Query(tuple(records.memory(queue, index) for queue in queues for index in ("jobs", "ready")), read)


def server_version() -> Query[str]:
    """Return name and version of the server, such as `redis 7.2.4` or `valkey 8.0.1`."""

    def read(replies: Sequence[Mapping[str, str]]) -> str:
        info = replies[0]
        name = "valkey" if "valkey_version" in info else "redis"
        return f"{name} {info.get(f'{name}_version', '?')}"

    return Query((fitness.info("server"),), read)


def ended(count: Count) -> int:
    """Return how many jobs of a queue have finished, whatever their outcome."""
    return count.finished + count.cancelled + count.dead + count.discarded


def in_state(count: Count, state: str) -> int:
    """Return the number of a queue's waiting, deferred, delayed, running, dead or (ever) ended jobs."""
    if state == "ended":
        return ended(count)
    number: int = getattr(count, INDEXES[state])
    return number


def fullest(queues: Mapping[str, Count], names: Iterable[str], state: str) -> list[str]:
    """Return queues by their number of jobs in a state, the largest first."""
    return sorted(names, key=lambda name: (-in_state(queues[name], state), name))


def _ended_since(before: Mapping[str, Count], now: Mapping[str, Count]) -> int:
    """Return how many jobs have finished in the queues that were counted before."""
    return sum(max(0, ended(now[name]) - ended(before[name])) for name in now.keys() & before.keys())


def _load(count: Count, rate: Rate) -> Load:
    return Load(count.leased + rate.ended, count.live or 0.5 * (rate.accepted > 0 or rate.ended > 0))


def _due_heads(before: Snapshot) -> list[str]:
    """Return the queues whose heads to ask for: of those with waiting jobs, the ones polled longest ago."""
    waiting = [name for name in before.names if name not in before.queues or before.queues[name].ready]
    unseen = Head(None, 0.0)
    return sorted(waiting, key=lambda name: before.heads.get(name, unseen).seen)[:MAX_HEADS]


def _rate(name: str, now: Count, at: float, past: Sequence[tuple[float, Mapping[str, Count]]]) -> Rate | None:
    """Return the rate since the first of the past counts, or None if that is too short a time."""
    then, old = next(((then, counts[name]) for then, counts in past if name in counts), (at, now))
    seconds = at - then
    if seconds < MIN_SECONDS:
        return None
    return Rate(max(0, now.accepted - old.accepted) / seconds, max(0, ended(now) - ended(old)) / seconds)
