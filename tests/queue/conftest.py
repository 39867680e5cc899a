"""A queue on a server, and a bench that settles its jobs as a worker would, without any worker process."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue, inbox
from conveyor.store import commands
from conveyor.wire import codec
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_names = (f"bench{number}" for number in itertools.count())


class Bench:
    """Puts jobs on a separate queue and ends them in any way."""

    def __init__(self, server: Any, eventually: Callable[..., Any]) -> None:
        self.server = server
        self.client = server.client
        self.worker = server.another_client()
        self.eventually = eventually
        self.queue = self.make()
        self._nonces = itertools.count()

    def make(self) -> Queue:
        """Return another queue on the same server."""
        return Queue(next(_names), store=self.client)

    def claim(self, many: int = 1, queue: Queue | None = None) -> commands.Batch:
        """Take jobs as a worker does."""
        name = (queue or self.queue).name
        return self.worker.run(commands.claim(name, "worker", f"n{next(self._nonces)}", many, 1000.0))

    def settle(
        self, many: int = 1, value: object = None, queue: Queue | None = None, state: str = "done"
    ) -> None:
        """Take `count` jobs and end them all with this result."""
        name = (queue or self.queue).name
        outcome = encode_settled(state, codec.encode(value), 0.5)
        while many > 0:
            batch = self.claim(min(many, 500), queue)
            assert batch.jobs, f"only {batch.state}: there were fewer jobs than that"
            told = [commands.Settlement(job.id, outcome, 60.0) for job in batch.jobs]
            assert self.worker.run(commands.finish(name, batch.token, told)) == []
            many -= len(batch.jobs)

    def inbox_is_open(self, queue: Queue | None = None) -> bool:
        """Return True if outcomes of a queue are pushed to any inbox."""
        return self.server.raw.zcard(f"conveyor:{{{(queue or self.queue).name}}}:inboxes") > 0


@pytest.fixture
def bench(one_server: Any, eventually: Callable[..., Any]) -> Iterator[Bench]:
    """Provide a queue and a bench that settles its jobs; check that its ledger balances afterwards."""
    bench = Bench(one_server, eventually)
    yield bench
    assert bench.queue.count().imbalance == 0


@pytest.fixture
def bench_of_each(server: Any, eventually: Callable[..., Any]) -> Iterator[Bench]:
    """Provide the same on each kind of server in turn."""
    bench = Bench(server, eventually)
    yield bench
    assert bench.queue.count().imbalance == 0


@pytest.fixture
def bench_at(eventually: Callable[..., Any]) -> Iterator[Callable[[Any], Bench]]:
    """Return a function that makes a bench at a server; check that the ledger balances afterwards."""
    benches: list[Bench] = []

    def make(server: Any) -> Bench:
        benches.append(Bench(server, eventually))
        return benches[-1]

    yield make
    for bench in benches:
        assert bench.queue.count().imbalance == 0


@pytest.fixture
def never_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the inbox poll so rarely that every result must have been pushed."""
    monkeypatch.setattr(inbox, "POLL_AGAIN", 60.0)
    monkeypatch.setattr(inbox, "HOLD", 600.0)
    monkeypatch.setattr(inbox, "HOLD_AGAIN", 500.0)
