"""Statistics of runs: figures that can be summed, in buckets of time, and percentiles from them.

Figures travel and are kept as text, `name=count` separated by spaces; zeros are left out. The names:

    b          started runs; a run is counted when it ends
    s f c t l e    finished: succeeded, failed, cancelled, timeout, lost, expired; the last without a run
    r          retried
    d          workers that crashed during the run
    R  R0..R19     run times: sum in microseconds, and how many were up to BOUNDS[n] seconds (19: more)
    W  W0..W19     the same for the wait from the put to the first run
    M X            the longest run and the longest wait, in microseconds; the sum of several is the greatest

They are kept per minute, hour and day by the server's clock, in UTC, and for all time; by field: ALL for the queue,
`:task` for each of 200 tasks, or of a minute's first 20. Gauges have the last value of the time: depth and running are
jobs, oldest is in milliseconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Upper bounds of the histograms' buckets, seconds; a further bucket is for longer times.
BOUNDS = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0),
)
#: Seconds of a bucket of time, by tier.
TIERS = {"minute": 60, "hour": 3600, "day": 86400}
#: Outcomes and other events of a run, and the letters of their figures.
LETTERS = {
    "succeeded": "s",
    "failed": "f",
    "cancelled": "c",
    "timeout": "t",
    "lost": "l",
    "expired": "e",
    "retried": "r",
    "died": "d",
}
#: The name of further tasks in the figures, if a queue has more than 200, or a minute more than 20.
OTHER = "_other"
#: The field of the queue's figures, and the prefix of the fields of tasks.
ALL, TASK = "*", ":"

#: Max digits of a figure; longer ones were not written by a script.
_MAX_DIGITS = 18
#: Figures of which the greatest counts, not the sum.
GREATEST = frozenset("MX")

Counts = tuple[int, ...]
"""Numbers for each of BOUNDS, and one for longer times."""
NO_COUNTS: Counts = (0,) * (len(BOUNDS) + 1)


class Histogram(NamedTuple):
    """The distribution of durations."""

    counts: Counts = NO_COUNTS
    seconds: float = 0.0
    """Their sum."""
    longest: float = 0.0
    """Seconds; 0 if unknown, as in older records."""

    @property
    def total(self) -> int:
        """Their number."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Average in seconds, or None if there are none."""
        return self.seconds / self.total if self.total else None

    def percentile(self, part: float) -> float | None:
        """Return the duration in seconds that `part` (0 to 1) of all did not exceed, or None if there are none.

        It is interpolated within its bucket, whose upper bound is the longest duration if that is in it. So the error
        is at most the bucket's width. In the first bucket it is the lowest value that is certain. Durations beyond the
        last bound count as that bound if the longest is unknown.
        """
        wanted, below = part * self.total, 0
        for place, count in enumerate(self.counts):
            if count and below + count >= wanted:
                high = self._bound(place)
                if not place:
                    return min(high, self._certain(part))
                return BOUNDS[place - 1] + (high - BOUNDS[place - 1]) * max(0.0, wanted - below) / count
            below += count
        return None

    def _bound(self, place: int) -> float:
        """Return the upper bound of a bucket, or the longest duration of all if that is in it."""
        low, high = BOUNDS[place - 1] if place else 0.0, BOUNDS[place] if place < len(BOUNDS) else math.inf
        if self.longest > 0 and low <= self.longest <= high:
            return self.longest
        return low if math.isinf(high) else high

    def _certain(self, part: float) -> float:
        """Return a bound of what `part` took by the mean only: at most half can take over twice the mean."""
        return self.seconds / self.total / (1 - part) if self.seconds and part < 1 else math.inf


class Figures(NamedTuple):
    """The figures of a queue, or of one of its tasks, for some time."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    timeout: int = 0
    lost: int = 0
    expired: int = 0
    retried: int = 0
    died: int = 0
    """Workers that crashed during the run; the job's outcome is counted as well."""
    runs: Histogram = Histogram()
    waits: Histogram = Histogram()

    @property
    def finished(self) -> int:
        """Jobs that finished, whatever their outcomes."""
        return self.succeeded + self.failures + self.cancelled

    @property
    def failures(self) -> int:
        """Jobs that failed: failed, timeout, lost, expired."""
        return self.failed + self.timeout + self.lost + self.expired


def read_figure(text: str) -> int | None:
    """Parse a whole number. Return None if it is invalid, or longer than any count or time."""
    return int(text) if len(text) <= _MAX_DIGITS and text.isdecimal() else None


def read_figures(text: str) -> Figures:
    """Parse figures, without invalid ones."""
    found: dict[str, int] = {}
    add_text(found, text)
    return figures_of(found)


def add_text(found: dict[str, int], text: str) -> None:
    """Add figures, as text, to others by name, without invalid ones."""
    for word in text.split():
        name, _, count = word.partition("=")
        figure = read_figure(count)
        if figure is not None:
            before = found.get(name, 0)
            found[name] = max(before, figure) if name in GREATEST else before + figure


def figures_of(found: Mapping[str, int]) -> Figures:
    """Return figures by their counts by name."""
    counts: dict[str, Any] = {outcome: found.get(letter, 0) for outcome, letter in LETTERS.items()}
    return Figures(
        found.get("b", 0), runs=_histogram(found, "R", "M"), waits=_histogram(found, "W", "X"), **counts
    )


def write_figures(found: Mapping[str, int]) -> str:
    """Return figures as text, without zeros."""
    return " ".join(f"{name}={count}" for name, count in found.items() if count)


def _histogram(found: Mapping[str, int], letter: str, longest: str) -> Histogram:
    counts = tuple(found.get(f"{letter}{place}", 0) for place in range(len(NO_COUNTS)))
    return Histogram(counts, found.get(letter, 0) / 1e6, found.get(longest, 0) / 1e6)


def sum_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of histograms."""
    counts, seconds, longest = NO_COUNTS, 0.0, 0.0
    for one in histograms:
        counts = tuple(map(int.__add__, counts, one.counts))
        seconds += one.seconds
        longest = max(longest, one.longest)
    return Histogram(counts, seconds, longest)


def sum_figures(figures: Iterable[Figures]) -> Figures:
    """Return the sum of figures."""
    every = list(figures)
    counts: dict[str, Any] = {
        name: sum(getattr(one, name) for one in every) for name in ("started", *LETTERS)
    }
    return Figures(
        runs=sum_histograms(one.runs for one in every),
        waits=sum_histograms(one.waits for one in every),
        **counts,
    )


def subtract_figures(whole: Figures, part: Figures) -> Figures:
    """Return figures without a part of them, never negative."""
    counts: dict[str, Any] = {
        name: max(0, getattr(whole, name) - getattr(part, name)) for name in ("started", *LETTERS)
    }
    return Figures(
        runs=_subtracted(whole.runs, part.runs), waits=_subtracted(whole.waits, part.waits), **counts
    )


def _subtracted(whole: Histogram, part: Histogram) -> Histogram:
    counts = tuple(max(0, one - other) for one, other in zip(whole.counts, part.counts, strict=True))
    return Histogram(counts, max(0.0, whole.seconds - part.seconds), whole.longest)


def bucket(tier: str, at: float) -> int:
    """Return the number of the minute, hour or day (`tier`) of a time in seconds since 1970."""
    return int(at // TIERS[tier])


def begin(tier: str, number: int) -> float:
    """Return the start of a bucket, seconds since 1970."""
    return float(number * TIERS[tier])
