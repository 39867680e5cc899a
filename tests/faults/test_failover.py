"""The primary becomes a replica and another server the primary: all clients of the old one move over."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import Queue, held_items
from conveyor.errors import StoreUnavailable
from conveyor.store import commands, connect
from conveyor.store.client import Client, Listener
from conveyor.store.commands import PutParams

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moving import Pair

    from conveyor.store.command import Command


#: What a client does in a failover is tested with each kind of server; what leases make of it, with one of them.
one_kind = pytest.mark.parametrize("server", ["valkey-server"], indirect=True)


def put(name: str) -> Command:
    return commands.put("films", [(name, b"bytes")], PutParams())


def lease(pair: Pair, queue: str) -> float:
    """Return the end of the only lease that the primary knows; 0 if there is none."""
    found = pair.primary.raw.zrange(f"conveyor:{{{queue}}}:leased", 0, -1, withscores=True)
    return found[0][1] if found else 0.0


@pytest.fixture
def queue(pair: Pair) -> Queue:
    """Return a queue at the address of both."""
    return Queue("work", store=connect(pair.url))


def test_put_moves_to_the_new_primary_with_all_connections(pair: Pair) -> None:
    client = Client(pair.url)
    client.run(put("a"))
    client._idle += [client.connection() for _ in range(20)]
    pair.fail_over()
    before = time.monotonic()
    assert client.run(put("b")).accepted == 1
    assert client.run_all([commands.count("films"), put("c")])[1].accepted == 1
    assert time.monotonic() - before < 3.0
    assert pair.primary.raw.zcard("conveyor:{films}:ready") == 3
    client.close()


def test_pipeline_is_resent_if_a_reply_is_readonly(pair: Pair) -> None:
    client = Client(pair.url)
    client.run(put("a"))
    pair.fail_over()
    count, accepted, _ = client.run_all([commands.count("films"), put("b"), commands.count("films")])
    assert (count.ready, accepted.accepted) == (1, 1)
    client.close()


def test_blocked_call_moves_to_the_new_primary(pair: Pair) -> None:
    client = Client(pair.url)
    client.run(put("a"))
    client.run(commands.claim("films", "ann", "n", 2, 60.0))
    hints: list[Any] = []
    thread = threading.Thread(target=lambda: hints.append(client.run(commands.await_bell(["films"], 20.0))))
    client.run(commands.await_bell(["films"], 0.01))
    thread.start()
    pair.eventually(lambda: pair.primary.raw.info("clients")["blocked_clients"] == 1)
    pair.fail_over()
    client.run(put("b"))
    thread.join(10)
    assert hints == [b"1"]
    client.close()


def test_listener_moves_to_the_new_primary(pair: Pair) -> None:
    client = Client(pair.url)
    listener = Listener(client)
    listener.ask(commands.await_bell(["films"], 20.0))
    pair.eventually(lambda: pair.primary.raw.info("clients")["blocked_clients"] == 1)
    pair.fail_over()
    with pytest.raises(StoreUnavailable):
        listener.reply()
    listener.ask(commands.await_bell(["films"], 20.0))
    client.run(put("a"))
    assert listener.reply() == b"1"
    listener.close()
    client.close()


@one_kind
def test_held_item_keeps_its_lease_through_a_failover(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_items, "LEASE", 2.0)
    monkeypatch.setattr(held_items, "RENEWAL", 0.2)
    queue = Queue("held", store=Client(pair.url))
    queue.put("item")
    assert queue.get() == "item"
    pair.fail_over()
    lease_end = lease(pair, "held")
    pair.eventually(lambda: lease(pair, "held") > lease_end)
    queue.task_done()
    assert queue.count().finished == 1
    queue.client.close()


@one_kind
@pytest.mark.usefixtures("short_lease")
def test_job_runs_once_through_a_failover(
    pair: Pair, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    job = queue.submit(jobs.hold, str(path), "held")
    eventually(lambda: lines(path))
    before = running.workers()
    pair.fail_over()
    lease_end = lease(pair, "work")
    eventually(lambda: lease(pair, "work") > lease_end + 2500)  # ms; more than a lease
    go(path)
    assert job.result(30) == "held"
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert len(lines(path)) == 1
    assert running.workers() == before
    count = queue.count()
    assert (count.lapsed, count.live, count.imbalance) == (0, 0, 0)
    queue.client.close()
