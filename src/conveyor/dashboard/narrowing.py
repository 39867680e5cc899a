"""What is left of a look at the server for people who may not see all queues."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from conveyor.monitor.snapshot import NOTHING

if TYPE_CHECKING:
    from conveyor.dashboard.page import Limits
    from conveyor.monitor.snapshot import Snapshot

#: Kinds of people for whom the last snapshot is remembered as they may see it.
MOST_REMEMBERED = 100


class Narrowing:
    """One per sampler; for any thread. Everybody with the same limits shares a snapshot."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Snapshot, Snapshot]] = {}
        """The whole one and what is left of it, by the key of the limits."""
        self._lock = threading.Lock()

    def of(self, snapshot: Snapshot, limits: Limits | None) -> Snapshot:
        """Give a snapshot as somebody with these limits may see it."""
        if limits is None:
            return snapshot
        whole, before = self._kept.get(limits.key, (NOTHING, NOTHING))
        if whole is snapshot:
            return before
        narrowed = snapshot.only(limits.shows, before.busiest)
        with self._lock:
            self._kept.pop(limits.key, None)  # so that the oldest is the first
            if len(self._kept) >= MOST_REMEMBERED:
                del self._kept[next(iter(self._kept))]
            self._kept[limits.key] = (snapshot, narrowed)
        return narrowed
