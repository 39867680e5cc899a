"""How often a job was tried: counted by the server while it lives or is dead, told by its runs once it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.wire.outcome import UNCOUNTED
from conveyor.wire.statistics import read_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.wire.outcome import Attempt


class Tries(NamedTuple):
    """Retries used, workers lost under it, and which attempt it is at, waits for or ended with, from 1."""

    retries: int
    crashes: int
    attempt: int


def counted(text: str, ended: str = "") -> Tries:
    """Give the tries of what the server counts; `ended` is how a dead job did: failed or lost."""
    words = [read_figure(word) or 0 for word in text.split()]
    retries, crashes, _, lapses, *_ = (*words, 0, 0, 0, 0)
    crashes += lapses
    return Tries(retries, crashes, max(1, retries + crashes + (ended != "lost")))


def told_by(attempts: Sequence[Attempt]) -> Tries:
    """Give the tries of a job that is over, of the attempts that are remembered of it, the oldest first."""
    life: list[Attempt] = []
    for one in reversed([one for one in attempts if one.state not in UNCOUNTED]):
        if life and one.attempt >= life[-1].attempt:
            break  # it was dead, and revived as if never tried
        life.append(one)
    if not life:
        return Tries(0, 0, 1)
    crashes = sum(one.state == "lost" for one in life)
    before = life[0].attempt - (life[0].state != "lost")
    return Tries(max(0, before - crashes), crashes, max(1, life[0].attempt))
