"""Tests of the JSON API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard import known_tasks

sys.path.insert(0, str(Path(__file__).parent))

from api_kit import Api

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api(one_server: Any) -> Iterator[Api]:
    """Provide the API of a separate server."""
    known_tasks.use(("api_tasks",))
    made = Api(one_server.client)
    yield made
    made.close()
