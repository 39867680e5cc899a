"""What a client learns of its server before its first job: that it is a replica, that it evicts keys."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue
from conveyor.errors import StoreUnavailable
from conveyor.store import fitness
from conveyor.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Server


@contextmanager
def policy(server: Server, name: str) -> Iterator[None]:
    """Make the server evict keys by a policy."""
    server.raw.config_set("maxmemory-policy", name)
    try:
        yield
    finally:
        server.raw.config_set("maxmemory-policy", "noeviction")


@contextmanager
def replica(server: Server) -> Iterator[None]:
    """Make the server a replica of an unavailable one."""
    server.raw.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        server.raw.replicaof("NO", "ONE")


@pytest.mark.parametrize("verb", ["put", "get"])
def test_replica_is_refused(server: Server, verb: str) -> None:
    queue = Queue("films", store=server.client)
    call: Any = {"put": lambda: queue.put("item"), "get": lambda: queue.get(timeout=5)}[verb]
    with replica(server):
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="is a replica and accepts no jobs") as error:
            call()
        assert time.monotonic() - before < 5
        assert "primary" in error.value.hint
    queue.put("item")
    assert queue.get(timeout=5) == "item"
    queue.task_done()


@pytest.mark.parametrize(("name", "what"), [("allkeys-lru", "jobs"), ("volatile-ttl", "results")])
def test_eviction_policy_is_logged_once(
    server: Server, name: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue("films", store=server.client)
    with policy(server, name), caplog.at_level(logging.WARNING, "conveyor"):
        for number in range(3):
            queue.put(number)
            queue.get()
            queue.task_done()
    (record,) = caplog.records
    assert f"may evict {what}" in record.getMessage()
    assert name in record.getMessage()


def test_server_without_eviction_has_no_risk(server: Server) -> None:
    assert server.client.perform(fitness.risk_of(server.client)) == ""


def test_risk_is_unknown_without_the_right_to_info(one_server: Server) -> None:
    one_server.raw.execute_command("ACL", "SETUSER", "ann", "on", "nopass", "+@all", "-info", "~*", "&*")
    client = Client(one_server.url_of("ann"))
    try:
        with policy(one_server, "allkeys-lru"):
            assert client.perform(fitness.risk_of(client)) == ""
    finally:
        client.close()
        one_server.raw.execute_command("ACL", "DELUSER", "ann")
