"""The belt: producers on the left, the queue's slots in the middle, workers on the right, as values to draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from conveyor.monitor.format import count_of
from conveyor.wire.control_messages import SILENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Count
    from conveyor.wire.control_messages import WorkerReport

#: Slots that are drawn; a slot of a larger queue stands for several jobs.
MAX_SLOTS = 40
#: Worker icons that are drawn; with more workers each stands for several.
MAX_ICONS = 200
#: One letter for the icon of each worker: busy with this queue, busy with another, idle, starting, leaving, paused,
#: silent.
BUSY, BUSY_ELSEWHERE, IDLE, STARTING, LEAVING, PAUSED, SILENT_ICON = "w", "o", "i", "s", "l", "p", "h"
_ICONS = {"idle": IDLE, "starting": STARTING, "leaving": LEAVING}


class Belt(msgspec.Struct, frozen=True):
    """What is drawn of one queue."""

    slots: int
    filled: int
    """Slots with jobs, from the workers' end."""
    later: int
    """Slots among these with deferred and delayed jobs; they come last."""
    scale: int
    """Jobs per slot."""
    signs: str
    """A letter per icon of workers."""
    per_sign: int
    """Workers per icon."""
    words: str
    """The belt as a sentence."""


def belt_of(queue: str, count: Count, workers: Sequence[WorkerReport], max_slots: int = MAX_SLOTS) -> Belt:
    """Return the belt of a queue."""
    slots, scale = _slots(count, max_slots)
    icons = "".join(sorted((letter_of(worker, queue) for worker in workers), reverse=True))
    per_icon = math.ceil(len(icons) / MAX_ICONS) or 1
    filled = min(slots, math.ceil(count.qsize / scale))
    return Belt(
        slots=slots,
        filled=filled,
        later=filled - min(slots, math.ceil(count.ready / scale)),
        scale=scale,
        signs=icons[::per_icon],
        per_sign=per_icon,
        words=_sentence(queue, count, icons),
    )


def letter_of(worker: WorkerReport, queue: str) -> str:
    """Return the icon of a worker on the belt of a queue that it takes from."""
    if worker.is_busy:
        return BUSY if worker.queue == queue else BUSY_ELSEWHERE
    if worker.state == SILENT:
        return SILENT_ICON
    if worker.paused:
        return PAUSED
    return _ICONS.get(worker.state, IDLE)


def slots_taken(count: Count) -> int:
    """Return the number of occupied slots of a bounded queue."""
    return min(count.qsize, count.maxsize)


def _slots(count: Count, most: int) -> tuple[int, int]:
    """Return the number of slots, and of jobs per slot, which is 1, 2, 5, 10, 20, 50, … without a maxsize."""
    if count.maxsize:
        scale = math.ceil(count.maxsize / most)
        return math.ceil(count.maxsize / scale), scale
    scale = 1
    while count.qsize > most * scale:
        scale = scale * 5 // 2 if str(scale)[0] == "2" else scale * 2
    return most, scale


def _sentence(queue: str, count: Count, icons: str) -> str:
    return f"{queue}: {', '.join(_parts(count, icons))}{'; paused' if count.paused else ''}."


def _parts(count: Count, icons: str) -> list[str]:
    parts = [f"{count_of(count.ready, 'job')} waiting"]
    if count.maxsize:
        beyond = count.qsize - slots_taken(count)  # retried, released or put before maxsize was lowered
        more = f" and {beyond:,} more {'job' if beyond == 1 else 'jobs'} waiting" if beyond else ""
        parts = [f"{slots_taken(count):,} of {count.maxsize:,} slots taken{more}"]
    if count.deferred:
        parts.append(f"{count.deferred:,} {'of these ' if count.maxsize else ''}deferred")
    if count.delayed:
        parts.append(f"{count.delayed:,} {'of these ' if count.maxsize else ''}delayed")
    if count.blocked:
        parts.append(f"{count_of(count.blocked, 'producer')} blocked")
    parts.append(
        f"{icons.count(BUSY)} of {count_of(len(icons), 'worker')} at work" if icons else "no workers"
    )
    if SILENT_ICON in icons:
        parts.append(f"{icons.count(SILENT_ICON)} silent")
    if BUSY_ELSEWHERE in icons:
        parts.append(f"{icons.count(BUSY_ELSEWHERE)} on other queues")
    return parts
