"""Tests that run consumers, as those in tests/consumer do, and share what those share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))

from consumer_kit import alone, consume, path, queue, short_lease

__all__ = ["alone", "consume", "path", "queue", "short_lease"]
