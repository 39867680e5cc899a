"""One round trip for many pages; a page whose question the server refuses is left out of the next ones for a while."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.dashboard.attempt import tried
from conveyor.errors import StoreUnavailable
from conveyor.store.query import Query, known, together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.dashboard.page import Page, Wanted
    from conveyor.dashboard.sights import Sights
    from conveyor.monitor.snapshot import Snapshot

#: Seconds that a refused page is left out.
LEFT_OUT = 60.0


class Trips:
    """One per sampler; for any thread."""

    def __init__(self, sights: Sights) -> None:
        self._sights = sights
        self._refused: dict[str, float] = {}
        """Pages that are left out, and until when."""
        self._lock = threading.Lock()

    def refused(self) -> set[str]:
        """Give the keys of the pages that are left out."""
        now = clock.monotonic()
        with self._lock:
            self._refused = {address: until for address, until in self._refused.items() if until > now}
            return set(self._refused)

    def make(
        self,
        ask: Callable[[Query[Any]], Any],
        first: Query[Any],
        pages: Mapping[str, tuple[Page, Wanted]],
        snapshot: Snapshot,
    ) -> list[Any]:
        """Ask a first question, and those of the pages by key; gives the answers, or of a page the error instead.

        Where the server refuses one, each is asked for itself, so that only that one goes without. Raises what the
        first question does, and StoreUnavailable.
        """
        queries = [self._question(page, wanted, snapshot) for page, wanted in pages.values()]
        every: list[Any] | Exception = tried(ask, together([first, *queries]))
        if isinstance(every, list):
            return every
        answers = [ask(first)]
        for address, query in zip(pages, queries, strict=True):
            try:
                answers.append(ask(query))
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a question
                answers.append(error)
                with self._lock:
                    self._refused[address] = clock.monotonic() + LEFT_OUT
        return answers

    def _question(self, page: Page, wanted: Wanted, snapshot: Snapshot) -> Query[Any]:
        query = tried(self._sights.question, page, wanted, snapshot)
        if not isinstance(query, Query):
            return known(query)
        return _guarded(query)


def _guarded(query: Query[Any]) -> Query[Any]:
    """Return the query whose value is an error if reading its answers raises one."""

    def read(answers: Sequence[Any]) -> Any:
        value = tried(query.read, answers)
        return _guarded(value) if isinstance(value, Query) else value

    return Query(query.commands, read)
