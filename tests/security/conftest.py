"""Tests that run consumers, as those in tests/consumer do, and ask the page, as those in tests/dashboard do."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "dashboard"))

from consumer_kit import alone, consume, path, queue, short_lease

__all__ = ["alone", "consume", "path", "queue", "short_lease"]
