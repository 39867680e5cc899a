"""How active queues are: rates, the number of jobs that finished in the last minute, and the busiest queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MINUTE = 60.0
#: Seconds between two notes of a rolling count.
_NOTE_INTERVAL = 0.9
#: Seconds of age up to which a note describes the last minute; polls may be half of that apart.
_MAX_NOTE_AGE = 90.0
#: Queues of the short and of the long list of busiest queues.
FEW, MANY = 6, 20
#: A queue is clearly ahead of another if it has more than this factor times its jobs, plus this many.
AHEAD_FACTOR, AHEAD_BY = 2, 5


class Rate(NamedTuple):
    """Jobs per second, over the last few seconds."""

    accepted: float = 0.0
    ended: float = 0.0


class RollingCount(NamedTuple):
    """Number of jobs that finished in the last minute, from totals noted at several moments of it and one before."""

    total: int = 0
    notes: tuple[tuple[float, int], ...] = ()

    def add(self, at: float, more: int) -> RollingCount:
        """Return the count at a later moment, in seconds since 1970, after `more` jobs finished."""
        total, notes = self.total + more, self.notes
        if notes and at < notes[-1][0]:  # the clock was set back
            notes = ()
        older = [note for note in notes if at - note[0] >= MINUTE][-1:]
        notes = (*older, *(note for note in notes if at - note[0] < MINUTE))
        if not notes or at - notes[-1][0] >= _NOTE_INTERVAL:
            notes = (*notes, (at, total))
        return RollingCount(total, notes)

    def last_minute(self, at: float) -> int | None:
        """Return how many jobs finished in the last minute, or None if not polled throughout it."""
        since, then = next(iter(self.notes), (at, 0))
        seconds = at - since
        return round((self.total - then) * MINUTE / seconds) if MINUTE <= seconds <= _MAX_NOTE_AGE else None


class Load(NamedTuple):
    """What a queue has to do. A queue with work ranks before any without, however many jobs wait there."""

    work: float
    """Running jobs, plus those that finished per second recently."""
    live: float
    """Unfinished jobs; a fraction if the queue is only between two jobs."""


class Busiest(NamedTuple):
    """Names of the queues with the most to do, sorted."""

    few: Sequence[str] = ()
    many: Sequence[str] = ()


NO_COUNT = RollingCount()
NONE_BUSY = Busiest()


def busiest_of(loads: Mapping[str, Load], before: Busiest) -> Busiest:
    """Return the busiest queues. One of the queues `before` is replaced only by a queue that is clearly ahead.

    Otherwise two queues that are about as busy would alternate with every poll.
    """
    return Busiest(_choose(loads, before.few, FEW), _choose(loads, before.many, MANY))


def by_rank(loads: Mapping[str, Load]) -> list[str]:
    """Return all queues, the one with the most to do first."""
    return sorted(loads, key=lambda name: (-loads[name].work, -loads[name].live, name))


def _choose(loads: Mapping[str, Load], before: Sequence[str], most: int) -> list[str]:
    """Keep the queues of before, fill up with the next ones, and replace those that others are clearly ahead of."""
    ranked = by_rank(loads)
    ranks = {name: rank for rank, name in enumerate(ranked)}
    kept = [name for name in before if name in loads][:most]
    known = set(kept)
    others = [name for name in ranked if name not in known]
    room = most - len(kept)
    chosen, others = [*kept, *others[:room]], others[room:]
    chosen.sort(key=ranks.__getitem__)
    for position, other in enumerate(others[:most], 1):
        if not _is_ahead(loads[other], loads[chosen[-position]]):
            break
        chosen[-position] = other
    return sorted(chosen)


def _is_ahead(one: Load, other: Load) -> bool:
    return _exceeds(one.work, other.work) or (not other.work and _exceeds(one.live, other.live))


def _exceeds(one: float, other: float) -> bool:
    return one > (AHEAD_FACTOR * other + AHEAD_BY if other else 0)
