"""Tests that run consumers, with the fixtures of tests/consumer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "consumer" / "support"))

from consumer_kit import alone, consume, path, queue, short_lease
from moving import Node, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["alone", "consume", "path", "queue", "short_lease"]


@pytest.fixture
def pair(server: Any, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Pair]:
    """Return a primary and a replica of each kind of server, behind a common address."""
    nodes = [Node(server.binary, tmp_path / name) for name in ("first", "second")]
    try:
        pair = Pair(nodes, eventually)
        yield pair
        pair.end()
    finally:
        for one in nodes:
            one.end()
