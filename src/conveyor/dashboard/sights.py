"""What is remembered of pages: how each was last seen, and the answers to slow questions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.dashboard.page import version_of
from conveyor.store.query import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import Page, Wanted
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query

#: Seconds that the answer to a page's slow question is good for.
SLOW_EVERY = 10.0
#: Pages that are remembered for those who come right after.
MOST_REMEMBERED = 200


class Sight(NamedTuple):
    """A page as it is now: the snapshot it was made with, what it shows, and a text that names this state of it."""

    snapshot: Snapshot
    view: Any
    version: str


class _Kept(NamedTuple):
    at: float
    what: Any
    """A sight (None: gone), or the answer to a slow question."""


class Sights:
    """One per sampler; for any thread. Pages are known by `Wanted.address`."""

    def __init__(self) -> None:
        self._seen: dict[str, _Kept] = {}
        self._slow: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def age(self, key: str) -> float:
        """Give the seconds since a page was last seen; infinite where it was not."""
        seen = self._seen.get(key)
        return float("inf") if seen is None else clock.monotonic() - seen.at

    def last(self, key: str, good_for: float) -> Sight | None:
        """Give a page as it was last seen, unless that is so many seconds ago, or what it is about has gone."""
        seen = self._seen.get(key)
        return None if seen is None or clock.monotonic() - seen.at >= good_for else seen.what

    def see(self, page: Page, wanted: Wanted, snapshot: Snapshot, answers: Any) -> Sight:
        """Make a page of the answers to its question, and remember it; raises what its view does."""
        view = page.view(wanted, snapshot, answers)
        sight = Sight(snapshot, view, version_of(view))
        self._keep(self._seen, wanted.address, sight)
        return sight

    def lose(self, key: str) -> None:
        """Note that what a page is about has gone."""
        self._keep(self._seen, key, None)

    def question(self, page: Page, wanted: Wanted, snapshot: Snapshot) -> Query[Any]:
        """Give a page's question; its slow one is asked with it where there is no answer that is good still."""
        quick = page.question(wanted, snapshot)
        if page.slow is None:
            return quick
        kept = self._slow.get(wanted.address)
        if kept is not None and clock.monotonic() - kept.at < SLOW_EVERY:
            return quick.map(lambda first: (first, kept.what))

        def keep(pair: Sequence[Any]) -> tuple[Any, Any]:
            first, second = pair
            self._keep(self._slow, wanted.address, second)
            return first, second

        return together([quick, page.slow(wanted, snapshot)]).map(keep)

    def _keep(self, place: dict[str, _Kept], key: str, what: Any) -> None:
        with self._lock:
            place.pop(key, None)  # so that the oldest is the first
            if len(place) >= MOST_REMEMBERED:
                del place[next(iter(place))]
            place[key] = _Kept(clock.monotonic(), what)
