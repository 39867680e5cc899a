"""The faults of the torture bench: each is done to the bench's own processes and queues only."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import control
from conveyor.store import keys, plain
from conveyor.torture import faults

if TYPE_CHECKING:
    from conveyor.store import Client

PID = 4242


def report(client: Client, name: str, queue: str) -> None:
    """Report a consumer with one worker, whose process id is that of the bench's consumer."""
    worker = control.WorkerReport(f"{name}/1", PID + 1, "idle")
    found = control.ConsumerReport(name, "host", PID, [queue], "process", 0.0, [worker])
    now = client.run(plain.server_time())
    client.run_all(plain.report(name, control.encode(found), now))


@pytest.fixture
def stage(one_server: Any) -> Any:
    """Return a stage with one consumer and no processes."""
    consumer = SimpleNamespace(pid=PID, queue="bench", children=list, signal=lambda _: None)
    return SimpleNamespace(client=one_server.client, at_work=lambda: [consumer])


def test_command_kill_spares_consumers_of_others(stage: Any, one_server: Any) -> None:
    report(stage.client, "stranger-1a2b", "theirs")
    with pytest.raises(faults.Missing):
        next(faults.command_kill(stage, Random(1)))
    assert not one_server.raw.exists(keys.control_key("stranger-1a2b"))


def test_command_kill_expires(stage: Any, one_server: Any) -> None:
    report(stage.client, "stranger-1a2b", "theirs")
    report(stage.client, "own-1a2b", "bench")
    assert next(faults.command_kill(stage, Random(1))) == [PID + 1]
    command = control.decode_control(one_server.raw.lpop(keys.control_key("own-1a2b")))
    assert command.workers == ["own-1a2b/1"]
    assert 0 < command.expires - stage.client.run(plain.server_time()) <= 10.0
