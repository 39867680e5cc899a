"""count returns the number of jobs by state, also of a queue whose keys hold foreign data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.monitor.snapshot import queue_names
from conveyor.queue import Queue
from conveyor.store import commands
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from conftest import Lane


def test_queue_with_keys_of_another_type_is_counted_as_strange(server: Any) -> None:
    server.raw.set("conveyor:{odd}:ready", "no index")
    server.raw.set("conveyor:{odd}:meta", "no hash")
    count = server.client.run(commands.count("odd"))
    assert (count.ready, count.accepted, count.strange) == (0, 0, 2)
    server.raw.delete("conveyor:{odd}:ready", "conveyor:{odd}:meta")


def test_line_with_foreign_entries_is_counted(server: Any) -> None:
    server.raw.zadd("conveyor:{odd}:line", {"ann": 1, "bob": 2})
    server.raw.set("conveyor:{odd}:seen", "no hash")
    count = server.client.run(commands.count("odd"))
    assert (count.blocked, count.strange) == (2, 1)
    server.raw.delete("conveyor:{odd}:line", "conveyor:{odd}:seen")


def test_invalid_queue_names_are_not_listed(server: Any) -> None:
    Queue("films", store=server.client).put("one")
    server.raw.sadd("conveyor:queues", b"\xff", "a queue", "{}")
    assert queue_names().ask(server.client) == ["films"]


@pytest.mark.parametrize("key", ["jobs", "leases", "reasons", "ready", "leased", "dead", "delayed", "meta"])
def test_count_finds_an_evicted_key(lane: Lane, key: str) -> None:
    lane.take("held")
    lane.run(commands.fail, lane.take("dead"), Settlement("dead", b"outcome", 600.0))
    lane.put("waits")
    lane.put("later", delay=1000.0)
    assert (lane.count().torn, lane.count().imbalance) == (0, 0)
    lane.raw.delete(lane.key(key))
    assert lane.count().torn > 0
    lane.raw.flushall()


def test_count_of_an_emptied_queue_finds_the_evicted_meta_key(lane: Lane) -> None:
    lane.run(commands.finish, lane.take("job"), [Settlement("job", b"outcome", 600.0, b"note")])
    assert lane.count().torn == 0
    lane.raw.delete(lane.key("meta"))
    assert lane.count().torn == 1
    lane.raw.flushall()
