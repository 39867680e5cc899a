"""Figures add up, survive their text, and give percentiles that are right to the width of a bucket."""

from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from conveyor.statistics import (
    BOUNDS,
    LETTERS,
    NO_COUNTS,
    Figures,
    Histogram,
    begin,
    bucket,
    percentile,
    read_figures,
    sum_figures,
    write_figures,
)

SECONDS = st.floats(0.0, 2 * BOUNDS[-1])
NAMES = [
    "b",
    *LETTERS.values(),
    *(f"{letter}{place}" for letter in "RW" for place in ("", *range(len(BOUNDS) + 1))),
]
COUNTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2**40))


def counted(times: list[float]) -> list[int]:
    counts = list(NO_COUNTS)
    for one in times:
        counts[bisect_left(BOUNDS, one)] += 1
    return counts


@given(st.lists(SECONDS, min_size=1), st.floats(0.0, 1.0))
def test_a_percentile_is_in_the_bucket_of_the_true_one(times: list[float], part: float) -> None:
    found = percentile(counted(times), part)
    true = sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
    place = bisect_left(BOUNDS, true)
    assert found is not None
    if place == len(BOUNDS):
        assert found == BOUNDS[-1]
    else:
        assert (BOUNDS[place - 1] if place else 0.0) <= found <= BOUNDS[place]


@given(st.lists(SECONDS, min_size=1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_higher_percentile_is_no_smaller(times: list[float], one: float, other: float) -> None:
    counts = counted(times)
    low, high = percentile(counts, min(one, other)), percentile(counts, max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high


def test_of_nothing_there_is_no_percentile_and_no_mean() -> None:
    assert percentile(NO_COUNTS, 0.5) is None
    assert Histogram().mean is None


def test_within_a_bucket_it_is_interpolated() -> None:
    counts = counted([0.2] * 10)  # between 0.1 and 0.25
    assert percentile(counts, 0.5) == 0.1 + 0.15 * 0.5
    assert percentile(counts, 1.0) == 0.25


@given(COUNTS)
def test_figures_survive_their_text(counts: dict[str, int]) -> None:
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
def test_any_text_can_be_read_as_figures(text: str) -> None:
    assert isinstance(read_figures(text), Figures)


def test_what_ended_badly_is_no_success() -> None:
    figures = read_figures("s=1 f=2 t=4 l=8 e=16 c=32 r=64")
    assert (figures.failures, figures.finished) == (30, 63)


@given(st.sampled_from(["minute", "hour", "day"]), st.floats(0, 1e11))
def test_a_time_lies_in_its_bucket(tier: str, at: float) -> None:
    number = bucket(tier, at)
    assert begin(tier, number) <= at < begin(tier, number + 1)
