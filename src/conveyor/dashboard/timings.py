"""How long this process waits for the server, as histograms."""

from __future__ import annotations

import threading
from bisect import bisect_left
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.store import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.store.command import Command

#: Upper bounds of the buckets, seconds; one more bucket is for longer waits.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Timing(NamedTuple):
    """A histogram of waits: one count for each of BOUNDS and one more, and the sum."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0


class Timings:
    """Timings by name since the process began. Thread-safe."""

    def __init__(self) -> None:
        self._found: dict[str, Timing] = {}
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        """Count one wait."""
        bucket = bisect_left(BOUNDS, seconds)
        with self._lock:
            before = self._found.get(name, Timing())
            counts = tuple(count + (at == bucket) for at, count in enumerate(before.counts))
            self._found[name] = Timing(counts, before.seconds + seconds)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count how long a block takes, also one that raises."""
        began = clock.monotonic()
        try:
            yield
        finally:
            self.add(name, clock.monotonic() - began)

    def found(self) -> dict[str, Timing]:
        """Return the timings so far, by name."""
        with self._lock:
            return dict(sorted(self._found.items()))


class TimedClient(Client):
    """A copy of a client with connections of its own, whose round trips are counted under a name."""

    def __init__(self, like: Client, timings: Timings, name: str) -> None:
        super().__init__(
            like.url, patience=like.patience, within=like.within, revive=like.revive, name=like.name
        )
        self._timings, self._name = timings, name

    def run_all(
        self, commands: Sequence[Command], *, patience: float | None = None, within: float | None = None
    ) -> list[Any]:
        """Run commands as `Client.run_all` does."""
        with self._timings.timed(self._name):
            return super().run_all(commands, patience=patience, within=within)
