"""Slowing down those who guess passwords."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from conveyor.dashboard.access.proxy import read_address

if TYPE_CHECKING:
    from collections.abc import Callable

#: How many failures cost nothing, and seconds.
FREE_FAILURES = 5
LONGEST_WAIT = 60.0
_FORGOTTEN_AFTER = 900.0
_MOST_KEYS = 10_000
_Key = tuple[str, str]


class Throttle:
    """Counts failed logins by user and by address; from the fifth on each doubles the wait, up to 60 seconds.

    A user who logged in from an address before has a count of their own there, so that nobody can keep them out by
    failing elsewhere. What is remembered is bounded, and failures are forgotten after 15 minutes. `now` gives seconds
    that never go back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: OrderedDict[_Key, tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[_Key, None] = OrderedDict()

    def wait(self, user: str, address: str) -> float:
        """Give the seconds until this user may try from this address; 0 if at once."""
        return max(self._wait(key) for key in self._keys(user, address))

    def failed(self, user: str, address: str) -> None:
        """Count a failure."""
        for key in self._keys(user, address):
            count, _ = self._recent(key)
            self._failures[key] = (count + 1, self._now())
            _trim(self._failures, key)

    def succeeded(self, user: str, address: str) -> None:
        """Forget a user's failures, and remember that they are known at this address; its own count stays."""
        for key in self._keys(user, address):
            if key[0] != "address":
                self._failures.pop(key, None)
        known = (user, _network(address))
        self._known[known] = None
        _trim(self._known, known)

    def _keys(self, user: str, address: str) -> list[_Key]:
        network = _network(address)
        if (user, network) in self._known:
            return [("both", f"{network} {user}")]
        return [("address", network), ("user", user[:128])]

    def _recent(self, key: _Key) -> tuple[int, float]:
        count, last = self._failures.get(key, (0, 0.0))
        return (count, last) if self._now() - last < _FORGOTTEN_AFTER else (0, 0.0)

    def _wait(self, key: _Key) -> float:
        count, last = self._recent(key)
        if count < FREE_FAILURES:
            return 0.0
        pause = min(LONGEST_WAIT, 2.0 ** min(count - FREE_FAILURES, 16))
        return max(0.0, last + pause - self._now())


def _network(address: str) -> str:
    """Give what one attacker has: an address, or with IPv6 a /64."""
    found = read_address(address)
    return str(int(found) >> 64) if found and found.version == 6 else address[:64]  # noqa: PLR2004


def _trim(table: OrderedDict[_Key, tuple[int, float]] | OrderedDict[_Key, None], newest: _Key) -> None:
    table.move_to_end(newest)
    while len(table) > _MOST_KEYS:
        table.popitem(last=False)
