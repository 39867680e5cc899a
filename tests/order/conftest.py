"""Tests that run consumers, with the fixtures of tests/consumer."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))

from consumer_kit import alone, consume, path, queue, short_lease

__all__ = ["alone", "consume", "path", "queue", "short_lease"]
