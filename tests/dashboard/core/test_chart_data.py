"""The figures of a history."""

from __future__ import annotations

import pytest

from conveyor.dashboard.chart_data import ChartData
from conveyor.monitor.charts import Point


@pytest.mark.parametrize(("now", "ended"), [(120.0, 13), (150.0, 8), (179.0, 3), (500.0, 3), (90.0, 13)])
def test_last_minute_counts_its_share_of_the_previous_minute(now: float, ended: int) -> None:
    over = Point(60.0, succeeded=5, failed=2, timeout=1, cancelled=1, lost=1, expired=1, retried=7)
    figures = ChartData([Point(0.0, succeeded=100), over, Point(120.0, succeeded=3)])
    assert figures.last_minute(now) == ended


def test_rate_is_zero_without_history() -> None:
    assert ChartData().last_minute(100.0) == 0
