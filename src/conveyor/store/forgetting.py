"""Removal of queues: of one that a user deletes, and of those that were empty and unused for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.clock import Deadline
from conveyor.errors import StoreMismatch, StoreRefused
from conveyor.store import commands, keys, scripts
from conveyor.store.command import Command
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.client import Client

#: Seconds for which an empty queue must have been unused to be forgotten.
UNUSED = 30 * 86400.0
#: Days of a queue's history that may be left then; minutes and hours have expired.
DAYS = 400
#: Keys that one command removes.
MAX_KEYS = 500
#: Queues that one call forgets, and seconds that it takes, a small part of a lease.
MAX_FORGOTTEN, FORGET_WITHIN = 25, 0.5


def begin_sweep(consumer: str, seconds: float) -> Command:
    """Make this consumer the one to look for unused queues for the given time, unless another is. Reply: a bool."""
    return Command(("SET", keys.SWEEP, consumer, "NX", "EX", int(seconds)), read=bool)


def delete(client: Client, queue: str) -> commands.ForgetReply:
    """Remove an empty queue with all its keys, in slices, and take its name off the list.

    The reply's word is GONE, or LIVE if the queue is not empty, in which case nothing was done. If jobs are put
    meanwhile, they and the name stay, and what is left of the former queue expires automatically.
    """
    found: commands.ForgetReply = client.run(commands.forget(queue, 0.0, remove=True))
    if found.word == "GONE":
        _drop(client, [queue])
        cursor = "0"
        while True:
            cursor, names = client.run(some_remains(queue, cursor))
            slices = [names[first : first + MAX_KEYS] for first in range(0, len(names), MAX_KEYS)]
            if not all(client.run(clear(queue, some)) for some in slices) or cursor == "0":
                break
    return found


def forget_unused(client: Client, cursor: str = "0", unused: float = UNUSED) -> str | None:
    """Check some queues, and forget at most 25 that were empty and unused for `unused` seconds.

    Return the cursor for the next call, or None after the last queue. What else is kept of these queues, such as
    outcomes, expires automatically. Raises StoreUnavailable if it takes too long.
    """
    end = Deadline(FORGET_WITHIN)
    following, names = client.run(some_queues(cursor), within=end.left(FORGET_WITHIN))
    idle = _idle(client, names, unused, end)
    gone = _forget(client, idle[:MAX_FORGOTTEN], unused, end)
    if gone and len(idle) > MAX_FORGOTTEN:
        return cursor
    return None if following == "0" else following


def _idle(client: Client, queues: Sequence[str], unused: float, end: Deadline) -> list[str]:
    """Return the queues that may be forgotten, without those of other versions."""
    if not queues:
        return []
    checks = [commands.forget(queue, unused) for queue in queues]
    try:
        found = client.run_all(checks, patience=0.0, within=end.left(FORGET_WITHIN))
    except (StoreRefused, StoreMismatch):  # because of one of them
        half = len(queues) // 2
        parts = [queues[:half], queues[half:]] if half else []
        return [queue for part in parts for queue in _idle(client, part, unused, end)]
    return [queue for queue, one in zip(queues, found, strict=True) if one.word == "IDLE"]


def _forget(client: Client, queues: Sequence[str], unused: float, end: Deadline) -> bool:
    """Remove queues that are still unused. Return True if there were any."""
    if not queues:
        return False
    removals = [commands.forget(queue, unused, remove=True) for queue in queues]
    *found, now = client.run_all(
        [*removals, commands.server_time()], patience=0.0, within=end.left(FORGET_WITHIN)
    )
    gone = [queue for queue, one in zip(queues, found, strict=True) if one.word == "GONE"]
    _drop(client, gone, end)
    last = bucket("day", now)
    days = range(last - DAYS, last + 1)
    remains = [clear(queue, [keys.key(queue, f"day:{number}") for number in days]) for queue in gone]
    if remains:
        client.run_all(remains, patience=0.0, within=end.left(FORGET_WITHIN))
    return bool(gone)


def _drop(client: Client, queues: Sequence[str], end: Deadline | None = None) -> None:
    """Take the names of removed queues off the list, and put back those that are in use again.

    The producer of a queue's first job notes its name after the put, so no name is missing whichever comes first.
    """
    if not queues:
        return
    limits = {} if end is None else {"patience": 0.0, "within": end.left(FORGET_WITHIN)}
    drops = [drop_names(queues), *map(commands.is_there, queues)]
    _, *there = client.run_all(drops, **limits)
    back = [commands.note_queue(queue) for queue, is_there in zip(queues, there, strict=True) if is_there]
    if back:
        client.run_all(back, **limits)


def drop_names(queues: Sequence[str]) -> Command:
    """Take the names of queues off the list."""
    return Command(("SREM", keys.QUEUES, *queues))


def clear(queue: str, names: Sequence[str | bytes]) -> Command:
    """Remove keys that a removed queue has left. Reply: False, with nothing done, if jobs were put to it since."""
    words = (1 + len(names), keys.key(queue, "meta"), *names)
    return Command(words, scripts.load_plain("clear"), read=bool)


def some_queues(cursor: str) -> Command:
    """Read the next cursor, "0" at the end, and some names of queues."""
    return Command(
        ("SSCAN", keys.QUEUES, cursor, "COUNT", 50),
        read=lambda reply: (reply[0].decode(), commands.valid_names(reply[1])),
    )


def some_remains(queue: str, cursor: str) -> Command:
    """Read the next cursor, "0" at the end, and some keys of a queue with an id or a name in them.

    None of them holds a job. The cursor walks through all keys of the server.
    """
    return Command(
        ("SCAN", cursor, "MATCH", keys.key(queue, "*:*"), "COUNT", 1000),
        read=lambda reply: (reply[0].decode(), reply[1]),
    )
