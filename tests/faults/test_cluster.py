"""A node of a Redis Cluster is refused before any job is put."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from moving import Node

from conveyor import Queue, StoreRefused
from conveyor.cli import exit_codes
from conveyor.cli.main import run
from conveyor.store import connect
from conveyor.torture.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def node(server: Any, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Node]:
    """Return a node of a cluster."""
    node = Node(server.binary, tmp_path / "node", "cluster-enabled yes", f"cluster-port {free_port()}")
    try:
        eventually(node.answers)
        yield node
    finally:
        node.end()


def test_cluster_node_is_refused_immediately(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue("films", store=connect(f"redis://127.0.0.1:{node.port}"))
    for call in (lambda: queue.put("item"), lambda: queue.get(timeout=5)):
        with pytest.raises(StoreRefused, match="is a node of a Redis Cluster") as error:
            call()
        assert "cluster-enabled no" in error.value.hint
    assert node.raw.keys() == []
    assert run(["--url", queue.client.url, "doctor"]) == exit_codes.FAILED
    assert "is a node of a Redis Cluster" in capsys.readouterr().err
    queue.client.close()
