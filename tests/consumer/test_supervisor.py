"""The supervisor with a broken part: the control connection, standard error, a worker's start."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import msgspec
import psutil
import pytest
from consumer_kit import fill, forking, lines, runs

from conveyor import BadCall, Consumer, ConveyorError, JobCancelled, StoreUnavailable, clock, events
from conveyor.consumer import __main__ as entrance
from conveyor.consumer import command_line, shared_status
from conveyor.consumer import supervisor as supervisors
from conveyor.consumer.control import DEAD_AFTER
from conveyor.consumer.settings import LEASE, STOP_SIGNALS, ConsumerSettings
from conveyor.consumer.shared_status import HeldBatch, StatusReading
from conveyor.consumer.supervisor import MAX_DELAY, Supervisor
from conveyor.consumer.worker_handle import WorkerHandle
from conveyor.errors import StoreRefused
from conveyor.store import control_channel
from conveyor.store.address import shown
from conveyor.store.client import Client
from conveyor.wire.control_messages import ControlCommand, decode_acknowledgement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor import Queue
    from launcher import Launcher


@pytest.fixture
def supervisor(one_server: Any) -> Supervisor:
    """Return a supervisor that does not run."""
    return Supervisor("host", ConsumerSettings(workers=1), Client(one_server.url), lambda _: 0)


class MuteListener:
    """A connection whose other end is gone without notice."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.closed = False

    def fileno(self) -> int:
        return -1 if self.closed else self.ours.fileno()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def mute_listener(supervisor: Supervisor) -> Iterator[MuteListener]:
    listener = supervisor.channel.listener = MuteListener()
    yield listener
    listener.ours.close()
    listener.theirs.close()


def test_dead_control_connection_is_replaced(supervisor: Supervisor, mute_listener: MuteListener) -> None:
    supervisor.channel._asked = clock.monotonic()
    supervisor.channel.poll(supervisor.control.handle, 0.0)
    assert not mute_listener.closed, "an answer takes some seconds"
    supervisor.channel._asked -= DEAD_AFTER + 1
    supervisor.channel.poll(supervisor.control.handle, 0.0)
    assert mute_listener.closed


def test_all_workers_are_released_in_a_single_round_trip(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        worker = supervisor.workers[f"host/{number}"] = WorkerHandle(f"host/{number}")
        worker.status.hold(HeldBatch("work", "7", "nonce", ["a", "b"]))
        worker.status.start(0, clock.monotonic() - 10.0, 0.0)
    monkeypatch.setattr(supervisor.workers["host/1"].status, "held", lambda: 1 // 0)
    trips: list[int] = []
    monkeypatch.setattr(supervisor.client, "run_all", lambda told, **_: trips.append(len(told)))
    supervisor._release_stuck_jobs()
    assert trips == [3]


def test_replies_wait_for_a_silent_server(supervisor: Supervisor) -> None:
    supervisor.server.silent_since = clock.monotonic()
    for state in ("acknowledged", "done"):
        supervisor.replies.add(ControlCommand("order", "stop"), "host/1", state)
    supervisor.server.silent_since = float("inf")
    supervisor._send_replies()
    supervisor._send_replies()
    replies = [
        supervisor.client.run(control_channel.await_acknowledgement("order", wait))
        for wait in (5.0, 5.0, 0.1)
    ]
    assert [one and decode_acknowledgement(one).state for one in replies] == ["acknowledged", "done", None]


def test_replies_of_many_workers_are_sent_together(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"host/{number}" for number in range(240)]
    supervisor.workers.update({name: WorkerHandle(name) for name in names})
    for worker in supervisor.workers.values():
        monkeypatch.setattr(worker.process, "signal", lambda _: None)
        worker.status.state = shared_status.PAUSED
    trips: list[int] = []
    monkeypatch.setattr(supervisor.client, "run_all", lambda told, **_: trips.append(len(told)))
    supervisor.control.handle(ControlCommand("order", "pause"))
    supervisor.control.poll()
    supervisor.replies.send(60.0)  # the machine may be busy
    assert trips == [100, 100, 100, 100, 82], "both answers of each worker, and of the consumer"
    supervisor.control.finish()
    supervisor.replies.send()
    assert len(trips) == 5, "all were sent"


@pytest.mark.parametrize("workers", [["host/1"], []], ids=["worker", "all"])
@pytest.mark.parametrize("verb", ["pause", "resume", "stop"])
def test_command_replaces_earlier_ones_to_a_busy_worker(
    verb: str, workers: list[str], supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = supervisor.workers["host/1"] = WorkerHandle("host/1")
    monkeypatch.setattr(worker.process, "signal", lambda _: None)
    worker.status.state = shared_status.PAUSED if verb == "resume" else shared_status.BUSY
    for number in range(3):
        supervisor.control.handle(ControlCommand(f"order{number}", verb, workers))
    supervisor.control.poll()
    supervisor.replies.send(60.0)
    targets = 1 if workers else 2

    def states(order: str, count: int) -> set[str]:
        told = [
            supervisor.client.run(control_channel.await_acknowledgement(order, 5.0)) for _ in range(count)
        ]
        return {decode_acknowledgement(one).state for one in told}

    for order in ("order0", "order1"):
        assert states(order, 2 * targets) == {"acknowledged", "repeated"}
    assert states("order2", targets) == {"acknowledged"}
    assert len(worker.controls) == (verb == "stop")


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_worker_awaiting_replacement_can_be_ended(verb: str, supervisor: Supervisor) -> None:
    supervisor.to_start.update({"host/1": 0.0, "host/2": 0.0})
    supervisor.control.handle(ControlCommand("order", verb, ["host/1"]))
    supervisor.replies.send(60.0)
    replies = [supervisor.client.run(control_channel.await_acknowledgement("order", 5.0)) for _ in range(2)]
    assert [decode_acknowledgement(one).state for one in replies] == ["acknowledged", "done"]
    assert [*supervisor.to_start] == ["host/2"]


def test_large_replies_are_sent_separately(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    trips: list[int] = []
    monkeypatch.setattr(supervisor.client, "run_all", lambda told, **_: trips.append(len(told)))
    for size in (1, 70_000, 70_000, 200_000, 1):
        supervisor.replies.add(ControlCommand("order", "stack"), "host/1", "done", "x" * size)
    supervisor.replies.send(60.0)
    assert trips == [2, 1, 1, 1]


def test_pending_replies_are_sent_at_the_end(supervisor: Supervisor) -> None:
    supervisor.control.handle(ControlCommand("order", "stop"))
    supervisor._end()
    replies = [supervisor.client.run(control_channel.await_acknowledgement("order", 5.0)) for _ in range(2)]
    assert [decode_acknowledgement(one).state for one in replies] == ["acknowledged", "done"]


def test_time_limit_of_the_next_run_ends_no_worker(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, now = WorkerHandle("host/1"), clock.monotonic()
    worker.status.hold(HeldBatch("work", "7", "nonce", ["a", "b"]))
    read = worker.status.read

    def slow_look() -> StatusReading:
        """Read the start of a run, and the time limit of the next."""
        monkeypatch.setattr(worker.status, "read", read)
        early = read()
        worker.status.start(1, now, 1.0)
        return early._replace(limit=read().limit)

    worker.status.start(0, now - 60.0, 0.0)
    monkeypatch.setattr(worker.process, "kill", lambda _: setattr(worker, "killed", True))
    monkeypatch.setattr(worker.status, "read", slow_look)
    supervisor._enforce_on(worker)
    assert not worker.killed
    worker.status.start(1, now - 60.0, 1.0)
    supervisor._enforce_on(worker)
    assert worker.killed


def test_settling_for_many_workers_leaves_time_for_the_heartbeat(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []

    def settle_for(worker: WorkerHandle, _: str) -> None:
        settled.append(worker.name)
        if worker.name == "host/1":
            raise StoreRefused("no")

    monkeypatch.setattr(supervisor, "_settle_for", settle_for)
    monkeypatch.setattr(supervisors, "SETTLING", 0.0)
    for number in (1, 2, 3):
        worker = WorkerHandle(f"host/{number}")
        worker.ended = clock.monotonic()
        supervisor.unsettled.append((worker, "SIGKILL"))
    for rounds in (1, 2, 3, 4):
        supervisor._settle()
        assert len(settled) == rounds
    assert settled == ["host/1", "host/2", "host/3", "host/1"], "a refused one does not hold up the others"


def test_replacements_are_delayed_if_a_worker_dies_at_its_start(
    supervisor: Supervisor,
) -> None:
    worker = WorkerHandle("host/1")
    pauses = [supervisor._restart_delay(worker, useless=True) for _ in range(3000)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 2 * supervisors.FIRST_DELAY
    assert pauses[-1] == MAX_DELAY
    worker.process.started -= supervisors.YOUNG
    assert supervisor._restart_delay(worker, useless=False) == 0.0
    assert supervisor._restart_delay(worker, useless=True) == pauses[0]


def test_replacements_are_delayed_if_workers_keep_dying_young(supervisor: Supervisor) -> None:
    pauses = [supervisor._restart_delay(WorkerHandle("host/1"), useless=False) for _ in range(6)]
    assert pauses[: supervisors.TOLERATED_DEATHS] == [0.0] * supervisors.TOLERATED_DEATHS
    assert 0 < pauses[3] < pauses[4] < pauses[5]


def test_replacement_waits_at_most_a_lease_for_jobs_of_the_dead(supervisor: Supervisor) -> None:
    worker, now = WorkerHandle("host/1"), clock.monotonic()
    supervisor.to_start.update({"host/1": now, "host/2": now})
    supervisor.unsettled = [(worker, "SIGKILL")]
    worker.ended = now
    assert supervisor._start_times() == {"host/1": now + LEASE, "host/2": now}
    worker.ended = now - LEASE
    assert supervisor._start_times() == {"host/1": now, "host/2": now}


def test_supervisor_survives_a_failed_server_restart(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    supervisor.server.revives = True
    supervisor.note(StoreUnavailable("away"))
    assert supervisor.server.reviving is None


def test_failed_server_restart_is_noticed_without_workers(supervisor: Supervisor) -> None:
    supervisor.server.reviving = subprocess.Popen(["false"])
    os.waitid(os.P_PID, supervisor.server.reviving.pid, os.WEXITED | os.WNOWAIT)
    supervisor._reap_processes()
    assert supervisor.server.reviving is None


@pytest.mark.parametrize("how", ["closed", "broken", "full"])
def test_consumer_processes_jobs_if_its_output_is_not_read(
    how: str, alone: None, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    settings = Consumer(queue.name, 1, tasks=["consumer_jobs"], store=queue.client).settings
    words = command_line(msgspec.structs.replace(settings, script="", lifeline=False))
    reading, writing = os.pipe()
    if how == "full":
        fill(writing)
    else:
        os.close(reading)
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *words] if how == "closed" else words
    with subprocess.Popen(command, stderr=writing, stdout=subprocess.DEVNULL) as process:
        os.close(writing)
        try:
            assert queue.submit(jobs.crash_once, str(path)).result(30) == 2
            assert len(lines(path)) == 2
            assert process.poll() is None
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            if how == "full":
                os.close(reading)


def test_consumer_without_a_server_reports_the_error_and_exits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_subscribers", [])
    monkeypatch.setattr(entrance, "connect", lambda url: Client(url, patience=0.1))
    settings = ConsumerSettings(url=f"unix://{tmp_path}/nothing", workers=1)
    assert entrance.main([msgspec.json.encode(settings).decode()]) == 69
    assert "no reply from the server" in capfd.readouterr().err


def test_consumer_at_a_replica_reports_the_error_and_exits(
    queue: Queue, consume: Callable[..., Any], one_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    one_server.raw.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(ConveyorError, match="exit code 69"):
            consume()
    finally:
        one_server.raw.replicaof("NO", "ONE")
    told = capfd.readouterr().err
    assert f"the server at {shown(one_server.url)} is a replica and accepts no jobs" in told
    assert "URL of the primary" in told


def test_consumer_warns_of_a_server_that_evicts_jobs(
    queue: Queue, consume: Callable[..., Any], one_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    one_server.raw.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        consume(workers=2)
    finally:
        one_server.raw.config_set("maxmemory-policy", "noeviction")
    (line,) = (one for one in capfd.readouterr().err.splitlines() if "allkeys-lfu" in one)
    assert line.startswith(f"conveyor: warning: the server at {shown(one_server.url)} may evict jobs")


@pytest.mark.parametrize("workers", [0, -1, 100_000, 2.0, True])
def test_invalid_number_of_workers_is_refused_before_the_start(workers: Any) -> None:
    with pytest.raises(BadCall, match=f"(?m)workers must be .*, got {workers}$"):
        Consumer("work", workers)


@pytest.mark.parametrize("queues", ["", "two words", "a{b}", ("fine", "not fine")])
def test_invalid_queue_name_is_refused_before_the_start(queues: Any) -> None:
    with pytest.raises(BadCall, match="invalid queue name"):
        Consumer(queues)


def test_consumer_can_be_started_and_stopped_again(
    queue: Queue, alone: None, consumer_launcher: Launcher
) -> None:
    consumer = Consumer(queue.name, 1, tasks=["consumer_jobs"], store=queue.client)
    assert consumer.stop() == 0, "it does not run yet"
    for number in range(2):
        with forking(consumer_launcher):
            consumer.start()
            consumer.start()
        assert consumer.pid
        supervisor = psutil.Process(consumer.pid)
        assert queue.submit(jobs.add, number, 1).result(30) == number + 1
        assert consumer.stop() == 0
        assert consumer.pid is None
        assert not runs(supervisor)


def test_settings_pass_through_the_command_line_unchanged(queue: Queue) -> None:
    settings = Consumer((queue.name, "two"), 3, tasks=["a.b"], store=queue.client, until_empty=True).settings
    words = command_line(settings)
    assert words[:3] == [sys.executable, "-m", "conveyor.consumer"]
    assert msgspec.json.decode(words[3], type=ConsumerSettings) == settings


@pytest.mark.usefixtures("real_start")
def test_long_settings_reach_the_supervisor(queue: Queue, consume: Callable[..., Any]) -> None:
    consume(script_arguments=("€" * 60_000,))  # more bytes than Linux takes in one argument
    assert queue.submit(jobs.add, 1, 1).result(30) == 2


def test_failed_start_does_not_leave_ctrl_c_blocked(queue: Queue, alone: None) -> None:
    consumer = Consumer(queue.name, 1, store=queue.client)
    consumer.settings = msgspec.structs.replace(consumer.settings, script_arguments=("x" * 7_000_000,))
    try:
        with pytest.raises(ConveyorError, match="cannot start the consumer: argument list") as caught:
            consumer.start()
        assert "fewer queues" in caught.value.hint
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    assert consumer.stop() == 0


def blocked(process: psutil.Process) -> set[int]:
    """Return the signals that a process has blocked."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = int(status.split("SigBlk:")[1].split()[0], 16)
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


@pytest.mark.usefixtures("real_start")
def test_signals_blocked_by_the_caller_reach_the_consumer(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        running = consume(grace=20.0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    (worker,) = running.workers()
    job = queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.result(30)
    assert running.workers() == [worker], "its task was interrupted, and the worker not killed"
    assert not blocked(worker) & {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
    assert not blocked(psutil.Process(running.pid)) & {*STOP_SIGNALS, signal.SIGCHLD}
    running.signal(signal.SIGTERM)
    eventually(running.has_left)


@pytest.fixture
def ignored_children() -> Iterator[None]:
    """Ignore SIGCHLD, so that no child can be waited for."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("real_start")
def test_failed_start_is_noticed_if_sigchld_is_ignored(
    ignored_children: None, consume: Callable[..., Any]
) -> None:
    with pytest.raises(ConveyorError, match="did not start"):
        consume(modules=("not_there_at_all",))


@pytest.mark.usefixtures("real_start")
def test_end_of_the_supervisor_is_noticed_if_sigchld_is_ignored(
    consume: Callable[..., Any], ignored_children: None, queue: Queue, path: Path, eventually: Any
) -> None:
    running = consume()
    queue.submit(jobs.start_sleeper, str(path))
    program = psutil.Process(int(eventually(lambda: lines(path))[0]))
    running.signal(signal.SIGKILL)
    eventually(lambda: not runs(program), 10.0)


def test_ctrl_c_at_the_start_of_a_second_run_is_kept(
    queue: Queue, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = Consumer(queue.name, 1, tasks=["consumer_jobs"], store=queue.client, until_empty=True)
    assert consumer.run() == 0
    monkeypatch.setattr("conveyor.consumer.connect", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        consumer.run()
