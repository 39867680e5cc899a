"""The figures of a history."""

from __future__ import annotations

import pytest

from conveyor.dashboard.chart_data import ChartData
from conveyor.monitor.charts import Point
from conveyor.wire.statistics import Figures


@pytest.mark.parametrize(("now", "ended"), [(120.0, 13), (150.0, 8), (179.0, 3), (500.0, 3), (90.0, 13)])
def test_last_minute_counts_its_share_of_the_previous_minute(now: float, ended: int) -> None:
    over = Figures(succeeded=5, failed=1, timeout=1, cancelled=1, lost=1, expired=1, retried=7)
    history = ((0.0, Figures(succeeded=100)), (60.0, over), (120.0, Figures(succeeded=3)))
    figures = ChartData([Point(*one) for one in history])
    assert figures.last_minute(now) == ended


def test_rate_is_zero_without_history() -> None:
    assert ChartData().last_minute(100.0) == 0
