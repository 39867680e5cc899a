"""Tests that run consumers and call the page, with the fixtures of tests/consumer and tests/dashboard."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "dashboard"))

from consumer_kit import alone, consume, path, queue, short_lease

__all__ = ["alone", "consume", "path", "queue", "short_lease"]
