"""All pages, in the order of the menu."""

from __future__ import annotations

from conveyor.dashboard.pages.enqueue import ENQUEUE
from conveyor.dashboard.pages.overview import OVERVIEW

ALL = (OVERVIEW, ENQUEUE)
