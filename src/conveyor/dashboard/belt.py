"""The belt, the dashboard's picture of a queue: producers on the left, slots in the middle, workers on the right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from conveyor.wire.control_messages import SILENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Count
    from conveyor.wire.control_messages import WorkerReport

#: Slots that are drawn; a larger queue has several jobs to a slot.
MAX_SLOTS = 40
#: Icons of workers that are drawn; with more workers each stands for several.
MAX_ICONS = 200
#: One letter for each worker: working here, working on another queue, waiting, starting, leaving, paused, silent.
WORKING, ELSEWHERE, WAITING, STARTING, LEAVING, PAUSED, UNHEARD = "w", "o", "i", "s", "l", "p", "h"
_LETTERS = {"idle": WAITING, "starting": STARTING, "leaving": LEAVING}


class Belt(msgspec.Struct, frozen=True):
    """The picture of one queue."""

    slots: int
    filled: int
    """Slots with jobs in them, from the workers' end."""
    later: int
    """Of these, those with jobs that are not due yet; they are the last."""
    scale: int
    """Jobs to a slot."""
    signs: str
    """One letter a worker, or a letter for several."""
    per_sign: int
    words: str
    """The picture as a sentence."""


def belt_of(queue: str, count: Count, workers: Sequence[WorkerReport]) -> Belt:
    """Return the picture of one queue."""
    slots, scale = _slots(count)
    letters = "".join(sorted(letter_of(worker, queue) for worker in workers))[::-1]
    per_icon = math.ceil(len(letters) / MAX_ICONS) or 1
    filled = min(slots, math.ceil(count.qsize / scale))
    return Belt(
        slots=slots,
        filled=filled,
        later=filled - min(slots, math.ceil(count.ready / scale)),
        scale=scale,
        signs=letters[::per_icon],
        per_sign=per_icon,
        words=_sentence(queue, count, letters),
    )


def letter_of(worker: WorkerReport, queue: str) -> str:
    """Return the letter of a worker on the belt of one of its queues."""
    if worker.is_busy:
        return WORKING if worker.queue == queue else ELSEWHERE
    if worker.state == SILENT:
        return UNHEARD
    return PAUSED if worker.paused else _LETTERS.get(worker.state, WAITING)


def slots_taken(count: Count) -> int:
    """Return how many slots of a bounded queue have jobs."""
    return min(count.qsize, count.maxsize)


def _slots(count: Count) -> tuple[int, int]:
    """Return the number of slots, and of jobs in each: 1, 2, 5, 10, 20, 50, … in a queue without a limit."""
    if count.maxsize:
        scale = math.ceil(count.maxsize / MAX_SLOTS)
        return math.ceil(count.maxsize / scale), scale
    scale = 1
    while count.qsize > MAX_SLOTS * scale:
        scale = scale * 5 // 2 if str(scale)[0] == "2" else scale * 2
    return MAX_SLOTS, scale


def _sentence(queue: str, count: Count, letters: str) -> str:
    jobs = f"{count.ready:,} {'job' if count.ready == 1 else 'jobs'} waiting"
    if count.maxsize:
        more = count.qsize - slots_taken(count)
        beyond = f" and {more:,} more {'job' if more == 1 else 'jobs'} waiting" if more else ""
        jobs = f"{slots_taken(count):,} of {count.maxsize:,} slots taken{beyond}"
    if count.delayed:
        jobs += f", {count.delayed:,} {'of these ' if count.maxsize else ''}not due yet"
    noun = "worker" if len(letters) == 1 else "workers"
    workers = f"{letters.count(WORKING)} of {len(letters)} {noun} at work" if letters else "no workers"
    if UNHEARD in letters:
        workers += f", {letters.count(UNHEARD)} silent"
    if ELSEWHERE in letters:
        workers += f", {letters.count(ELSEWHERE)} on other queues"
    blocked = f"{count.blocked} {'producer' if count.blocked == 1 else 'producers'} blocked"
    parts = [jobs, blocked, workers] if count.blocked else [jobs, workers]
    return f"{queue}: {', '.join(parts)}{'; paused' if count.paused else ''}."
