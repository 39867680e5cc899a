"""Dead jobs in groups of the same failure, and what each group has in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.store import records
from conveyor.store.query import Query
from conveyor.wire import failure
from conveyor.wire.outcome import decode_settled
from conveyor.wire.redaction import redacted_text
from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.store.records import GroupSlice
    from conveyor.wire.outcome import Settled

#: Dead jobs that are read of one queue, which keeps no more, and of all queues together; queues that are read.
MAX_DEAD, BUDGET, MAX_QUEUES = 10_000, 20_000, 500
#: Groups of one page.
MAX_GROUPS = 50


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Dead jobs with the same failure, in one queue or several. The details are those of the job that died last."""

    queue: str
    """The queue of the latest death."""
    fingerprint: str
    """As of `failure.fingerprint`; `lost` for lost jobs; empty if unknown."""
    count: int
    newest: str
    """Id of the job that died last."""
    first_seen: float
    """Time of the first death, seconds since 1970, by the server's clock."""
    last_seen: float
    queues: tuple[str, ...] = ()
    """All queues that have such jobs, the one with the most first."""
    task: str = ""
    """Empty if unknown, as after an expired lease."""
    kind: str = ""
    message: str = ""
    where: str = ""
    """`file:line function` of the innermost location in the user's own code, or empty."""

    @property
    def position(self) -> tuple[int, str]:
        """Time of its latest death, ms since 1970, and that job's id; the group with the latest one comes first."""
        return round(1000 * self.last_seen), self.newest


class Overview(NamedTuple):
    """A page of groups."""

    groups: list[FailureGroup]
    total: int
    """Number of all groups, other pages included."""
    counted: int
    """Dead jobs in all groups."""
    next: str
    """Where the next page begins; empty on the last one."""


def read_counts(dead: Mapping[str, int], budget: int = BUDGET) -> dict[str, int]:
    """Return how many dead jobs to read of each queue, given how many it has: the queue with the most comes first."""
    found = {}
    for name in sorted(dead, key=lambda name: (-dead[name], name))[:MAX_QUEUES]:
        most = min(dead[name], MAX_DEAD, budget)
        if most > 0:
            found[name] = -(-most // records.MAX_ENTRIES) * records.MAX_ENTRIES
            budget -= most
    return found


def groups(queues: Mapping[str, int]) -> Query[list[FailureGroup]]:
    """Return the groups of these queues' dead jobs, the one with the latest death first.

    Reads the given number of jobs per queue, latest death first. One command reads a thousand, so that none blocks the
    server for long, and jobs that die meanwhile may be missing. The same failure in several queues is one group.
    """
    parts = [
        (queue, records.dead_groups(queue, first, min(records.MAX_ENTRIES, most - first)))
        for queue, most in queues.items()
        for first in range(0, most, records.MAX_ENTRIES)
    ]

    def read(replies: Sequence[Any]) -> list[FailureGroup]:
        found: dict[str, list[tuple[str, GroupSlice]]] = {}
        for (queue, _), slices in zip(parts, replies, strict=True):
            for one in slices:
                found.setdefault(one.fingerprint, []).append((queue, one))
        merged = [_group(fingerprint, some) for fingerprint, some in found.items()]
        return sorted(merged, key=lambda group: group.position, reverse=True)

    return Query(tuple(command for _, command in parts), read)


def overview(queues: Mapping[str, int], after: str = "") -> Query[Overview]:
    """Return the page of 50 groups after `after`: counted in one round trip, with details from a second one."""
    start = _position(after)

    def read(every: Sequence[FailureGroup]) -> Query[Overview]:
        rest = [group for group in every if start is None or group.position < start]
        page = rest[:MAX_GROUPS]
        following = "{}-{}".format(*page[-1].position) if len(rest) > len(page) else ""
        counted = sum(group.count for group in every)
        return with_details(page).map(lambda found: Overview(found, len(every), counted, following))

    return groups(queues).map(read)


def with_details(found: Sequence[FailureGroup]) -> Query[list[FailureGroup]]:
    """Return groups with their details, which stay empty if the latest job was retried or discarded meanwhile."""
    return Query(
        tuple(records.fields(group.queue, "reasons", [group.newest]) for group in found),
        lambda replies: [
            group if data is None else _with_details(group, data)
            for group, (data,) in zip(found, replies, strict=True)
        ],
    )


def _position(after: str) -> tuple[int, str] | None:
    moment, dash, job = after.partition("-")
    died = read_figure(moment)
    return (died, job) if dash and died is not None else None


def _group(fingerprint: str, slices: Sequence[tuple[str, GroupSlice]]) -> FailureGroup:
    jobs: Counter[str] = Counter()
    for queue, one in slices:
        jobs[queue] += one.jobs
    queue, newest = max(slices, key=lambda pair: (pair[1].last_seen, pair[1].newest))
    return FailureGroup(
        queue,
        fingerprint,
        jobs.total(),
        newest.newest,
        min(one.first_seen for _, one in slices),
        newest.last_seen,
        tuple(name for name, _ in jobs.most_common()),
    )


def _with_details(group: FailureGroup, data: bytes) -> FailureGroup:
    try:
        settled: Settled = decode_settled(data)
        error = settled.error()
    except (msgspec.MsgspecError, ValueError):
        return replace(group, message="unreadable outcome")
    place = failure.innermost(getattr(error, "traceback", ""))
    return replace(
        group,
        task=settled.run.task if settled.run is not None else "",
        kind=getattr(error, "kind", ""),
        message=redacted_text(getattr(error, "reason", "")),
        where=str(place or ""),
    )
