"""Levels of durability: put returns once the level is reached, and otherwise names the jobs in doubt."""

from __future__ import annotations

import math
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from moving import Node, Pair

from conveyor import DurabilityUnknown, Job, Queue, StoreDenied, StoreRefused, StoreUnavailable, clock
from conveyor.store import commands, connect, fitness, waiting
from conveyor.store.client import Client
from conveyor.store.commands import PutParams
from conveyor.tasks import Task
from conveyor.wire import codec
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.durability import MEMORY, read_durability
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FSYNC = read_durability("fsync")


def double(number: int) -> int:
    return 2 * number


def keep_file(server: Any, eventually: Callable[..., Any]) -> None:
    """Make a server keep an append-only file, synced before each reply."""
    server.raw.config_set("appendfsync", "always")
    server.raw.config_set("appendonly", "yes")
    eventually(lambda: not server.raw.info("persistence")["aof_rewrite_in_progress"])


def keeping_file(server: Any, eventually: Callable[..., Any]) -> Iterator[Any]:
    """Make a fixture that lends a server which keeps such a file until the end of the test."""
    keep_file(server, eventually)
    yield server
    server.raw.config_set("appendonly", "no")
    server.raw.config_set("appendfsync", "everysec")


@pytest.fixture
def filed(server: Any, eventually: Callable[..., Any]) -> Iterator[Any]:
    """Return a server of each kind that syncs its append-only file before it replies."""
    yield from keeping_file(server, eventually)


@pytest.fixture
def one_filed(one_server: Any, eventually: Callable[..., Any]) -> Iterator[Any]:
    """Return a server of the first kind that syncs its append-only file before it replies."""
    yield from keeping_file(one_server, eventually)


def never_sync(server: Any) -> None:
    """Block the server's syncs: later writes are not known to be on the disk."""
    server.raw.config_set("appendfsync", "no")


def ready(server: Any, queue: str = "films") -> list[str]:
    return [one.decode() for one in server.raw.zrange(f"conveyor:{{{queue}}}:ready", 0, -1)]


@contextmanager
def in_thread(call: Callable[[], object]) -> Iterator[list[object]]:
    """Run a call alongside the block and wait for it at the end; the list gets its result or exception."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join(30)


def blocked(server: Any) -> int:
    return int(server.raw.info("clients")["blocked_clients"])


# --- fsync


def test_fsync_put_returns_only_once_file_is_synced(filed: Any, eventually: Callable[..., Any]) -> None:
    queue = Queue("films", durability="fsync", store=filed.client)
    queue.put("synced")
    never_sync(filed)
    with in_thread(lambda: queue.put("held")) as results:
        eventually(lambda: blocked(filed) == 1)
        assert (len(ready(filed)), results) == (2, [])
        filed.raw.config_set("appendfsync", "always")
    assert results == [None]


def test_fsync_requires_a_server_with_a_working_waitaof(filed: Any) -> None:
    """With `appendfsync everysec` Valkey and Redis 7.4 confirm what they have not synced yet (redis#13793)."""
    queue = Queue("films", durability="fsync", store=filed.client)
    queue.put("first")
    filed.raw.config_set("appendfsync", "everysec")
    facts = filed.raw.info("server")
    if fitness.waits_for_sync(facts):
        queue.put("second")
        return
    with pytest.raises(DurabilityUnknown, match="no longer syncs before it replies") as error:
        queue.put("second")
    assert list(error.value.ids) == ready(filed)[1:]
    with pytest.raises(StoreRefused, match="its WAITAOF does not wait for that") as refusal:
        queue.put("third")
    assert refusal.value.hint == "set appendfsync always"
    assert len(ready(filed)) == 2


@pytest.mark.parametrize("way", ["put", "put_nowait", "submit"])
def test_unconfirmed_job_is_named_and_kept(one_filed: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "CONFIRM_WITHIN", 0.1)
    queue = Queue("films", durability="fsync", store=one_filed.client)
    queue.put("before")
    never_sync(one_filed)
    call: Any = {
        "put": lambda: queue.put("item", timeout=10.0),
        "put_nowait": lambda: queue.put_nowait("item"),
        "submit": lambda: queue.submit(double, 1),
    }[way]
    with pytest.raises(DurabilityUnknown, match="is on the queue films, but the level fsync is not") as error:
        call()
    assert (error.value.accepted, error.value.confirmed) == (1, 0)
    assert list(error.value.ids) == ready(one_filed)[1:]
    assert Job[int](error.value.ids[0], "films", client=one_filed.client).status() == "waiting"
    assert "do not put it again" in error.value.hint


@pytest.mark.parametrize("level", ["written", "fsync"])
def test_first_jobs_of_many_may_be_confirmed(
    level: str, one_filed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CONFIRM_WITHIN", 0.1)
    monkeypatch.setattr(waiting, "MAX_JOBS", 2)
    client = one_filed.client
    run_all = client.run_all

    def then_hold(*arguments: Any, **limits: Any) -> Any:
        replies = run_all(*arguments, **limits)
        if isinstance(replies[0], commands.PutReply):
            never_sync(one_filed)
            one_filed.raw.config_set("appendonly", "no" if level == "written" else "yes")
        return replies

    monkeypatch.setattr(client, "run_all", then_hold)
    queue = Queue("films", durability=level, store=client)
    with pytest.raises(DurabilityUnknown, match=r"^2 jobs, .* are on the queue films") as error:
        queue.submit_many(double, [(number,) for number in range(10)])
    assert (error.value.accepted, error.value.confirmed) == (4, 2)
    assert list(error.value.ids) == ready(one_filed)


def test_many_jobs_are_confirmed_once_per_round_trip(one_filed: Any) -> None:
    one_filed.raw.config_resetstat()
    queue = Queue("films", durability="fsync", store=one_filed.client)
    assert len(queue.submit_many(double, [(number,) for number in range(1200)])) == 1200
    waits = one_filed.raw.info("commandstats")["cmdstat_waitaof"]["calls"]
    assert waits == 1 + 3, "one to see that it is permitted, and one for each 500 jobs"


@pytest.mark.parametrize("own_ids", [False, True])
def test_resent_put_is_confirmed_for_its_first_send(filed: Any, own_ids: bool) -> None:  # noqa: FBT001
    never_sync(filed)
    put = commands.put("films", [("a", b"bytes")], PutParams(own_ids=own_ids))
    filed.another_client().run(put)  # and its answer is lost
    answer, lacking = filed.another_client().run_all((put.resent(), fitness.confirm(FSYNC, 0.05)))
    assert (answer.accepted, ready(filed)) == (1, ["a"])
    assert lacking == "the server has not synced its append-only file"


def test_put_of_a_forgotten_script_is_confirmed(filed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "CONFIRM_WITHIN", 0.1)
    queue = Queue("films", durability="fsync", store=filed.client)
    queue.put("before")
    never_sync(filed)
    filed.raw.script_flush()
    with pytest.raises(DurabilityUnknown):
        queue.put("item")
    assert len(ready(filed)) == 2


@pytest.mark.parametrize(
    ("level", "why"), [("written", "append-only file is off"), ("fsync", "appendonly is disabled")]
)
def test_level_is_unknown_if_the_file_is_switched_off_meanwhile(level: str, why: str, filed: Any) -> None:
    queue = Queue("films", durability=level, store=filed.client)
    queue.put("before")
    filed.raw.config_set("appendonly", "no")
    with pytest.raises(DurabilityUnknown, match=why) as error:
        queue.put("item")
    assert list(error.value.ids) == ready(filed)[1:]
    with pytest.raises(StoreRefused, match="its append-only file is off"):
        queue.put("later")
    assert len(ready(filed)) == 2


def test_level_is_unknown_if_the_right_is_lost_meanwhile(one_filed: Any) -> None:
    one_filed.raw.execute_command("ACL", "SETUSER", "ann", "on", "nopass", "+@all", "~*", "&*")
    client = Client(one_filed.url_of("ann"))
    try:
        queue = Queue("films", durability="written", store=client)
        queue.put("before")
        one_filed.raw.execute_command("ACL", "SETUSER", "ann", "-info")
        with pytest.raises(DurabilityUnknown, match="no permissions to run the 'info' command") as error:
            queue.put("item")
        assert list(error.value.ids) == ready(one_filed)[1:]
    finally:
        client.close()
        one_filed.raw.execute_command("ACL", "DELUSER", "ann")


def test_killed_server_keeps_confirmed_jobs(
    server: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    more = ("appendonly yes", "appendfsync always")
    node = Node(server.binary, tmp_path / "node", *more)
    try:
        eventually(node.answers)
        queue = Queue("films", durability="fsync", store=Client(f"redis://127.0.0.1:{node.port}"))
        queue.put_many(range(700))
        queue.put("last")
        before = ready(node)
        node.end()
        queue.client.close()
        node = Node(server.binary, tmp_path / "node", *more)
        eventually(node.answers)
        assert ready(node) == before
        assert len(before) == 701
    finally:
        node.end()


# --- levels the server cannot keep


@pytest.mark.parametrize(
    ("level", "kind", "why"),
    [
        ("written", StoreRefused, "its append-only file is off"),
        ("fsync", StoreRefused, "its append-only file is off"),
        ("replicated:1", StoreUnavailable, "only 0 of 1 replicas are connected"),
    ],
)
def test_unsupported_level_is_refused(server: Any, level: str, kind: type[Exception], why: str) -> None:
    queue = Queue("films", store=server.client)
    with pytest.raises(kind, match=f"cannot keep jobs at the level {level}: {why}") as error:
        queue.submit(Task(double, "double", PutOptions(durability=level), RunOptions()), 1)
    assert error.value.hint  # type: ignore[attr-defined]
    assert ready(server) == []
    queue.put("item")
    assert len(ready(server)) == 1


def test_fsync_is_refused_if_server_never_syncs(filed: Any) -> None:
    never_sync(filed)
    with pytest.raises(StoreRefused, match="appendfsync no"):
        Queue("films", durability="fsync", store=filed.client).put("item")
    Queue("films", durability="written", store=filed.client).put("item")
    assert len(ready(filed)) == 1


@pytest.mark.parametrize(
    ("level", "missing"),
    [("written", "info"), ("fsync", "waitaof"), ("fsync", "config|get"), ("replicated:1", "wait")],
)
def test_level_without_its_right_is_denied(one_filed: Any, level: str, missing: str) -> None:
    one_filed.raw.execute_command("ACL", "SETUSER", "ann", "on", "nopass", "+@all", f"-{missing}", "~*", "&*")
    client = Client(one_filed.url_of("ann"))
    try:
        with pytest.raises(StoreDenied) as error:
            Queue("films", durability=level, store=client).put("item")
        assert f"+{missing}" in error.value.hint
        assert ready(one_filed) == []
    finally:
        client.close()
        one_filed.raw.execute_command("ACL", "DELUSER", "ann")


def test_level_is_checked_again(one_filed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue("films", durability="written", store=one_filed.client)
    queue.put("item")
    one_filed.raw.config_set("appendonly", "no")
    monkeypatch.setattr(fitness, "CHECK_AGAIN", 0.0)
    with pytest.raises(StoreRefused, match="append-only file is off"):
        queue.put("later")
    assert len(ready(one_filed)) == 1


def test_levels_are_known_of_a_server_without_config(
    server: Any, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """Hosted servers forbid CONFIG; a consumer states the levels when it starts."""
    node = Node(server.binary, tmp_path / "node", 'rename-command CONFIG ""')
    try:
        eventually(node.answers)
        client = Client(f"redis://127.0.0.1:{node.port}")
        assert client.perform(fitness.levels_of()) == [MEMORY]
    finally:
        node.end()


def test_existing_replica_is_waited_for(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failover may be under way, which costs the new primary its replicas for a moment."""
    monkeypatch.setattr(waiting, "CONFIRM_WITHIN", 0.1)
    one_server.client.levels[read_durability("replicated:1")] = clock.monotonic() - fitness.CHECK_AGAIN
    with pytest.raises(DurabilityUnknown, match="0 of 1 replicas have received it") as error:
        Queue("films", durability="replicated:1", store=one_server.client).put("item")
    assert list(error.value.ids) == ready(one_server)


def test_level_is_refused_again_if_lacking_for_long(one_server: Any) -> None:
    one_server.client.levels[read_durability("replicated:1")] = clock.monotonic() - fitness.FAILOVER - 1.0
    with pytest.raises(StoreUnavailable, match="only 0 of 1 replicas are connected"):
        Queue("films", durability="replicated:1", store=one_server.client).put("item", timeout=10.0)
    assert ready(one_server) == []


def test_level_of_a_task_overrides_that_of_the_queue(one_server: Any) -> None:
    queue = Queue("films", durability="written", store=one_server.client)
    queue.submit(Task(double, "double", PutOptions(durability="memory"), RunOptions()), 1)
    with pytest.raises(StoreRefused):
        queue.submit(double, 1)
    assert len(ready(one_server)) == 1


# --- replicas


def test_replicated_put_returns_once_replica_has_the_job(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue("films", durability="replicated:1", store=Client(pair.url))
    for number in range(20):
        queue.put(number)
        assert len(ready(pair.replica)) == number + 1
    os.kill(pair.replica.process.pid, signal.SIGSTOP)
    with monkeypatch.context() as soon:
        soon.setattr(waiting, "CONFIRM_WITHIN", 0.1)
        with pytest.raises(DurabilityUnknown, match="0 of 1 replicas have received it") as error:
            queue.put("item")
    assert list(error.value.ids) == ready(pair.primary)[20:]
    with in_thread(lambda: queue.put("held")) as results:
        pair.eventually(lambda: blocked(pair.primary) == 1)
        assert results == []
        os.kill(pair.replica.process.pid, signal.SIGCONT)
    assert results == [None]
    assert len(ready(pair.replica)) == 22
    queue.client.close()


def test_level_holds_on_the_new_primary_if_the_old_is_demoted(pair: Pair) -> None:
    for node in (pair.primary, pair.replica):
        keep_file(node, pair.eventually)
    queue = Queue("films", durability="fsync", store=Client(pair.url))
    queue.put("before")
    never_sync(pair.primary)
    with in_thread(lambda: queue.put("held")) as results:
        pair.eventually(lambda: blocked(pair.primary) == 1)
        pair.fail_over()
    assert results == [None]
    assert len(ready(pair.primary)) == 2, "put once"
    queue.client.close()


def test_level_is_unknown_on_a_new_primary_without_a_file(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitness, "CHECK_AGAIN", math.inf)
    keep_file(pair.primary, pair.eventually)
    queue = Queue("films", durability="written", store=Client(pair.url))
    queue.put("before")
    pair.fail_over()
    with pytest.raises(DurabilityUnknown, match="append-only file is off") as error:
        queue.put("item")
    assert list(error.value.ids) == ready(pair.primary)[1:]
    queue.client.close()


@pytest.mark.parametrize("server", ["valkey-server"], indirect=True)
def test_lost_jobs_are_put_again_without_the_replica(pair: Pair) -> None:
    queue = Queue("films", durability="replicated:1", store=connect(pair.url))
    job = queue.submit(double, 1)
    with in_thread(lambda: job.result(10)) as results:
        pair.eventually(lambda: pair.primary.raw.exists("conveyor:{films}:meta"))
        os.kill(pair.replica.process.pid, signal.SIGSTOP)
        pair.primary.raw.flushall()
        pair.eventually(lambda: ready(pair.primary) == [job.id], 8.0)
        worker = Client(pair.url)
        batch = worker.run(commands.claim("films", "ann", "nonce", 1, 15.0))
        settlement = commands.Settlement(job.id, encode_settled("done", codec.encode(2)), 60.0)
        assert worker.run(commands.finish("films", batch.token, [settlement])) == []
        worker.close()
    assert results == [2], "the thread that receives results waits for no replica"
    queue.client.close()


@pytest.mark.parametrize("server", ["valkey-server"], indirect=True)
def test_stale_replica_keeps_confirmed_jobs_and_gets_the_rest(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue("films", store=connect(pair.url))
    confirmed = Queue("films", durability="replicated:1", store=queue.client).submit_many(
        double, [(1,), (2,)]
    )
    pair.replica.raw.replicaof("NO", "ONE")  # it misses later jobs
    late = queue.submit_many(double, [(3,), (4,)])
    queue.put("an item, which no process holds")
    assert len(ready(pair.primary)) == 5
    pair.primary.end()
    pair.forwarder.target = pair.replica.port
    assert ready(pair.replica) == [job.id for job in confirmed]
    other = queue.submit(double, 5)  # whose answer shows the loss
    pair.eventually(lambda: len(ready(pair.replica)) == 5)
    assert set(ready(pair.replica)) == {job.id for job in (*confirmed, *late, other)}
    assert ready(pair.replica)[:2] == [job.id for job in confirmed]
    assert "has lost the queue films" in caplog.text
    queue.client.close()
