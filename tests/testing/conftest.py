"""A queue on a server of each kind, as the tests of a user have it."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor import Queue
from conveyor.testing import PrivateServer


@pytest.fixture
def queue(server: Any, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return a queue on an empty server, which CONVEYOR_URL names."""
    PrivateServer(server.url).clear()
    monkeypatch.setenv("CONVEYOR_URL", server.url)
    return Queue("work")
