"""Which of the watched pages the next sample brings, so that neither their number nor a search delays the pulse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.dashboard.sights import SLOW_EVERY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.dashboard.page import Page, Wanted
    from conveyor.dashboard.sights import Sights

#: Watched pages of one sample; where there are more they take turns.
MOST_PAGES = 40
#: Of these, those whose question is much work.
MOST_COSTLY = 2


class Turns:
    """One per sampler; for its thread alone."""

    def __init__(self, sights: Sights) -> None:
        self.has_costly = False
        """Whether the last choice has costly pages; the next one then has none, and so tells how fast the server is."""
        self._sights = sights
        self._chosen: dict[str, float] = {}

    def choose(self, watched: Mapping[str, tuple[Page, Wanted]]) -> dict[str, tuple[Page, Wanted]]:
        """Give the pages that are due, by address: those that have waited longest, costly ones for ten seconds."""
        now = clock.monotonic()
        self._chosen = {address: at for address, at in self._chosen.items() if address in watched}
        ages = {address: now - self._chosen.get(address, float("-inf")) for address in watched}
        order = sorted(watched, key=ages.__getitem__, reverse=True)
        light = [address for address in order if not self._is_costly(watched[address])]
        costly = [address for address in order if self._is_costly(watched[address])]
        rested = [address for address in costly if min(ages[address], self._sights.age(address)) > SLOW_EVERY]
        chosen = [] if self.has_costly else rested[:MOST_COSTLY]
        self.has_costly = bool(chosen)
        chosen += light[: MOST_PAGES - len(chosen)]
        self._chosen.update(dict.fromkeys(chosen, now))
        return {address: watched[address] for address in chosen}

    @staticmethod
    def _is_costly(one: tuple[Page, Wanted]) -> bool:
        page, wanted = one
        return page.costly(wanted)
