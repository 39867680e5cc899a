"""Reported progress as a fraction that every interface can show."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.wire.control_messages import Progress, WorkerReport, fraction_of


@given(done=st.floats(), total=st.floats())
def test_fraction_of_any_numbers_is_none_or_between_0_and_1(done: float, total: float) -> None:
    fraction = fraction_of(done, total)
    assert fraction is None or 0 <= fraction <= 1
    assert (fraction is None) == (not (math.isfinite(done) and math.isfinite(total) and total > 0))


@pytest.mark.parametrize(
    ("done", "total", "fraction"),
    [(1, 4, 0.25), (5, 4, 1.0), (-1, 4, 0.0), (1e308, 1e-308, 1.0), (3, 0, None), (3, -1, None)],
)
def test_fraction_is_clamped_for_reports_and_progress(
    done: float, total: float, fraction: float | None
) -> None:
    assert Progress(done, total).fraction == fraction
    assert WorkerReport("rack-1/1", 1, "busy", done=done, total=total).fraction == fraction
