"""Questions about dead letters: which of them failed alike, and what a group of them says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
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

#: Dead letters of one queue that are looked at: a queue keeps no more. Of all queues together, and of how many queues.
MOST_DEAD, LOOKED, MOST_QUEUES = 10_000, 20_000, 500
#: Groups of which one question gives samples.
MOST_SAMPLES = 50


class DeadPlace(NamedTuple):
    """The place of a dead letter among those of all queues: they stand by time of death, then by id, the last first."""

    at: int
    """Time of death, ms since 1970."""
    id: str


@dataclass(frozen=True, slots=True)
class GroupCount:
    """Dead letters that failed alike, in one queue or several."""

    queue: str
    """Where the one is that died last."""
    fingerprint: str
    """As `failure.fingerprint` gives it; `lost` where no worker was heard of; empty where nothing is known."""
    count: int
    newest: str
    """Id of the job that died last."""
    first_seen: float
    """Time of the first death, seconds since 1970, by the server's clock."""
    last_seen: float
    queues: tuple[str, ...] = ()
    """All queues that have some, those with the most first."""

    @property
    def place(self) -> DeadPlace:
        """Where it stands among groups: the one with the latest death comes first."""
        return DeadPlace(round(1000 * self.last_seen), self.newest)


class Sample(NamedTuple):
    """What a group of dead letters says, by the one that died last."""

    group: GroupCount
    task: str
    """Empty where nothing is known, as after a lease that ran out."""
    kind: str
    message: str
    where: str
    """`file:line function` of the innermost place in the user's own code; empty where there is none."""


class Overview(NamedTuple):
    """Some groups of dead letters, and what there is besides."""

    samples: list[Sample]
    groups: int
    """All groups, those of other pages included."""
    counted: int
    """Dead letters in all groups."""
    next: str
    """Names the place behind the last group; empty if there are no more."""


def looked_at(dead: Mapping[str, int], budget: int = LOOKED) -> dict[str, int]:
    """Choose how many dead letters of each queue to look at, given how many there are: those with the most first."""
    found = {}
    for name in sorted(dead, key=lambda name: (-dead[name], name))[:MOST_QUEUES]:
        most = min(dead[name], MOST_DEAD, budget)
        if most > 0:
            found[name] = -(-most // records.MAX_ENTRIES) * records.MAX_ENTRIES
            budget -= most
    return found


def groups(queues: Mapping[str, int]) -> Query[list[GroupCount]]:
    """Which groups the dead letters of these queues form, the one with the latest death first.

    Of each queue as many are looked at as is said, those that died last, a thousand at a time, so that no command keeps
    the server for long; they are counted while others may die. Those that failed alike in several queues are one group.
    """
    asked = [
        (queue, records.dead_groups(queue, first, min(records.MAX_ENTRIES, most - first)))
        for queue, most in queues.items()
        for first in range(0, most, records.MAX_ENTRIES)
    ]

    def read(answers: Sequence[Any]) -> list[GroupCount]:
        found: dict[str, list[tuple[str, GroupSlice]]] = {}
        for (queue, _), slices in zip(asked, answers, strict=True):
            for one in slices:
                found.setdefault(one.fingerprint, []).append((queue, one))
        merged = [_group(fingerprint, some) for fingerprint, some in found.items()]
        return sorted(merged, key=lambda group: group.place, reverse=True)

    return Query(tuple(command for _, command in asked), read)


def overview(queues: Mapping[str, int], after: str = "") -> Query[Overview]:
    """What the 50 groups behind a place say: counted in one round trip, their reasons read in a second one.

    A group whose reason is not there, as that of a job which was revived in between, has empty texts.
    """
    place = _place(after)

    def read(every: Sequence[GroupCount]) -> Query[Overview]:
        behind = [group for group in every if place is None or group.place < place]
        page = behind[:MOST_SAMPLES]
        following = "{0.at}-{0.id}".format(page[-1].place) if len(behind) > len(page) else ""
        counted = sum(group.count for group in every)

        def show(found: Sequence[Sample]) -> Overview:
            told = {one.group: one for one in found}
            shown = [told.get(group, Sample(group, "", "", "", "")) for group in page]
            return Overview(shown, len(every), counted, following)

        return samples(page).map(show)

    return groups(queues).map(read)


def _place(after: str) -> DeadPlace | None:
    moment, dash, job = after.partition("-")
    died = read_figure(moment)
    return DeadPlace(died, job) if dash and died is not None else None


def samples(wanted: Sequence[GroupCount]) -> Query[list[Sample]]:
    """What these groups say; of at most 50 of them, in their order.

    A group whose job was revived or dropped meanwhile is left out.
    """
    wanted = wanted[:MOST_SAMPLES]
    asked = [
        (queue, part)
        for queue in dict.fromkeys(group.queue for group in wanted)
        for part in _parts([group for group in wanted if group.queue == queue])
    ]

    def read(answers: Sequence[Any]) -> list[Sample]:
        found = {}
        for (_, part), reasons in zip(asked, answers, strict=True):
            for group, data in zip(part, reasons, strict=True):
                if data is not None:
                    found[group] = _sample(group, data)
        return [found[group] for group in wanted if group in found]

    return Query(
        tuple(records.fields(queue, "reasons", [one.newest for one in part]) for queue, part in asked), read
    )


def _group(fingerprint: str, slices: Sequence[tuple[str, GroupSlice]]) -> GroupCount:
    jobs: Counter[str] = Counter()
    for queue, one in slices:
        jobs[queue] += one.jobs
    queue, newest = max(slices, key=lambda pair: (pair[1].last_seen, pair[1].newest))
    return GroupCount(
        queue,
        fingerprint,
        jobs.total(),
        newest.newest,
        min(one.first_seen for _, one in slices),
        newest.last_seen,
        tuple(name for name, _ in jobs.most_common()),
    )


def _parts(items: list[GroupCount], size: int = 10) -> list[list[GroupCount]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _sample(group: GroupCount, data: bytes) -> Sample:
    try:
        settled: Settled = decode_settled(data)
        error = settled.error()
    except (msgspec.MsgspecError, ValueError):
        return Sample(group, "", "", "what is kept of it cannot be read", "")
    place = failure.innermost(getattr(error, "traceback", ""))
    return Sample(
        group,
        settled.run.task if settled.run is not None else "",
        getattr(error, "kind", ""),
        redacted_text(getattr(error, "reason", "")),
        str(place or ""),
    )
