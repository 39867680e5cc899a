"""Removal of queues: of one that somebody deletes, and of those that were empty and unused for long."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from conveyor.errors import StoreMismatch, StoreRefused
from conveyor.statistics import TIERS, bucket
from conveyor.store import commands, keys, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.store.answers import Looked
    from conveyor.store.client import Client

#: Seconds for which an empty queue must have been unused to be forgotten.
UNUSED = 30 * 86400.0
#: Minutes, hours and days of a queue's histories that may be kept.
KEPT = {"minute": 360, "hour": 336, "day": 400}
#: Keys that one command removes.
MOST_AT_ONCE = 500


def delete(client: Client, queue: str) -> Looked:
    """Remove an empty queue with all its keys, in slices, and take its name off the list.

    The answer's word is GONE, or LIVE if the queue is not empty, in which case nothing was done.
    """
    found = _remove(client, queue, 0.0)
    if found.word == "GONE":
        cursor = "0"
        while True:
            cursor, names = client.run(plain.some_keys(queue, cursor))
            if names:
                client.run(plain.unlink(names))
            if cursor == "0":
                break
    return found


def forget_unused(client: Client, cursor: str = "0", unused: float = UNUSED) -> str:
    """Look at some queues and forget those that were empty and unused for so many seconds.

    Return the cursor for the next call, "0" after the last queue. What else is kept of these queues, such as outcomes,
    expires by itself.
    """
    cursor, names = client.run(plain.some_queues(cursor))
    for name in names:
        with contextlib.suppress(
            StoreRefused, StoreMismatch
        ):  # one that is not ours to judge; on with the others
            if client.run(commands.forget(name, unused)).word == "IDLE":
                _forget(client, name, unused)
    return cursor


def _forget(client: Client, queue: str, unused: float) -> None:
    if _remove(client, queue, unused).word == "GONE":
        for names in _histories(queue, client.run(plain.server_time())):
            client.run(plain.unlink(names))


def _remove(client: Client, queue: str, unused: float) -> Looked:
    client.run(plain.drop_queue(queue))  # first, so that a put that comes between notes the name again
    try:
        found: Looked = client.run(commands.forget(queue, unused, remove=True))
    except StoreMismatch:
        client.run(plain.note_queue(queue))
        raise
    if found.word == "GONE":
        client.run(plain.note_deleted(queue))
    else:
        client.run(plain.note_queue(queue))
    return found


def _histories(queue: str, now: float) -> Iterator[list[str]]:
    """Yield the keys of a queue's histories that may still be there, some at a time."""
    for tier in TIERS:
        last = bucket(tier, now)
        names = [keys.key(queue, f"{tier}:{number}") for number in range(last - KEPT[tier], last + 1)]
        yield from (names[first : first + MOST_AT_ONCE] for first in range(0, len(names), MOST_AT_ONCE))
