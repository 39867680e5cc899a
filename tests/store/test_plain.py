"""Plain scripts: their records are listed, bounded, and expire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.store import control_channel, keys, records

if TYPE_CHECKING:
    import pytest

    from conftest import Server


def test_control_command_is_kept_for_a_minute_after_the_last(server: Server) -> None:
    for data in (b"stop", b"kill"):
        server.client.run(control_channel.send("w", data))
    assert server.raw.lrange(keys.control_key("w"), 0, -1) == [b"stop", b"kill"]
    assert 50 < server.raw.ttl(keys.control_key("w")) <= control_channel.CONTROL_KEEP


def test_report_is_listed_and_expires_after_twenty_seconds(server: Server) -> None:
    server.client.run(control_channel.report("w", b"busy", 9.0))
    assert [one.name for one in server.client.run(control_channel.last_seen())] == ["w"]
    assert server.client.run(control_channel.reports(["w"])) == [b"busy"]
    assert 10 < server.raw.ttl(keys.consumer_key("w")) <= control_channel.REPORT_KEEP


def test_only_the_last_operations_are_listed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_OPERATIONS", 2)
    for number in range(3):
        server.client.run(records.keep_operation(f"o{number}", b"state", number))
    listed: Any = server.client.run(records.operations(0, 9))
    assert listed == ["o2", "o1"]
