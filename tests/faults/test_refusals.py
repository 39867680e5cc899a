"""A server that takes no writes for a while, for want of replicas or of a disk: results are kept, nobody is blamed."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines
from moving import Node

from conveyor import Queue
from conveyor.errors import StoreUnavailable
from conveyor.store import connect, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def node(server: Any, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Node]:
    """Give a server of each kind whose settings and folder the test may spoil."""
    node = Node(server.binary, tmp_path / "node")
    eventually(node.answers)
    yield node
    node.end()


@pytest.fixture
def queue(node: Node) -> Queue:
    """Give a queue on it."""
    return Queue("work", store=connect(f"redis://127.0.0.1:{node.port}"))


def take_no_writes(node: Node, eventually: Callable[..., Any], why: str) -> None:
    if why == "NOREPLICAS":
        node.raw.config_set("min-replicas-to-write", 1)
        return
    shutil.rmtree(node.folder)  # the disk has failed
    node.raw.config_set("save", "900 1")
    node.raw.bgsave()
    eventually(lambda: node.raw.info("persistence")["rdb_last_bgsave_status"] == "err")


def take_writes(node: Node) -> None:
    node.raw.config_set("min-replicas-to-write", 0)
    node.raw.config_set("stop-writes-on-bgsave-error", "no")


@pytest.mark.usefixtures("short_lease")
@pytest.mark.parametrize("why", ["NOREPLICAS", "MISCONF"])
def test_result_outlasts_a_refusal_longer_than_a_lease(
    why: str,
    node: Node,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    running = consume()
    job = queue.submit(jobs.hold, str(path), "kept")
    eventually(lambda: lines(path))
    before = running.workers()
    take_no_writes(node, eventually, why)
    go(path)
    until = time.monotonic() + 3.5  # seconds; a lease is 1
    eventually(lambda: time.monotonic() > until)
    with pytest.raises(StoreUnavailable, match="is not ready"):
        queue.client.run(plain.note_queue("other"), patience=0.1)
    take_writes(node)
    assert job.result(10) == "kept"
    assert len(lines(path)) == 1
    assert running.workers() == before
    assert (queue.count().lapsed, queue.count().dead) == (0, 0)
