"""A queue as one line: producers that wait for room, the slots, and the workers behind them."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Count
    from conveyor.wire.control_messages import WorkerReport

#: Sign and colour of a worker by what it does; in the order in which they stand behind the slots.
SIGNS = {
    "busy": ("▶", "green"),
    "idle": ("⏸", ""),
    "starting": ("◌", "cyan"),
    "leaving": ("◁", "yellow"),
    "paused": ("■", "yellow"),
    "silent": ("?", "red"),
}
#: Columns for blocked producers, and for the signs of workers.
BLOCKED_ROOM, SIGN_ROOM = 4, 8


def state_of(worker: WorkerReport) -> str:
    """Give what a worker does, in one of the words of `SIGNS`."""
    return worker.state if worker.state in SIGNS else "idle"


def belt(count: Count, workers: Sequence[WorkerReport], width: int) -> Text:
    """Draw a queue in exactly `width` columns; the jobs stand at the workers' end."""
    slots = max(4, width - BLOCKED_ROOM - SIGN_ROOM - 2)
    text = Text(no_wrap=True)
    blocked = f"{min(count.blocked, 999)}»" if count.blocked else ""
    text.append(blocked.rjust(BLOCKED_ROOM), "bold red").append(" ")
    drawn, filled = _slots(count, slots)
    full = count.is_full
    colour = "red" if full else "yellow" if count.paused else "blue"
    text.append(" " * (slots - drawn))
    text.append(("▯" if count.maxsize else "·") * (drawn - filled), "dim").append("▮" * filled, colour)
    return text.append(" ").append(signs(workers))


def signs(workers: Sequence[WorkerReport]) -> Text:
    """Give a sign for each worker; a number beside the sign where there are many."""
    counted = Counter(state_of(worker) for worker in workers)
    text = Text()
    for state, (sign, colour) in SIGNS.items():
        if counted[state] and len(workers) <= SIGN_ROOM:
            text.append(sign * counted[state], colour)
        elif counted[state]:
            text.append(sign, colour).append(f"{counted[state]}")
    return text


def _slots(count: Count, most: int) -> tuple[int, int]:
    """Give how many slots are drawn, and how many of them have jobs; without a bound a slot is 1, 2, 5, 10, … jobs."""
    if count.maxsize:
        drawn = min(most, count.maxsize)
        return drawn, min(drawn, math.ceil(count.qsize * drawn / count.maxsize))
    scale = 1
    while count.qsize > most * scale:
        scale = scale * 5 // 2 if str(scale)[0] == "2" else scale * 2
    return most, math.ceil(count.qsize / scale)
