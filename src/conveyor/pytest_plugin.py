"""The fixtures of `conveyor.testing`. pytest imports this module in every run, so it imports others only when used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.queue import Queue
    from conveyor.testing import PrivateServer


@pytest.fixture(scope="session")
def conveyor_server() -> Iterator[PrivateServer]:
    """Start a server for the tests of this process, once."""
    from conveyor.testing import private_server  # noqa: PLC0415

    with private_server() as server:
        yield server


@pytest.fixture
def conveyor_queue(conveyor_server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> Queue[Any]:
    """Return the queue `default` on the empty private server, which all queues use during the test."""
    from conveyor.queue import Queue  # noqa: PLC0415

    conveyor_server.clear()
    monkeypatch.setenv("CONVEYOR_URL", conveyor_server.url)
    if not os.environ.get("CONVEYOR_KEY"):
        monkeypatch.setenv("CONVEYOR_KEY", conveyor_server.key)
    return Queue()


@pytest.fixture
def conveyor_inline(conveyor_queue: Queue[Any]) -> Iterator[Queue[Any]]:
    """Return the same, and run jobs in the process of the test as soon as they are submitted."""
    from conveyor.testing import inline  # noqa: PLC0415

    with inline():
        yield conveyor_queue
