"""The faults of the torture bench: each is done to the bench's own processes and queues only."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue, StoreUnavailable
from conveyor.store import Client, commands, control_channel, keys, scripts
from conveyor.store.command import Command
from conveyor.torture import faults
from conveyor.torture.proxy import Mode, Proxy
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

PID = 4242


def report(client: Client, name: str, queue: str) -> None:
    """Report a consumer with one worker, whose process id is that of the bench's consumer."""
    worker = control_messages.WorkerReport(f"{name}/1", PID + 1, "idle")
    found = control_messages.ConsumerReport(name, "host", PID, [queue], "process", 0.0, [worker])
    now = client.run(commands.server_time())
    client.run(control_channel.report(name, control_messages.encode(found), now))


@pytest.fixture
def stage(one_server: Any) -> Any:
    """Return a stage with one consumer and no processes."""
    consumer = SimpleNamespace(pid=PID, queue="bench", children=list, signal=print, stays=False)
    lane = SimpleNamespace(queue="bench", maxsize=10)
    return SimpleNamespace(client=one_server.client, at_work=lambda: [consumer], lanes=[lane])


@pytest.fixture
def impatient(stage: Any, one_server: Any) -> Iterator[Any]:
    """Return a stage behind a proxy that loses replies, which are not waited for again."""
    with Proxy(one_server.url) as stage.proxy:
        client = stage.client = Client(stage.proxy.url, patience=0.0)
        stage.server = SimpleNamespace(run=lambda *words: client.run(Command(words)))
        yield stage


def test_command_kill_spares_consumers_of_other_queues(stage: Any, one_server: Any) -> None:
    report(stage.client, "stranger-1a2b", "theirs")
    with pytest.raises(faults.Missing):
        next(faults.command_kill(stage, Random(1)))
    assert not one_server.raw.exists(keys.control_key("stranger-1a2b"))


def test_command_kill_expires(stage: Any, one_server: Any) -> None:
    report(stage.client, "stranger-1a2b", "theirs")
    report(stage.client, "own-1a2b", "bench")
    assert next(faults.command_kill(stage, Random(1))) == [PID + 1]
    command = control_messages.decode_command(one_server.raw.lpop(keys.control_key("own-1a2b")))
    assert command.workers == ["own-1a2b/1"]
    assert 0 < command.expires - stage.client.run(commands.server_time()) <= 10.0


@pytest.mark.parametrize(
    ("steps", "request_part"),
    [
        (faults.pause, scripts.load("pause").sha.encode()),
        (faults.resize, scripts.load("bound").sha.encode()),
        (faults.fill_memory, b"maxmemory"),
        (faults.want_replicas, b"replicas"),
    ],
    ids=["pause", "resize", "memory", "replicas"],
)
def test_fault_with_a_lost_reply_is_undone(
    impatient: Any, one_server: Any, steps: faults.Steps, request_part: bytes
) -> None:
    queue = Queue("bench", 10, store=one_server.client)
    for call in (queue.pause, queue.resume, lambda: queue.resize(10)):  # the server knows the scripts then
        call()
    impatient.proxy.mode = Mode(lost_replies=1, matching=request_part)
    with pytest.raises(StoreUnavailable):
        next(steps(impatient, Random(1)))
    assert impatient.proxy.replies_lost == 1
    assert (queue.count().state, queue.count().maxsize) == ("open", 10)
    for name in ("maxmemory", "min-replicas-to-write"):
        assert one_server.raw.config_get(name) == {name: "0"}


def test_command_kill_names_workers_if_its_reply_is_lost(impatient: Any, one_server: Any) -> None:
    one_server.client.run(control_channel.send("other-1a2b", b""))  # the server knows the script then
    report(one_server.client, "own-1a2b", "bench")
    tell = scripts.load_plain("tell").sha.encode()
    impatient.proxy.mode = Mode(lost_replies=1, matching=tell)
    assert next(faults.command_kill(impatient, Random(1))) == [PID + 1]
    assert one_server.raw.llen(keys.control_key("own-1a2b")) == 1


def test_undo_ends_if_the_server_stays_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_UNDOING", 0.3)
    gone = Client("redis://127.0.0.1:1", patience=0.0)
    with pytest.raises(StoreUnavailable):
        faults._insist(lambda: gone.run(commands.server_time()))
