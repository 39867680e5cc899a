"""Tests of running consumers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

from consumer_kit import alone, consume, path, queue, real_start, short_lease

__all__ = ["alone", "consume", "path", "queue", "real_start", "short_lease"]
