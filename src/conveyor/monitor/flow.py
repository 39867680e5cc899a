"""The jobs around a job: which come before and after it, over several queues, and which waits for which.

They are read from the server along the links between jobs, the nearest first: within a queue by one script, from one
queue to another in a round trip for each step.
"""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.monitor import waits
from conveyor.monitor.job_data import STATES, preview, read_ending, read_lease
from conveyor.store import commands
from conveyor.store.query import Query
from conveyor.wire.codec import try_decode
from conveyor.wire.outcome import Run, Settled, decode_settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.store.commands import FlowJob

#: Jobs that are read, those of one script, and round trips.
MAX_JOBS, SLICE, MAX_TRIPS = 300, 100, 100
#: States of jobs that have ended.
ENDED = frozenset({"done", "failed", "lost", "cancelled", "expired", "gone"})
#: Passes over the levels that bring jobs close to those before and after them.
_PASSES = 4
#: How the last run begins in msgpack, an array of five or six fields, and the number before it: a float.
_RUN_HEADS, _FLOAT = {0x95, 0x96}, 0xCB
_decode_run = msgspec.msgpack.Decoder(Run).decode

#: Queue and id of a job.
JobKey = tuple[str, str]


class FlowNode(NamedTuple):
    """One job of a graph."""

    id: str
    queue: str
    state: str
    """waiting, deferred, delayed, running, done, failed, lost, cancelled, expired or gone."""
    task: str
    """Empty for an item, and if unknown."""
    before: tuple[JobKey, ...] = ()
    """Jobs of the graph that it comes after."""
    after: tuple[JobKey, ...] = ()
    """Jobs of the graph that come after it."""
    level: int = 0
    """How many jobs are in a row before it."""
    waits_for: int = 0
    """How many jobs before it have not ended, of a deferred one."""
    waits_on: tuple[JobKey, ...] = ()
    """Those of them in this graph."""
    limit: str = ""
    """The key of the limit whose turn it waits for; it may hold arguments."""
    since: float | None = None
    """When its worker claimed it, seconds since 1970, while it is running."""
    ended: float | None = None
    """When its last run ended, seconds since 1970, or None if unknown."""
    elapsed: float | None = None
    """Seconds that the last run took."""
    more: int = 0
    """Jobs before and after it that were not read."""

    @property
    def key(self) -> JobKey:
        """Queue and id."""
        return self.queue, self.id

    def waits_text(self, *, shown: bool = True) -> str:
        """Return what a deferred job waits for, or ""; the key of a limit only if `shown`."""
        if self.state != "deferred":
            return ""
        if self.waits_for:
            return waits.jobs_text(self.waits_for, [job_id for _, job_id in self.waits_on])
        if not self.limit:
            return "other jobs"
        return f"its turn: limit {waits.key_text(self.limit)}" if shown else "its turn"


class Flow(NamedTuple):
    """The graph around a job."""

    of: JobKey
    """The job that it was asked for."""
    jobs: Sequence[FlowNode]
    """By level, and in each in an order in which few lines cross."""
    left_out: int = 0
    """Jobs next to these that were not read; beyond them there may be more."""

    @property
    def levels(self) -> list[list[FlowNode]]:
        """The jobs of each level."""
        found: list[list[FlowNode]] = []
        for one in self.jobs:
            while len(found) <= one.level:
                found.append([])
            found[one.level].append(one)
        return found

    def __contains__(self, key: object) -> bool:
        """Return True if a job is in the graph, by queue and id."""
        return any(one.key == key for one in self.jobs)


def flow(queue: str, job_id: str, most: int = MAX_JOBS, trips: int = MAX_TRIPS) -> Query[Flow]:
    """Return the graph around a job: at most `most` jobs, the nearest ones, found in at most `trips` round trips."""
    return _walk((queue, job_id), {}, {queue: [job_id]}, most, trips)


def _walk(
    of: JobKey, found: Mapping[JobKey, FlowJob], wanted: Mapping[str, Sequence[str]], most: int, trips: int
) -> Query[Flow]:
    """Query the wanted jobs by queue, and then those next to them, until there are none or enough."""
    known: dict[str, list[str]] = defaultdict(list)
    for queue, job_id in found:
        known[queue].append(job_id)
    count = min(SLICE, most - len(found))
    asked = tuple(commands.flow(queue, ids[:count], known[queue], count) for queue, ids in wanted.items())

    def read(replies: Sequence[Sequence[FlowJob]]) -> Any:
        every = dict(found)
        for queue, jobs in zip(wanted, replies, strict=True):
            for job in jobs[: most - len(every)]:
                every[queue, job.id] = job
        following = _next(every)
        if not following or len(every) >= most or trips <= 1:
            return _graph(of, every)
        return _walk(of, every, following, most, trips - 1)

    return Query(asked, read)


def _next(found: Mapping[JobKey, FlowJob]) -> dict[str, list[str]]:
    """Return the jobs next to the known ones, by queue, the nearest first."""
    wanted: dict[str, dict[str, None]] = defaultdict(dict)
    for job in found.values():
        for link in job.links:
            if (link.queue, link.id) not in found:
                wanted[link.queue][link.id] = None
    return {queue: list(ids) for queue, ids in wanted.items()}


def _graph(of: JobKey, found: Mapping[JobKey, FlowJob]) -> Flow:
    before: dict[JobKey, dict[JobKey, None]] = {key: {} for key in found}
    after: dict[JobKey, dict[JobKey, None]] = {key: {} for key in found}
    for key, job in found.items():
        for link in job.links:
            other = (link.queue, link.id)
            if other in found:
                first, second = (other, key) if link.is_before else (key, other)
                after[first][second] = before[second][first] = None
    levels = _levels(before, after)
    ordered = _ordered(levels, before, after)
    states = {key: _state(job) for key, job in found.items()}
    nodes = [_node(key, found[key], levels[key], before[key], after[key], states) for key in ordered]
    return Flow(of, nodes, _left_out(nodes, found))


def _left_out(nodes: Iterable[FlowNode], found: Mapping[JobKey, FlowJob]) -> int:
    """Return the number of jobs next to the found ones.

    A link that was not read may lead to a found job, whose own link back was. Jobs next to several found ones count
    once for each whose links to them were not read.
    """
    unread = {(queue, job_id) for queue, ids in _next(found).items() for job_id in ids}
    return len(unread) + sum(one.more for one in nodes)


def _levels(
    before: Mapping[JobKey, Iterable[JobKey]], after: Mapping[JobKey, Iterable[JobKey]]
) -> dict[JobKey, int]:
    """Return of each job how many jobs are in a row before it. Jobs in a cycle, which no put makes, are at the end."""
    levels = dict.fromkeys(before, 0)
    left = {key: len(list(some)) for key, some in before.items()}
    ready = deque(key for key, count in left.items() if not count)
    while ready:
        key = ready.popleft()
        for other in after[key]:
            levels[other] = max(levels[other], levels[key] + 1)
            left[other] -= 1
            if not left[other]:
                ready.append(other)
    return levels


def _ordered(
    levels: Mapping[JobKey, int],
    before: Mapping[JobKey, Iterable[JobKey]],
    after: Mapping[JobKey, Iterable[JobKey]],
) -> list[JobKey]:
    """Return the jobs by level; in each level, those with close neighbors are close to each other."""
    rows: list[list[JobKey]] = [[] for _ in range(max(levels.values(), default=-1) + 1)]
    for key in sorted(levels, key=lambda key: (key[1], key[0])):
        rows[levels[key]].append(key)
    places: dict[JobKey, float] = {}

    def settle(row: list[JobKey]) -> None:
        places.update((key, place - (len(row) - 1) / 2) for place, key in enumerate(row))

    for row in rows:
        settle(row)
    for number in range(_PASSES):
        neighbors, some = (before, rows) if number % 2 == 0 else (after, rows[::-1])
        for row in some:
            means = {key: _mean(places[key], [places[one] for one in neighbors[key]]) for key in row}
            row.sort(key=means.__getitem__)
            settle(row)
    return [key for row in rows for key in row]


def _mean(own: float, others: Sequence[float]) -> float:
    return sum(others) / len(others) if others else own


def _node(
    key: JobKey,
    job: FlowJob,
    level: int,
    before: Iterable[JobKey],
    after: Iterable[JobKey],
    states: Mapping[JobKey, str],
) -> FlowNode:
    settled, run = _outcome(job)
    terms = job.detail if job.state == "deferred" else b""
    before, after = tuple(before), tuple(after)
    read = {(link.queue, link.id) for link in job.links}
    ended = None if settled is None or run is None else run.started + settled.elapsed
    return FlowNode(
        id=key[1],
        queue=key[0],
        state=states[key],
        task=preview(job.data, job.size).task if job.size else run.task if run is not None else "",
        before=before,
        after=after,
        level=level,
        waits_for=job.after if terms else 0,
        waits_on=tuple(one for one in before if states[one] not in ENDED) if terms else (),
        limit=(waits.key_of(terms) or "") if terms[:1] == b"b" else "",
        since=read_lease(job.detail).since if job.state == "leased" else None,
        ended=ended,
        elapsed=None if settled is None or run is None else settled.elapsed,
        more=job.total - len(read.union(before, after)),
    )


def _state(job: FlowJob) -> str:
    if job.state in {"over", "dead"}:
        return read_ending(job.detail) or "gone"
    return STATES.get(job.state, job.state)


def _outcome(job: FlowJob) -> tuple[Settled | None, Run | None]:
    """Return the outcome of a finished job and its last run, or None each; of a long outcome without the result."""
    if job.state not in {"over", "dead"}:
        return None, None
    if not job.tail:
        settled = try_decode(decode_settled, job.detail)
        return settled, None if settled is None else settled.run
    for place in range(9, len(job.tail)):
        if job.tail[place] in _RUN_HEADS and job.tail[place - 9] == _FLOAT:
            run = try_decode(_decode_run, job.tail[place:])
            if run is not None:
                (elapsed,) = struct.unpack(">d", job.tail[place - 8 : place])
                return Settled(_state(job), msgspec.Raw(b"\xc0"), elapsed, run), run
    return None, None
