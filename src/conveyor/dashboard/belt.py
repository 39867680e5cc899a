"""The page's own picture: producers on the left, the queue's slots in the middle, workers on the right, as values."""

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
MOST_SLOTS = 40
#: Signs of workers that are drawn; of a larger crew each stands for several.
MOST_SIGNS = 200
#: Producers that are drawn waiting for room.
MOST_BLOCKED = 12
#: One letter for each worker: at work here, at work on another queue, waiting, about to begin or to leave, told to
#: take nothing, not heard of.
WORKING, ELSEWHERE, WAITING, COMING, LEAVING, PAUSED, UNHEARD = "w", "o", "i", "s", "l", "p", "h"
_LETTERS = {"idle": WAITING, "starting": COMING, "leaving": LEAVING}


class Belt(msgspec.Struct, frozen=True):
    """What is drawn of one queue."""

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
    """Draw one queue."""
    slots, scale = _slots(count)
    letters = "".join(sorted(letter_of(worker, queue) for worker in workers))[::-1]
    per_sign = math.ceil(len(letters) / MOST_SIGNS) or 1
    return Belt(
        slots=slots,
        filled=min(slots, math.ceil(count.waiting / scale)),
        later=min(slots, math.ceil(count.waiting / scale)) - min(slots, math.ceil(count.ready / scale)),
        scale=scale,
        signs=letters[::per_sign],
        per_sign=per_sign,
        words=_words(queue, count, letters),
    )


def letter_of(worker: WorkerReport, queue: str) -> str:
    """Give the sign of a worker on the belt of one of its queues."""
    if worker.is_busy:
        return WORKING if worker.queue == queue else ELSEWHERE
    if worker.state == SILENT:
        return UNHEARD
    if worker.paused:
        return PAUSED
    return _LETTERS.get(worker.state, WAITING)


def taken(count: Count) -> int:
    """Return how many slots of a bounded queue have jobs: no more than there are."""
    return min(count.waiting, count.maxsize)


def _beyond(count: Count) -> str:
    """Return the jobs beyond the bound in words: what was retried, given back or put before the bound was lowered."""
    more = count.waiting - taken(count)
    return f" and {more:,} more {'job' if more == 1 else 'jobs'} waiting" if more else ""


def _slots(count: Count) -> tuple[int, int]:
    """Give how many slots are drawn, and how many jobs each holds: 1, 2, 5, 10, 20, 50, … where there is no bound."""
    if count.maxsize:
        scale = math.ceil(count.maxsize / MOST_SLOTS)
        return math.ceil(count.maxsize / scale), scale
    scale = 1
    while count.waiting > MOST_SLOTS * scale:
        scale = scale * 5 // 2 if str(scale)[0] == "2" else scale * 2
    return MOST_SLOTS, scale


def _words(queue: str, count: Count, letters: str) -> str:
    place = (
        f"{taken(count):,} of {count.maxsize:,} slots taken{_beyond(count)}"
        if count.maxsize
        else f"{count.ready:,} {'job' if count.ready == 1 else 'jobs'} waiting"
    )
    if count.delayed:
        place += f", {count.delayed:,} {'of these ' if count.maxsize else ''}not due yet"
    working = letters.count(WORKING)
    noun = "worker" if len(letters) == 1 else "workers"
    crew = f"{working} of {len(letters)} {noun} at work" if letters else "no workers"
    if UNHEARD in letters:
        crew += f", {letters.count(UNHEARD)} silent"
    if ELSEWHERE in letters:
        crew += f", {letters.count(ELSEWHERE)} on other queues"
    blocked = f"{count.blocked} {'producer' if count.blocked == 1 else 'producers'} blocked"
    parts = [place, blocked, crew] if count.blocked else [place, crew]
    return f"{queue}: {', '.join(parts)}{'; paused' if count.paused else ''}."
