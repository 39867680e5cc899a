"""What a history says in one number."""

from __future__ import annotations

from conveyor.dashboard.figures import Figures
from conveyor.inspector.statistics import Point


def test_the_last_step_that_is_over_tells_how_many_jobs_ended_in_it() -> None:
    over = Point(60.0, succeeded=5, failed=2, timeout=1, cancelled=1, lost=1, retried=7)
    assert Figures([Point(0.0, succeeded=100), over, Point(120.0, succeeded=3)]).last_step == 9
    assert Figures().last_step == 0
