"""Fixtures of the page's core: samplers with short steps, and clients that count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard import live
from conveyor.dashboard.page import Book, Page
from conveyor.dashboard.sampler import Sampler
from conveyor.monitor import poll_interval

from .core_kit import CountingClient
from .serving_kit import environment, run, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["environment", "run", "start"]


@pytest.fixture
def quick_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second last 40 ms, so that many samples take little time."""
    monkeypatch.setattr(poll_interval, "STEPS", (0.04, 0.08, 0.2, 0.6))


@pytest.fixture
def client(one_server: Any) -> Iterator[CountingClient]:
    """Give a client that counts its round trips."""
    client = CountingClient(one_server.url)
    yield client
    client.close()


@pytest.fixture
def sampler_of(client: CountingClient, eventually: Any) -> Iterator[Callable[..., Sampler]]:
    """Give the function that makes a sampler of some pages; its thread is gone afterwards."""
    made: list[Sampler] = []

    def make(*pages: Page) -> Sampler:
        made.append(Sampler(client, Book(pages)))
        return made[-1]

    yield make
    for sampler in made:
        for watcher in list(sampler._watchers):
            sampler.unwatch(watcher)
        eventually(lambda sampler=sampler: sampler._thread is None)


@pytest.fixture
def samplers(monkeypatch: pytest.MonkeyPatch) -> list[Sampler]:
    """Give the samplers of the applications that this test makes."""
    made: list[Sampler] = []

    class Noted(live.Live):
        def __init__(self, sampler: Sampler) -> None:
            super().__init__(sampler)
            made.append(sampler)

    monkeypatch.setattr("conveyor.dashboard.app.Live", Noted)
    return made
