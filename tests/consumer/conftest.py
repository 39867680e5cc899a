"""Tests of running consumers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

from consumer_kit import alone, consume, kind, path, queue, real_start, short_lease, style

__all__ = ["alone", "consume", "kind", "path", "queue", "real_start", "short_lease", "style"]
