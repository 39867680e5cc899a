"""Fixtures of the page's core: pollers with short steps, and clients that count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard import live
from conveyor.dashboard.page import Page, PageRegistry
from conveyor.dashboard.poller import PagePoller
from conveyor.monitor import poller as polling

from .core_kit import CountingClient
from .serving_kit import environment, run, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["environment", "run", "start"]


@pytest.fixture
def quick_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second last 40 ms, so that many samples take little time."""
    monkeypatch.setattr(polling, "STEPS", (0.04, 0.08, 0.2, 0.6))


@pytest.fixture
def client(one_server: Any) -> Iterator[CountingClient]:
    """Give a client that counts its round trips."""
    client = CountingClient(one_server.url)
    yield client
    client.close()


@pytest.fixture
def poller_of(client: CountingClient, eventually: Any) -> Iterator[Callable[..., PagePoller]]:
    """Give the function that makes a poller of some pages; its thread is gone afterwards."""
    made: list[PagePoller] = []

    def make(*pages: Page) -> PagePoller:
        made.append(PagePoller(client, PageRegistry(pages)))
        return made[-1]

    yield make
    for poller in made:
        for watcher in list(poller._subscribers):
            poller.unsubscribe(watcher)
        eventually(lambda poller=poller: poller._thread is None)


@pytest.fixture
def pollers(monkeypatch: pytest.MonkeyPatch) -> list[PagePoller]:
    """Give the pollers of the applications that this test makes."""
    made: list[PagePoller] = []

    class Noted(live.LiveChannel):
        def __init__(self, poller: PagePoller) -> None:
            super().__init__(poller)
            made.append(poller)

    monkeypatch.setattr("conveyor.dashboard.app.LiveChannel", Noted)
    return made
