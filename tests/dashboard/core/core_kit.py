"""Shared tools for tests of the page's core: a client that counts, small pages, a listener."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import Queue
from conveyor.dashboard.page import Page, PageRequest
from conveyor.store import Client, commands
from conveyor.store.commands import Count
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from conveyor.dashboard.live_stats import LiveStats
    from conveyor.dashboard.poller import PagePoller
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.command import Command


class CountingClient(Client):
    """Remembers how many commands went in each round trip; may be made to do something before each."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.trips: list[int] = []
        self.before: Callable[[], None] = lambda: None

    def run_all(self, commands: Sequence[Command], **limits: Any) -> list[Any]:
        self.trips.append(len(commands))
        self.before()
        return super().run_all(commands, **limits)


class Listener:
    """A watcher that keeps all messages."""

    access = None

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.told: list[tuple[str, Any]] = []
        self._lock = threading.Lock()

    def notify(self, topic: str, data: object) -> None:
        with self._lock:
            self.told.append((topic, data))

    def of(self, topic: str) -> list[Any]:
        """Return all messages on a topic."""
        with self._lock:
            return [data for told, data in self.told if told == topic]

    @property
    def pulses(self) -> list[LiveStats]:
        return self.of("pulse")

    def versions(self, address: str) -> list[str]:
        """Return the versions announced for a page."""
        return [news["version"] for news in self.of(f"changed {address}")]


class Shown(NamedTuple):
    """The view of a test's page."""

    number: int


def asks_time(_: PageRequest, __: Snapshot) -> Query[Any]:
    """Query a single command."""
    return Query((commands.server_time(),), lambda answers: answers[0])


def page(name: str, view: Callable[..., Any] = lambda *_: Shown(1), **facts: Any) -> Page:
    """Return a page at /NAME that queries a single command."""
    return Page(name, f"/{name}", name, view, **{"question": asks_time, **facts})


def counts(**facts: int) -> Count:
    """Return the counts of a queue with a balanced ledger unless `accepted` is given, too."""
    count = Count(*[0] * len(Count._fields))._replace(**facts)
    return count if "accepted" in facts else count._replace(accepted=-count.imbalance)


def put(server: Any, name: str, jobs: int = 1, maxsize: int = 0) -> Queue:
    """Put some jobs, and return the queue."""
    queue = Queue(name, maxsize, store=server.client)
    for number in range(jobs):
        queue.put({"n": number})
    return queue


def each(addresses: Iterable[str], listeners: int) -> list[Listener]:
    """Return listeners that all watch the same pages."""
    return [Listener(*addresses) for _ in range(listeners)]


def later(eventually: Any, listener: Listener, samples: int = 3) -> None:
    """Wait for `samples` more pulses with the versions that come after each; those of the last may be under way."""
    before = len(listener.pulses)
    eventually(lambda: len(listener.pulses) > before + samples)


def end(eventually: Any, poller: PagePoller, listener: Listener) -> None:
    """Unsubscribe the only listener, and wait until it has heard everything."""
    poller.unsubscribe(listener)
    eventually(lambda: poller._thread is None)
