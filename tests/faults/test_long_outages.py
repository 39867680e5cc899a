"""Outages that last longer than a lease: of the server, and of the network of one consumer."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor.consumer.settings import LEASE
from conveyor.store import connect
from conveyor.torture.proxy import PASS, REPLIES, REQUESTS, Mode, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

OUTAGE = LEASE + 3.0  # seconds


@pytest.mark.slow
def test_suspended_server_ends_no_lease(
    queue: Queue, consume: Callable[..., Any], one_server: Any, path: Path, eventually: Callable[..., Any]
) -> None:
    """A running job continues, others start afterwards, and idle consumers do not take it."""
    for _ in range(3):
        consume()
    held = queue.submit(jobs.hold, str(path), "held")
    eventually(lambda: lines(path))
    until = time.monotonic() + OUTAGE
    os.kill(one_server.pid, signal.SIGSTOP)
    try:
        eventually(lambda: time.monotonic() > until, OUTAGE + 5.0)
    finally:
        os.kill(one_server.pid, signal.SIGCONT)
    others = queue.submit_many(jobs.add, [(number, 1) for number in range(100)])
    assert [job.result(30) for job in others] == list(range(1, 101))
    go(path)
    assert held.result(30) == "held"
    assert len(lines(path)) == 1
    count = queue.count()
    assert (count.finished, count.live, count.lapsed, count.imbalance) == (101, 0, 0, 0)


@pytest.mark.slow
def test_job_of_a_disconnected_consumer_runs_elsewhere(
    queue: Queue, consume: Callable[..., Any], one_server: Any, path: Path, eventually: Callable[..., Any]
) -> None:
    """Another takes over within 20 s; the late result of the consumer is refused, and it continues."""
    with Proxy(one_server.url) as proxy:
        consume(store=connect(proxy.url))
        job = queue.submit(jobs.hold, str(path), "it")
        eventually(lambda: lines(path))
        other = consume()
        eventually(other.report)
        proxy.mode = Mode(held=frozenset({REQUESTS, REPLIES}))
        eventually(lambda: len(lines(path)) == 2, 20.0)
        proxy.cut()
        proxy.mode = PASS
        go(path)
        assert job.result(30) == "it"
        other.signal()
        eventually(other.has_left)
        assert queue.submit(jobs.add, 1, 2).result(30) == 3
    count = queue.count()
    assert (count.finished, count.live, count.dead, count.lapsed, count.imbalance) == (2, 0, 0, 1, 0)
