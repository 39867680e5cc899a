"""The clocks of this process. Decisions about jobs follow the server's clock, except for a `delay` until a time."""

from __future__ import annotations

import math
import time
from functools import partial

#: Seconds on a clock that only goes forward; for durations within one process.
monotonic = time.monotonic

#: The same, but continues while the host is suspended, if the system has such a clock.
boottime = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

#: Seconds since 1970 by this host's clock; for people and the times that they choose.
wall = time.time

#: Wait for a number of seconds.
sleep = time.sleep


class Deadline:
    """A point in time, `seconds` from now; None means never. Raises ValueError for NaN, which never comes."""

    __slots__ = ("at",)

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and math.isnan(seconds):
            raise ValueError("a timeout must be a number of seconds, got nan")
        self.at = None if seconds is None else monotonic() + seconds

    def left(self, at_most: float) -> float:
        """Return the seconds until the deadline, never negative and at most `at_most`."""
        if self.at is None:
            return at_most
        left = self.at - monotonic()
        return at_most if left >= at_most else max(0.0, left)

    def passed(self) -> bool:
        """Return True if the deadline has passed."""
        return self.at is not None and monotonic() >= self.at
