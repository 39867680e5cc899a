"""Figures add up, survive serialization, and yield percentiles that are right to the width of a bucket."""

from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from conveyor.wire.statistics import (
    BOUNDS,
    LETTERS,
    NO_COUNTS,
    Figures,
    Histogram,
    add_text,
    begin,
    bucket,
    read_figures,
    sum_figures,
    write_figures,
)

SECONDS = st.floats(0.0, 2 * BOUNDS[-1])
NAMES = [
    "b",
    *LETTERS.values(),
    *(f"{letter}{place}" for letter in "RW" for place in ("", *range(len(BOUNDS) + 1))),
    *"MX",
]
COUNTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2**40))


def counted(times: list[float], *, known: bool = True) -> Histogram:
    """Count as a worker does; records from before the longest time was counted lack it."""
    counts = list(NO_COUNTS)
    for one in times:
        counts[bisect_left(BOUNDS, one)] += 1
    return Histogram(tuple(counts), math.fsum(times), max(times) if known else 0.0)


@given(times=st.lists(SECONDS, min_size=1), part=st.floats(0.0, 1.0), known=st.booleans())
def test_percentile_is_in_the_bucket_of_the_true_value(
    *, times: list[float], part: float, known: bool
) -> None:
    found = counted(times, known=known).percentile(part)
    true = sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
    place = bisect_left(BOUNDS, true)
    assert found is not None
    if place == len(BOUNDS) and not known:
        assert found == BOUNDS[-1]
    else:
        low, high = BOUNDS[place - 1] if place else 0.0, [*BOUNDS, math.inf][place]
        assert low <= found <= (min(high, max(times) or high) if known else high)


@given(
    times=st.lists(SECONDS, min_size=1),
    parts=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    known=st.booleans(),
)
def test_higher_percentile_is_no_smaller(
    *, times: list[float], parts: tuple[float, float], known: bool
) -> None:
    found = counted(times, known=known)
    low, high = found.percentile(min(parts)), found.percentile(max(parts))
    assert low is not None
    assert high is not None
    assert low <= high


def test_percentile_and_mean_of_an_empty_histogram_are_none() -> None:
    assert Histogram().percentile(0.5) is None
    assert Histogram().mean is None


def test_percentile_is_interpolated_up_to_the_longest_time() -> None:
    times = [0.2] * 10  # between 0.1 and 0.25
    assert counted(times, known=False).percentile(0.5) == 0.1 + 0.15 * 0.5
    assert counted(times, known=False).percentile(1.0) == 0.25
    assert counted(times).percentile(1.0) == 0.2


@given(
    times=st.lists(st.floats(0.0001, BOUNDS[0]), min_size=1), part=st.floats(0.0, 0.99), known=st.booleans()
)
def test_percentile_of_short_times_is_never_below_the_true_one(
    *, times: list[float], part: float, known: bool
) -> None:
    true = sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
    found = counted(times, known=known).percentile(part)
    assert found is not None
    assert found >= true or math.isclose(found, true)


def test_millisecond_jobs_have_millisecond_percentiles() -> None:
    assert counted([0.001] * 100).percentile(0.95) == 0.001
    found = counted([0.001] * 99 + [0.04]).percentile(0.5)
    assert found is not None
    assert found < 0.003
    assert counted([0.02] * 100, known=False).percentile(0.95) == BOUNDS[0]


def test_time_beyond_the_last_bucket_is_bounded_by_the_longest() -> None:
    days = [3 * 86400.0] * 4
    assert counted(days).percentile(1.0) == days[0]
    assert counted(days, known=False).percentile(1.0) == BOUNDS[-1]


def test_sum_of_histograms_keeps_the_longest_time() -> None:
    both = sum_figures([read_figures("R0=1 M=700 X=5"), read_figures("R0=1 M=900"), read_figures("R0=3")])
    assert (both.runs.total, both.runs.longest, both.waits.longest) == (5, 0.0009, 5e-06)
    counts: dict[str, int] = {}
    for text in ("s=1 M=700", "s=1 M=900", "s=1 M=800"):
        add_text(counts, text)
    assert counts == {"s": 3, "M": 900}


@given(COUNTS)
def test_figures_survive_serialization(counts: dict[str, int]) -> None:
    figures = read_figures(write_figures(counts))
    assert figures.started == counts.get("b", 0)
    for outcome, letter in LETTERS.items():
        assert getattr(figures, outcome) == counts.get(letter, 0)
    assert figures.runs.counts == tuple(counts.get(f"R{place}", 0) for place in range(len(NO_COUNTS)))
    assert figures.waits.seconds == counts.get("W", 0) / 1e6


@given(st.lists(COUNTS))
def test_figures_add_up(several: list[dict[str, int]]) -> None:
    found = sum_figures(read_figures(write_figures(one)) for one in several)
    assert found.lost == sum(one.get("l", 0) for one in several)
    assert found.runs.total == sum(one.get(f"R{place}", 0) for one in several for place in range(20))


@given(st.text())
def test_any_text_can_be_parsed_as_figures(text: str) -> None:
    assert isinstance(read_figures(text), Figures)


def test_failed_outcomes_do_not_count_as_succeeded() -> None:
    figures = read_figures("s=1 f=2 t=4 l=8 e=16 c=32 r=64")
    assert (figures.failures, figures.finished) == (30, 63)


@given(st.sampled_from(["minute", "hour", "day"]), st.floats(0, 1e11))
def test_time_is_within_its_bucket(tier: str, at: float) -> None:
    number = bucket(tier, at)
    assert begin(tier, number) <= at < begin(tier, number + 1)
