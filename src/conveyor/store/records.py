"""Commands that read what is remembered of runs: the history, attempts, log lines, groups of dead letters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.errors import BadCall
from conveyor.store import keys, scripts
from conveyor.store.answers import shown
from conveyor.store.command import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Entries that one command reads.
MOST_ENTRIES = 1000
_ENTRY_ID = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)


class Entry(NamedTuple):
    """An entry of a stream: its id, which also orders it in time, and its first field."""

    id: str
    field: str
    data: bytes

    @property
    def at(self) -> float:
        """When it was written: seconds since 1970, by the server's clock."""
        return int(self.id.partition("-")[0]) / 1000


class GroupSlice(NamedTuple):
    """Dead letters of one slice that failed alike."""

    fingerprint: str
    jobs: int
    newest: str
    """Id of the one that died last."""
    first_seen: float
    """Time of the first death, seconds since 1970, by the server's clock."""
    last_seen: float


def checked_entry(text: str) -> str:
    """Give back what names an entry of a stream, or is empty; raises BadCall for anything else."""
    if text and not _ENTRY_ID.fullmatch(text):
        message = f"{text!r:.80} names no entry"
        raise BadCall(message, hint="use the id that an entry came with, such as 1700000000000-0")
    return text


def place_of(entry: str) -> tuple[int, int]:
    """Give what orders an entry among those of its stream; an empty text is before all. Raises BadCall."""
    moment, _, number = checked_entry(entry).partition("-")
    return (int(moment), int(number)) if entry else (-1, 0)


def history(queue: str, before: str = "", count: int = MOST_ENTRIES) -> Command:
    """Answer entries of the history that are older than the entry `before`, the newest first."""
    words = ("XREVRANGE", keys.key(queue, "history"), f"({before}" if before else "+", "-", "COUNT", count)
    return Command(words, read=_entries)


def last_lines(queue: str, job_id: str, count: int) -> Command:
    """Answer the last lines that a job logged, the oldest of them first."""
    words = ("XREVRANGE", keys.key(queue, f"log:{job_id}"), "+", "-", "COUNT", count)
    return Command(words, read=lambda reply: _entries(reply)[::-1])


def lines_after(queue: str, job_id: str, after: str, count: int) -> Command:
    """Answer lines that a job logged after the entry `after` (empty: from the first)."""
    words = ("XRANGE", keys.key(queue, f"log:{job_id}"), f"({after}" if after else "-", "+", "COUNT", count)
    return Command(words, read=_entries)


def attempts(queue: str, job_id: str) -> Command:
    """Answer the bytes of a job's attempts, the oldest first."""
    return Command(("LRANGE", keys.key(queue, f"attempts:{job_id}"), 0, -1))


def cancellation(queue: str, job_id: str) -> Command:
    """Return the bytes of who cancelled a job and why, or None if unknown."""
    return Command(("GET", keys.key(queue, f"cancel:{job_id}")))


def knows(queue: str, job_id: str) -> list[Command]:
    """Answer whether the queue has the job, and whether it remembers it."""
    named = (keys.key(queue, f"{name}:{job_id}") for name in ("outcome", "attempts", "log"))
    return [
        Command(("HEXISTS", keys.key(queue, "jobs"), job_id), read=bool),
        Command(("EXISTS", *named), read=bool),
    ]


def dead_groups(queue: str, first: int, count: int = MOST_ENTRIES) -> Command:
    """Answer the GroupSlices of the dead letters from place `first` on, counted from the one that died last."""

    def read(reply: Sequence[Any]) -> list[GroupSlice]:
        return [
            GroupSlice(shown(name), number, shown(newest), float(oldest_at) / 1000, float(newest_at) / 1000)
            for name, number, newest, newest_at, oldest_at in zip(*[iter(reply)] * 5, strict=True)
        ]

    named = (keys.key(queue, name) for name in ("dead", "groups"))
    words = (2, *named, first, first + count - 1)
    return Command(words, scripts.load_plain("groups"), read)


def _entries(reply: Sequence[Any]) -> list[Entry]:
    return [
        Entry(entry.decode(), shown(fields[0]), fields[1])
        for entry, fields in reply
        if fields and len(fields) > 1
    ]
