"""What the torture bench does with a server of a user: it reaches it as the user does, and leaves nothing there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Queue
from conveyor.store import Client
from conveyor.torture.proxy import Mode, Proxy
from conveyor.torture.stage import Lane, YourStage, through

if TYPE_CHECKING:
    from pathlib import Path


def test_copied_put_stays_in_the_database_of_the_url(one_server: Any) -> None:
    one_server.raw.execute_command("ACL", "SETUSER", "ada", "on", ">p@w", "~*", "&*", "+@all")
    url = f"unix://ada:p%40w@{one_server.socket}?db=3"
    direct = Queue("work", store=Client(url))
    try:
        with Proxy(url) as proxy:
            proxy.mode = Mode(times=2, matching=b"EVALSHA")
            Queue("work", store=Client(through(proxy, url))).put("item")
            assert proxy.copies_sent
        assert direct.qsize() == 1
        assert one_server.raw.keys("*") == []
    finally:
        direct.client.close()
        one_server.raw.execute_command("ACL", "DELUSER", "ada")


def test_existing_queue_is_left_alone(one_server: Any, tmp_path: Path) -> None:
    Queue("theirs", store=one_server.client).put("item")
    with pytest.raises(BadCall, match="the queue 'theirs' exists"):
        YourStage(tmp_path, one_server.url, [Lane("theirs", "items", 10, 1, 1.0)], "1")
