"""The delay before a retry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.wire.call import FIRST_DELAY
from conveyor.wire.outcome import MAX_DELAY, delay_before


@pytest.mark.parametrize(
    ("retry", "wait"), [(1, 1.0), (2, 2.0), (3, 4.0), (10, 512.0), (13, 3600.0), (10_000, 3600.0)]
)
def test_retry_delay_doubles_up_to_an_hour_with_jitter(retry: int, wait: float) -> None:
    for _ in range(50):
        assert wait <= delay_before(retry, 1.0) < wait * 1.25


def test_default_first_retry_delay_is_a_second() -> None:
    assert FIRST_DELAY <= delay_before(1, FIRST_DELAY) < FIRST_DELAY * 1.25


def test_zero_first_delay_means_no_delay() -> None:
    assert delay_before(1, 0.0) == delay_before(9, 0.0) == 0.0


def test_simultaneous_failures_are_retried_at_different_times() -> None:
    assert len({delay_before(3, FIRST_DELAY) for _ in range(100)}) > 50


@given(st.integers(1, 10**6), st.floats(0, 1e6))
def test_retry_delay_is_never_negative_or_above_the_limit(retry: int, first: float) -> None:
    assert 0 <= delay_before(retry, first) <= MAX_DELAY * 1.25
