"""Questions about dead letters: which of them failed alike, and what a group of them says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor import failure
from conveyor.outcome import decode_settled
from conveyor.redaction import redacted_text
from conveyor.store import plain, records
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.outcome import Settled
    from conveyor.store.commands import Command
    from conveyor.store.records import GroupSlice

#: Dead letters of one queue that are looked at: a queue keeps no more.
MOST_DEAD = 10_000
#: Groups of which one question gives samples.
MOST_SAMPLES = 50


@dataclass(frozen=True, slots=True)
class GroupCount:
    """Dead letters of a queue that failed alike."""

    queue: str
    fingerprint: str
    """As `failure.fingerprint` gives it; `lost` where no worker was heard of; empty where nothing is known."""
    count: int
    newest: str
    """Id of the job that died last."""
    first_seen: float
    """Time of the first death, seconds since 1970, by the server's clock."""
    last_seen: float


class Sample(NamedTuple):
    """What a group of dead letters says, by the one that died last."""

    group: GroupCount
    task: str
    """Empty where nothing is known, as after a lease that ran out."""
    kind: str
    message: str
    where: str
    """`file:line function` of the innermost place in the user's own code; empty where there is none."""


def groups(queues: Sequence[str], most: int = MOST_DEAD) -> Query[list[GroupCount]]:
    """Which groups the dead letters of these queues form, the one with the latest death first.

    Of each queue the `most` that died last are looked at, a thousand at a time, so that no command keeps the server for
    long; they are counted while others may die.
    """
    asked = _slices(queues, most)
    return Query(
        tuple(command for _, command in asked),
        lambda answers: [group for group, _ in _merged(asked, answers)],
    )


def overview(queues: Sequence[str], most: int = MOST_DEAD) -> Query[tuple[list[Sample], int]]:
    """What the 50 groups with the latest death say, as `groups` and `samples` do, but in one round trip.

    The number is that of all groups. A group whose reason is not there is shown with empty texts.
    """
    asked = _slices(queues, most, MOST_SAMPLES)

    def read(answers: Sequence[Any]) -> tuple[list[Sample], int]:
        found = _merged(asked, answers)
        shown = [
            _sample(group, reason) if reason else Sample(group, "", "", "", "")
            for group, reason in found[:MOST_SAMPLES]
        ]
        return shown, len(found)

    return Query(tuple(command for _, command in asked), read)


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
        tuple(plain.fields(queue, "reasons", [one.newest for one in part]) for queue, part in asked), read
    )


def _slices(queues: Sequence[str], most: int, told: int = 0) -> list[tuple[str, Command]]:
    return [
        (queue, records.dead_groups(queue, first, min(records.MOST_ENTRIES, most - first), told))
        for queue in queues
        for first in range(0, most, records.MOST_ENTRIES)
    ]


def _merged(asked: Sequence[tuple[str, Command]], answers: Sequence[Any]) -> list[tuple[GroupCount, bytes]]:
    """Put the slices of each queue together, those with the latest death first; with what the latest one says."""
    found: dict[tuple[str, str], tuple[GroupCount, bytes]] = {}
    for (queue, _), slices in zip(asked, answers, strict=True):
        for one in slices:
            key = (queue, one.fingerprint)
            known, reason = found.get(key, (None, one.reason))
            found[key] = (_with(known, queue, one), reason)
    return sorted(found.values(), key=lambda item: item[0].last_seen, reverse=True)


def _parts(items: list[GroupCount], size: int = 10) -> list[list[GroupCount]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _with(known: GroupCount | None, queue: str, one: GroupSlice) -> GroupCount:
    """Add the next older slice to what is known of a group."""
    if known is None:
        return GroupCount(queue, *one[:-1])
    return replace(
        known,
        count=known.count + one.jobs,
        first_seen=min(known.first_seen, one.first_seen),
        last_seen=max(known.last_seen, one.last_seen),
    )


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
