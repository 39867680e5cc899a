"""How a reader waits for the items that a job yields: without polling in short intervals, from any position.

The id of an entry in the stream is the position behind its items, and 0; that of the end is this position, and 1. So a
position is all that a reader keeps. It reads on after a lost connection, and nothing is removed by reading.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from conveyor.errors import StoreUnavailable
from conveyor.store import keys
from conveyor.store.command import Command, Exchange
from conveyor.store.waiting import MAX_BLOCK
from conveyor.wire import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.command import Operation

#: Entries of one reply, each of up to a mebibyte.
MAX_ENTRIES = 16
#: Why there are no more items: all were read; the job never yielded; the stream has expired, or the server has lost it.
COMPLETE: Final = "complete"
ABSENT: Final = "absent"
GONE: Final = "gone"


class NextItems(NamedTuple):
    """The next items of a stream. If there are none, the job has finished or is unknown, and `end` is why."""

    items: Sequence[Any]
    end: str = ""


class _Entry(NamedTuple):
    """An entry: the position behind its items. The end has none."""

    behind: int
    data: bytes


def next_items(queue: str, job_id: str, position: int) -> Operation[NextItems]:
    """Return the items from a position on, as many as there are, waiting for the first; or why there are no more.

    While the server is unavailable, it keeps waiting. Raises what `codec.decode` raises if that is for the first item.
    """
    has_seen_end, seconds = False, 0.0
    while True:
        with contextlib.suppress(StoreUnavailable):
            # Asked before the read: what a finished job has yielded is all there by then.
            asked = (_is_unfinished(queue, job_id), _is_dead(queue, job_id))
            after = f"{position}-{int(has_seen_end)}"
            unfinished, dead, entries = yield Exchange((*asked, _read(queue, job_id, after, seconds)))
            items: list[Any] = []
            for entry in entries:
                if not entry.data:
                    has_seen_end = True
                elif not _add(items, entry.data, entry.behind - position - len(items)):
                    break
            if items:
                return NextItems(items)
            if (dead or not unfinished) and not entries:
                return NextItems((), COMPLETE if has_seen_end else (yield from _why_none(queue, job_id)))
            # A blocked read misses a job that has finished meanwhile without a stream, so it asks again immediately.
            seconds = 0.0 if entries or seconds else MAX_BLOCK


def _add(items: list[Any], data: bytes, count: int) -> bool:
    """Add the last items of an entry, at most `count`. Return False if one cannot be read, but others before it can.

    Raises why if there is none before it.
    """
    try:
        items += codec.decode(data)[-count:]
    except Exception:  # noqa: BLE001 - one item hides no others, before it or for a reader that starts behind it
        try:
            for part in codec.split(data)[-count:]:
                items.append(codec.decode(part))
        except Exception:
            if not items:
                raise
            return False
    return True


def _why_none(queue: str, job_id: str) -> Operation[str]:
    names = [keys.key(queue, f"{name}:{job_id}") for name in ("stream", "outcome")]
    has_stream, has_outcome = yield Exchange([Command(("EXISTS", name)) for name in names])
    if has_stream:  # it is shorter than the reader's position
        return COMPLETE
    return ABSENT if has_outcome else GONE


def _is_unfinished(queue: str, job_id: str) -> Command:
    return Command(("HEXISTS", keys.key(queue, "jobs"), job_id), read=bool)


def _is_dead(queue: str, job_id: str) -> Command:
    return Command(("ZSCORE", keys.key(queue, "dead"), job_id), read=bool)


def _read(queue: str, job_id: str, after: str, seconds: float) -> Command:
    """Read entries after an id, waiting for the first if `seconds` is not 0. Reply: list of `_Entry`."""
    block = ("BLOCK", int(seconds * 1000)) if seconds else ()
    key = keys.key(queue, f"stream:{job_id}")
    words = ("XREAD", "COUNT", MAX_ENTRIES, *block, "STREAMS", key, after)
    return Command(words, read=_entries, block=seconds)


def _entries(reply: Sequence[Any] | None) -> list[_Entry]:
    return [_Entry(int(name.partition(b"-")[0]), fields[1]) for name, fields in reply[0][1]] if reply else []
