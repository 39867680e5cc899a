"""What was done, as numbers: figures that add up, in buckets of time, and percentiles from them.

Figures travel and are kept as text, `name=count` separated by spaces; what is zero is left out. The names:

    b          runs that began; a run is counted when it ends
    s f c t l e    ended: succeeded, failed, cancelled, timeout, lost, expired
    r          tried again
    d          workers that died while they ran it
    R  R0..R19     run time of all runs: sum in microseconds, and how many took up to BOUNDS[n] seconds (19: more)
    W  W0..W19     the same of the wait from put to the first run
    M X            the longest run and the longest wait, in microseconds; of several figures the greatest

They are kept per minute, hour and day by the server's clock, in universal time, and for all time; by field: ALL for
the queue, `:task` for each of 200 tasks, or of a minute's first 20. Beside them the gauges, the last value of the time:
depth and running are jobs, oldest is in milliseconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Upper bounds of the histograms' buckets, seconds; one more bucket is for what took longer.
BOUNDS = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0),
)
#: Seconds of one bucket of time, by tier.
TIERS = {"minute": 60, "hour": 3600, "day": 86400}
#: Outcomes and what else is counted of a run, by the letter of its figure.
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
#: What a task is called in the figures where a queue has more than 200 of them, or a minute more than 20.
OTHER = "_other"
#: The field of the whole queue's figures, and what the fields of tasks begin with.
ALL, TASK = "*", ":"

#: Digits of a figure; what has more was not written by a script.
_MOST_DIGITS = 18
#: Figures of which several make the greatest, not the sum.
GREATEST = frozenset("MX")

Counts = tuple[int, ...]
"""How many took how long: one number for each of BOUNDS, and one for what took longer."""
NO_COUNTS: Counts = (0,) * (len(BOUNDS) + 1)


class Histogram(NamedTuple):
    """How long something took."""

    counts: Counts = NO_COUNTS
    seconds: float = 0.0
    """The sum of all."""
    longest: float = 0.0
    """Seconds; 0 where it is not known, as in what was kept before it was counted."""

    @property
    def total(self) -> int:
        """How many there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Seconds on average; None where there were none."""
        return self.seconds / self.total if self.total else None

    def percentile(self, part: float) -> float | None:
        """Give the seconds that `part` (0 to 1) of all took at most; None where there were none.

        It is interpolated within its bucket, whose bound is the longest where that lies in it, so it is right to the
        bucket's width. In the first bucket, where that would say nothing, it is the least that can be vouched for.
        What took longer than the last bound counts as the last bound where the longest is not known.
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
        """Give what none of a bucket took longer than: the longest of all, if it is in there."""
        low, high = BOUNDS[place - 1] if place else 0.0, BOUNDS[place] if place < len(BOUNDS) else math.inf
        if self.longest > 0 and low <= self.longest <= high:
            return self.longest
        return low if math.isinf(high) else high

    def _certain(self, part: float) -> float:
        """Give what `part` took at most by their mean alone: not more than half can take over twice the mean."""
        return self.seconds / self.total / (1 - part) if self.seconds and part < 1 else math.inf


class Figures(NamedTuple):
    """What was done in some time: by a queue, or by one task of it."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    timeout: int = 0
    lost: int = 0
    expired: int = 0
    retried: int = 0
    died: int = 0
    """Workers that died while they ran it; what became of the job is counted besides."""
    runs: Histogram = Histogram()
    waits: Histogram = Histogram()

    @property
    def finished(self) -> int:
        """Jobs that ended, in whatever way."""
        return self.succeeded + self.failures + self.cancelled

    @property
    def failures(self) -> int:
        """Jobs that ended badly: failed, timeout, lost, expired."""
        return self.failed + self.timeout + self.lost + self.expired


def read_figure(text: str) -> int | None:
    """Give a whole number of its text; None where it is none, or has more digits than any count or time."""
    return int(text) if len(text) <= _MOST_DIGITS and text.isdecimal() else None


def read_figures(text: str) -> Figures:
    """Give figures of their text; what is not one is left out."""
    found: dict[str, int] = {}
    add_text(found, text)
    return figures_of(found)


def add_text(found: dict[str, int], text: str) -> None:
    """Add figures, as text, to others by name; what is no figure is left out."""
    for word in text.split():
        name, _, count = word.partition("=")
        figure = read_figure(count)
        if figure is not None:
            before = found.get(name, 0)
            found[name] = max(before, figure) if name in GREATEST else before + figure


def figures_of(found: Mapping[str, int]) -> Figures:
    """Give figures of their counts by name."""
    counts: dict[str, Any] = {outcome: found.get(letter, 0) for outcome, letter in LETTERS.items()}
    return Figures(
        found.get("b", 0), runs=_histogram(found, "R", "M"), waits=_histogram(found, "W", "X"), **counts
    )


def write_figures(found: Mapping[str, int]) -> str:
    """Give the text of figures by name; what is zero is left out."""
    return " ".join(f"{name}={count}" for name, count in found.items() if count)


def _histogram(found: Mapping[str, int], letter: str, longest: str) -> Histogram:
    counts = tuple(found.get(f"{letter}{place}", 0) for place in range(len(NO_COUNTS)))
    return Histogram(counts, found.get(letter, 0) / 1e6, found.get(longest, 0) / 1e6)


def sum_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """Give all of them as one."""
    counts, seconds, longest = NO_COUNTS, 0.0, 0.0
    for one in histograms:
        counts = tuple(map(int.__add__, counts, one.counts))
        seconds += one.seconds
        longest = max(longest, one.longest)
    return Histogram(counts, seconds, longest)


def sum_figures(figures: Iterable[Figures]) -> Figures:
    """Give all of them as one."""
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
    """Return what is left of figures without a part of them; never less than nothing."""
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
    """Give the number of the minute, hour or day (`tier`) in which a time lies, seconds since 1970."""
    return int(at // TIERS[tier])


def begin(tier: str, number: int) -> float:
    """Give the time at which a bucket begins, seconds since 1970."""
    return float(number * TIERS[tier])
