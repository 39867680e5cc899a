"""Pages of what is known in full: some of a sorted list, from a place that a cursor names."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    things: Sequence[T], key: Callable[[T], str], filters: Mapping[str, str], path: str, count: int
) -> Slice[T]:
    """Give the things behind the filter `after` (a key; empty: from the first on), `count` at most.

    The things are sorted by their keys, so a cursor holds while things come and go.
    """
    after = filters.get("after", "")
    first = bisect.bisect_right(things, after, key=key) if after else 0
    items = things[first : first + count]
    before = things[first - count - 1] if first > count else None
    rest = {name: value for name, value in filters.items() if value and name != "after"}
    previous = address(path, rest | {"after": "" if before is None else key(before)}) if first else ""
    more = first + count < len(things)
    return Slice(
        items, first, len(things), previous, address(path, rest | {"after": key(items[-1])}) if more else ""
    )


def address(path: str, filters: Mapping[str, str]) -> str:
    """Give the address of a page with filters; empty ones are left out."""
    given = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
