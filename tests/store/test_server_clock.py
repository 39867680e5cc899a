"""The server's clock as a process computes it: whatever the host's own clock says, once the server has replied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.store import Client, commands
from conveyor.store.server_clock import ServerClock

if TYPE_CHECKING:
    import pytest


def test_time_is_that_of_the_server_if_the_own_clock_is_wrong(
    lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = lane.client
    server_clock = ServerClock(client)
    monkeypatch.setattr("conveyor.clock.wall", lambda: 9e9)
    assert abs(server_clock.now() - client.run(commands.server_time())) < 5


def test_server_is_asked_once_a_minute(lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, asked = lane.client, []
    server_clock = ServerClock(client)
    run = client.run
    monkeypatch.setattr(client, "run", lambda *args, **options: asked.append(args) or run(*args, **options))
    times = [server_clock.now() for _ in range(100)]
    assert times == sorted(times)
    assert len(asked) == 1


def test_own_clock_counts_until_the_server_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Client("redis://127.0.0.1:1", patience=0.0)
    monkeypatch.setattr("conveyor.clock.wall", lambda: 5.0)
    server_clock = ServerClock(nowhere)
    assert [server_clock.now(), server_clock.now()] == [5.0, 5.0]
    nowhere.close()
