"""Pages of a list that is known in full: part of a sorted list, from the position that a cursor names."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from conveyor.dashboard.page import href

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest

T = TypeVar("T")


class Slice(NamedTuple, Generic[T]):
    """Part of a list; `previous` and `next` are addresses, "" without one."""

    items: Sequence[T]
    first: int
    """How many come before."""
    total: int
    previous: str
    next: str


def slice_of(
    items: Sequence[T], keys: Sequence[str], request: PageRequest, room: int, sizes: Sequence[int] = ()
) -> Slice[T]:
    """Return the items behind the filter `after` (a key) for which there is room.

    The items are sorted by their keys, so a cursor stays valid while they come and go. `sizes` are their sizes, 1 by
    default; the first is included at any size.
    """
    sizes = sizes or [1] * len(items)
    after = request.filters.get("after", "")
    first = bisect.bisect_right(keys, after) if after else 0
    end = _fitting(sizes[first:], room) + first
    back = first - _fitting(sizes[:first][::-1], room)
    rest = {name: value for name, value in request.filters.items() if name != "after"}
    previous = href(request.path, **rest, after=keys[back - 1] if back else "") if first else ""
    following = href(request.path, **rest, after=keys[end - 1]) if end < len(items) else ""
    return Slice(items[first:end], first, len(items), previous, following)


def _fitting(sizes: Sequence[int], room: int) -> int:
    used = 0
    for position, size in enumerate(sizes):
        used += size
        if used > room and position:
            return position
    return len(sizes)
