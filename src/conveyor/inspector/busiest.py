"""Which queues have the most to do. Who is among them stays there unless another one is clearly ahead.

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


class Busiest(NamedTuple):
    """The queues with the most to do, by name."""

    few: Sequence[str] = ()
    many: Sequence[str] = ()


NOBODY = Busiest()


def busiest_of(live: Mapping[str, float], before: Busiest) -> Busiest:
    """Choose of queues, given with how many jobs each has at hand: 0 for one that is idle.

    A queue that is busy and has no job just now counts with a part of one.
    """
    return Busiest(_chosen(live, before.few, FEW), _chosen(live, before.many, MANY))


def _chosen(live: Mapping[str, float], before: Sequence[str], most: int) -> list[str]:
    """Keep those of before, fill up with the next ones, and let those in that are clearly ahead."""

    def rank(name: str) -> tuple[float, str]:
        return -live[name], name

    kept = [name for name in before if name in live][:most]
    others = sorted(live.keys() - set(kept), key=rank)
    room = most - len(kept)
    chosen, others = [*kept, *others[:room]], others[room:]
    chosen.sort(key=rank)
    for place, other in enumerate(others[:most], 1):
        if not _is_ahead(live[other], live[chosen[-place]]):
            break
        chosen[-place] = other
    return sorted(chosen)


def _is_ahead(one: float, other: float) -> bool:
    return one > (TIMES_MORE * other + MORE if other else 0)
