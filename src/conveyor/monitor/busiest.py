"""The queues with the most to do: those that work first, then those whose jobs wait.

A queue that is among them stays there unless another one is clearly ahead.

Two queues that are about as busy would else take turns at each look, and what is drawn of them with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Queues of the short list and of the long one.
FEW, MANY = 6, 20
#: How many times as many jobs as another, and how many more, a queue must have to be clearly ahead of it.
TIMES_MORE, MORE = 2, 5


class Load(NamedTuple):
    """What a queue has to do. A queue that works comes before any that does not, however many jobs wait there."""

    work: float
    """Running jobs, and those that ended per second lately."""
    live: float
    """Jobs at hand; a part of one if the queue is only between two jobs."""


class Busiest(NamedTuple):
    """The queues with the most to do, by name."""

    few: Sequence[str] = ()
    many: Sequence[str] = ()


NOBODY = Busiest()


def busiest_of(loads: Mapping[str, Load], before: Busiest) -> Busiest:
    """Choose the busiest of all queues."""
    return Busiest(_chosen(loads, before.few, FEW), _chosen(loads, before.many, MANY))


def by_rank(loads: Mapping[str, Load]) -> list[str]:
    """Return all queues, the one with the most to do first."""
    return sorted(loads, key=lambda name: (-loads[name].work, -loads[name].live, name))


def _chosen(loads: Mapping[str, Load], before: Sequence[str], most: int) -> list[str]:
    """Keep those of before, fill up with the next ones, and let those in that are clearly ahead."""
    ranked = by_rank(loads)
    places = {name: place for place, name in enumerate(ranked)}
    kept = [name for name in before if name in loads][:most]
    known = set(kept)
    others = [name for name in ranked if name not in known]
    room = most - len(kept)
    chosen, others = [*kept, *others[:room]], others[room:]
    chosen.sort(key=places.__getitem__)
    for place, other in enumerate(others[:most], 1):
        if not _is_ahead(loads[other], loads[chosen[-place]]):
            break
        chosen[-place] = other
    return sorted(chosen)


def _is_ahead(one: Load, other: Load) -> bool:
    return _exceeds(one.work, other.work) or (not other.work and _exceeds(one.live, other.live))


def _exceeds(one: float, other: float) -> bool:
    return one > (TIMES_MORE * other + MORE if other else 0)
