"""Tests of the pages about jobs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages_kit import Line, Role, Visitor

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def line(one_server: Any) -> Line:
    """Return a queue whose jobs are put into any state by hand."""
    return Line(one_server.client)


@pytest.fixture
def visit(one_server: Any) -> Callable[..., Visitor]:
    """Return a function that makes a visitor: an admin unless another role is named."""

    def make(role: Role = Role.ADMIN) -> Visitor:
        return Visitor(one_server.url, role)

    return make
