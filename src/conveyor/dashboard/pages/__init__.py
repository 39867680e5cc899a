"""All pages, in the order of the menu."""

from __future__ import annotations

from conveyor.dashboard.pages.failures import FAILURES
from conveyor.dashboard.pages.job import FOUND, JOB
from conveyor.dashboard.pages.jobs import JOBS
from conveyor.dashboard.pages.overview import OVERVIEW

ALL = (
    OVERVIEW,
    JOBS,
    JOB,
    FOUND,
    FAILURES,
)
