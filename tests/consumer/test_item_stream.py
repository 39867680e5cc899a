"""What a task yields travels in batches, one append at a time, and waits in the worker within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.consumer import sending
from conveyor.consumer.item_stream import ITEM_BYTES, MAX_WAITING, ItemStream
from conveyor.consumer.sending import RunLostError
from conveyor.errors import StoreFull
from conveyor.store import commands
from conveyor.store.commands import PutParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Server

ITEM = b"\x01"


@pytest.fixture
def token(one_server: Server) -> str:
    """Put and claim the job `a`; return its token."""
    one_server.client.run(commands.put("work", [("a", b"bytes")], PutParams()))
    batch = one_server.client.run(commands.claim("work", "ann", "n.1", 1, 1000.0))
    return str(batch.token)


def positions(server: Server) -> list[int]:
    """Return the position behind each entry of the stream."""
    return [int(name.split(b"-")[0]) for name, _ in server.raw.xrange("conveyor:{work}:stream:a")]


def end(server: Server, token: str) -> None:
    server.client.run(commands.finish("work", token, [commands.Settlement("a", b"done", 60.0)]))


def test_first_item_travels_immediately_and_others_together(
    one_server: Server, token: str, eventually: Callable[..., Any]
) -> None:
    items = ItemStream(one_server.client, "work", "a", token)
    items.add(ITEM)
    eventually(lambda: positions(one_server) == [1])
    one_server.raw.client_pause(60_000, all=False)
    for _ in range(1000):
        items.add(ITEM)
    one_server.raw.client_unpause()
    items.close()
    found = positions(one_server)
    assert found[-1] == 1001
    assert len(found) <= 5
    end(one_server, token)


def test_task_waits_if_much_is_under_way(
    one_server: Server, token: str, eventually: Callable[..., Any]
) -> None:
    items = ItemStream(one_server.client, "work", "a", token)
    one_server.raw.client_pause(60_000, all=False)
    most = MAX_WAITING // (1000 + ITEM_BYTES) + 1
    added = 0
    while not items.is_full:
        items.add(bytes(1000))
        added += 1
    assert added == most
    one_server.raw.client_unpause()
    while items.is_full:
        items.wait_for_room()
    items.close()
    assert positions(one_server)[-1] == most
    end(one_server, token)


def test_items_wait_for_a_full_server(
    one_server: Server, token: str, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(sending, "REFUSED_PAUSE", 0.01)
    items = ItemStream(one_server.client, "work", "a", token)
    one_server.raw.config_set("maxmemory", 1)
    try:
        items.add(ITEM)
        refused = _refused(one_server)
        eventually(lambda: _refused(one_server) > refused + 3)
        assert not items.has_failed
    finally:
        one_server.raw.config_set("maxmemory", 0)
    items.close()
    assert positions(one_server) == [1]
    end(one_server, token)


def _refused(server: Server) -> int:
    """Return how often the server refused a command for lack of memory."""
    return int(server.raw.info("errorstats").get("errorstat_OOM", {}).get("count", 0))


def test_server_that_stays_full_ends_the_run(
    one_server: Server, token: str, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(sending, "REFUSED_PAUSE", 0.01)
    monkeypatch.setattr(sending, "LEASE", 0.05)
    items = ItemStream(one_server.client, "work", "a", token)
    one_server.raw.config_set("maxmemory", 1)
    try:
        items.add(ITEM)
        eventually(lambda: items.has_failed)
        with pytest.raises(StoreFull):
            items.add(ITEM)
        with pytest.raises(StoreFull):
            items.close()
    finally:
        one_server.raw.config_set("maxmemory", 0)
    end(one_server, token)


def test_earlier_items_are_not_sent_again(
    one_server: Server, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_server.client.run(commands.append("work", token, "a", 0, [ITEM] * 5000))
    sent: list[int] = []
    append = commands.append

    def counting(queue: str, token: str, job_id: str, first: int, items: list[bytes]) -> Any:
        sent.append(len(items))
        return append(queue, token, job_id, first, items)

    monkeypatch.setattr(commands, "append", counting)
    items = ItemStream(one_server.client, "work", "a", token)
    for _ in range(5010):
        items.add(ITEM)
    items.close()
    assert positions(one_server)[0] == 5000
    assert positions(one_server)[-1] == 5010
    assert sum(sent[1:]) == 10, "the first reply tells how many there are"
    end(one_server, token)


@pytest.mark.parametrize("loss", ["lease", "items"])
def test_lost_run_accepts_no_more_items(
    loss: str, one_server: Server, token: str, eventually: Callable[..., Any]
) -> None:
    items = ItemStream(one_server.client, "work", "a", token)
    items.add(ITEM)
    eventually(lambda: positions(one_server) == [1])
    if loss == "lease":
        one_server.client.run(commands.release("work", token, ["a"]))
    else:
        one_server.raw.delete("conveyor:{work}:streams", "conveyor:{work}:stream:a")
    items.add(ITEM)
    eventually(lambda: items.has_failed)
    with pytest.raises(RunLostError, match="lease" if loss == "lease" else "lost items"):
        items.close()
    if loss == "lease":
        end(one_server, one_server.client.run(commands.claim("work", "bob", "n.1", 1, 1000.0)).token)
    else:
        end(one_server, token)
