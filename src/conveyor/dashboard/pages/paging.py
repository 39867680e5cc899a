"""Pages of what is known in full: some of a sorted list, from a place that a cursor names."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.dashboard.page import PageRequest

T = TypeVar("T")


class Slice(NamedTuple, Generic[T]):
    """Some things of a list; `previous` and `next` are addresses, empty where there is nothing."""

    items: Sequence[T]
    first: int
    """How many come before."""
    total: int
    previous: str
    next: str


def slice_of(
    things: Sequence[T],
    keys: Sequence[str],
    wanted: PageRequest,
    room: int,
    sizes: Sequence[int] | None = None,
) -> Slice[T]:
    """Give the things behind the filter `after` (a key; empty: from the first on) for which there is room.

    The things are sorted by their keys, so a cursor holds while they come and go. `sizes` tells how much room each
    takes, else it is 1; the first is given whatever its size.
    """
    sizes = [1] * len(things) if sizes is None else sizes
    after = wanted.filters.get("after", "")
    first = bisect.bisect_right(keys, after) if after else 0
    end = _fitting(sizes[first:], room) + first
    back = first - _fitting(sizes[:first][::-1], room)
    rest = {name: value for name, value in wanted.filters.items() if name != "after"}
    previous = address(wanted.path, rest | {"after": keys[back - 1] if back else ""}) if first else ""
    following = address(wanted.path, rest | {"after": keys[end - 1]}) if end < len(things) else ""
    return Slice(things[first:end], first, len(things), previous, following)


def _fitting(sizes: Sequence[int], room: int) -> int:
    used = 0
    for place, size in enumerate(sizes):
        used += size
        if used > room and place:
            return place
    return len(sizes)


def address(path: str, filters: Mapping[str, str]) -> str:
    """Give the address of a page with filters; empty ones are left out."""
    given = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
