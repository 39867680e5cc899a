"""A server that refuses writes for a while: producers get errors, workers keep their results, and no job is blamed."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import psutil
import pytest
from consumer_kit import go, lines
from moving import Node

from conveyor import Queue, StoreUnavailable
from conveyor.store import commands, connect
from conveyor.store.commands import PutParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def node(one_server: Any, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Node]:
    """Return a server with an append-only file."""
    node = Node(one_server.binary, tmp_path / "node", "appendonly yes")
    try:
        eventually(node.answers)
        yield node
    finally:
        node.end()


@pytest.fixture
def queue(node: Node) -> Queue:
    return Queue("work", store=connect(f"redis://127.0.0.1:{node.port}"))


@contextlib.contextmanager
def full_disk(node: Node) -> Iterator[None]:
    """Keep the server's files from growing, as on a full disk."""
    server = psutil.Process(node.process.pid)
    limits = server.rlimit(resource.RLIMIT_FSIZE)
    server.rlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        yield
    finally:
        server.rlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def no_replicas(node: Node) -> Iterator[None]:
    """Make the server require a replica that it does not have."""
    node.raw.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        node.raw.config_set("min-replicas-to-write", 0)


class Refusal:
    """A server that can be made to refuse writes, and the effect on a put at that time."""

    def __init__(self, fault: Any, node: Node, queue: Queue) -> None:
        self.word = {full_disk: "MISCONF", no_replicas: "NOREPLICAS"}[fault]
        self.lasts = lambda: fault(node)
        self.client = queue.client
        self.accepted = 0

    def is_told(self) -> bool:
        """Put a job, and return True if it is refused for this reason."""
        command = commands.put("other", [(f"job{self.accepted}", b"bytes")], PutParams())
        try:
            self.client.run(command, patience=0.1)
        except StoreUnavailable as error:
            return self.word in str(error)
        self.accepted += 1
        return False


@pytest.fixture(params=[full_disk, no_replicas])
def refusal(request: pytest.FixtureRequest, node: Node, queue: Queue) -> Refusal:
    return Refusal(request.param, node, queue)


def test_results_are_kept_while_the_server_refuses_writes(
    refusal: Refusal, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Any, capfd: Any
) -> None:
    running = consume()
    before = running.workers()
    held = queue.submit(jobs.hold, str(path), "held")
    eventually(lambda: lines(path))
    with refusal.lasts():
        eventually(refusal.is_told)
        go(path)
        eventually(lambda: refusal.word in capfd.readouterr().err)
    assert held.result(30) == "held"
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() == before
    assert len(lines(path)) == 1, "it ran once"
    count = queue.count()
    assert (count.finished, count.live, count.lapsed, count.imbalance) == (2, 0, 0, 0)
    assert Queue("other", store=queue.client).count().accepted == refusal.accepted
    queue.client.close()
