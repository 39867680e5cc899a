"""Removal of queues: of one that somebody deletes, and of those that were empty and unused for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.clock import Deadline
from conveyor.errors import StoreMismatch, StoreRefused
from conveyor.store import commands, keys, plain
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.answers import Looked
    from conveyor.store.client import Client

#: Seconds for which an empty queue must have been unused to be forgotten.
UNUSED = 30 * 86400.0
#: Days of a queue's history that may be left then: minutes and hours have expired.
DAYS = 400
#: Keys that one command removes.
MOST_AT_ONCE = 500
#: Queues that one call forgets, and seconds that it takes, a small part of a lease.
MOST_FORGOTTEN, FORGET_WITHIN = 25, 0.5


def delete(client: Client, queue: str) -> Looked:
    """Remove an empty queue with all its keys, in slices, and take its name off the list.

    The answer's word is GONE, or LIVE if the queue is not empty, in which case nothing was done. If jobs are put
    meanwhile, they and the name stay, and what is left of the former queue expires by itself.
    """
    found: Looked = client.run(commands.forget(queue, 0.0, remove=True))
    if found.word == "GONE":
        _drop(client, [queue])
        cursor = "0"
        while True:
            cursor, names = client.run(plain.some_remains(queue, cursor))
            slices = [names[first : first + MOST_AT_ONCE] for first in range(0, len(names), MOST_AT_ONCE)]
            if not all(client.run(plain.clear(queue, some)) for some in slices) or cursor == "0":
                break
    return found


def forget_unused(client: Client, cursor: str = "0", unused: float = UNUSED) -> str | None:
    """Look at some queues and forget those that were empty and unused for so many seconds, but not too many.

    Return the cursor for the next call, None after the last queue. Raises StoreUnavailable if it takes too long. What
    else is kept of these queues, such as outcomes, expires by itself.
    """
    end = Deadline(FORGET_WITHIN)
    following, names = client.run(plain.some_queues(cursor), within=end.left(FORGET_WITHIN))
    idle = _idle(client, names, unused, end)
    gone = _forget(client, idle[:MOST_FORGOTTEN], unused, end)
    if gone and len(idle) > MOST_FORGOTTEN:
        return cursor
    return None if following == "0" else following


def _idle(client: Client, queues: Sequence[str], unused: float, end: Deadline) -> list[str]:
    """Return the queues that may be forgotten; those that are not ours to judge are left out."""
    if not queues:
        return []
    looks = [commands.forget(queue, unused) for queue in queues]
    try:
        found = client.run_all(looks, patience=0.0, within=end.left(FORGET_WITHIN))
    except (StoreRefused, StoreMismatch):
        half = len(queues) // 2
        parts = [queues[:half], queues[half:]] if half else []
        return [queue for part in parts for queue in _idle(client, part, unused, end)]
    return [queue for queue, one in zip(queues, found, strict=True) if one.word == "IDLE"]


def _forget(client: Client, queues: Sequence[str], unused: float, end: Deadline) -> bool:
    """Remove queues that are still unused; return whether there was any."""
    if not queues:
        return False
    removals = [commands.forget(queue, unused, remove=True) for queue in queues]
    *found, now = client.run_all(
        [*removals, plain.server_time()], patience=0.0, within=end.left(FORGET_WITHIN)
    )
    gone = [queue for queue, one in zip(queues, found, strict=True) if one.word == "GONE"]
    _drop(client, gone, end)
    last = bucket("day", now)
    days = range(last - DAYS, last + 1)
    remains = [plain.clear(queue, [keys.key(queue, f"day:{number}") for number in days]) for queue in gone]
    if remains:
        client.run_all(remains, patience=0.0, within=end.left(FORGET_WITHIN))
    return bool(gone)


def _drop(client: Client, queues: Sequence[str], end: Deadline | None = None) -> None:
    """Take the names of removed queues off the list, and put back those of queues that are in use again.

    Whoever puts the first job to a queue notes its name after that, so that none is missing whichever comes first.
    """
    limits = {} if end is None else {"patience": 0.0, "within": end.left(FORGET_WITHIN)}
    told = [*map(plain.drop_queue, queues), *map(plain.is_there, queues)]
    there = client.run_all(told, **limits)[len(queues) :] if told else []
    back = [plain.note_queue(queue) for queue, one in zip(queues, there, strict=True) if one]
    if back:
        client.run_all(back, **limits)
