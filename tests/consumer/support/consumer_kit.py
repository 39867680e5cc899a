"""Shared tools for tests of running consumers: start, inspect and command them, and leave none behind."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest

from conveyor import Consumer, Queue
from conveyor.consumer.process_state import ProcessState
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.shared_status import SharedStatus
from conveyor.consumer.worker_process import WorkerProcess
from conveyor.monitor import Inspector
from conveyor.store import connect, control_channel, embedded
from conveyor.wire import control_messages, ids
from launcher import MAX_NAME_LENGTH, PROCESS_NAME, Launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.tasks import Registry

__all__ = ["alone", "consume", "path", "queue", "real_start", "short_lease"]

POPEN = subprocess.Popen
#: The scripts of ours that are supervisors.
SUPERVISORS = ("short_lease.py", "broken_supervisor.py")
_numbers = itertools.count(1)


class Running:
    """A consumer under test."""

    def __init__(self, consumer: Consumer, client: Any, eventually: Callable[..., Any]) -> None:
        self.consumer = consumer
        self.client = client
        self.eventually = eventually
        assert consumer._process is not None
        self.popen = consumer._process
        self.pid = consumer._process.pid
        self.status: int | None = None

    def workers(self) -> list[psutil.Process]:
        """Give the worker processes, in the order of their start."""
        with contextlib.suppress(psutil.NoSuchProcess):
            # Not by their ids alone, which begin again at the highest one.
            return sorted(psutil.Process(self.pid).children(), key=lambda one: (one.create_time(), one.pid))
        return []

    def report(self) -> control_messages.ConsumerReport | None:
        """Give what the consumer last told about itself."""
        return next((one for one in Inspector(self.client).consumers() if one.pid == self.pid), None)

    @functools.cached_property
    def name(self) -> str:
        """Its name as reported."""
        return self.eventually(self.report).name

    def command(self, verb: str, *numbers: int, job: str = "", expires: float = 0.0, scale: str = "") -> str:
        """Send a control command to some of its workers (none: to all of it); return the command's id."""
        names = [f"{self.name}/{number}" for number in numbers]
        order = control_messages.ControlCommand(ids.unique(), verb, names, job, expires=expires, scale=scale)
        self.client.run(control_channel.send(self.name, control_messages.encode(order)))
        return order.id

    def answers(self, command: str, until: int) -> list[tuple[str, str]]:
        """Give the answers to a command, (target, state), as soon as there are so many; targets without the host."""
        return [(one.target.removeprefix(self.name), one.state) for one in self.details(command, until)]

    def details(self, command: str, until: int) -> list[control_messages.Acknowledgement]:
        """Give the same answers as they are."""
        found = []
        while len(found) < until:
            data = self.eventually(
                lambda: self.client.run(control_channel.await_acknowledgement(command, 1.0))
            )
            found.append(control_messages.decode_acknowledgement(data))
        return found

    def signal(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.pid, number)

    def has_left(self) -> bool:
        """Tell whether the supervisor has ended, and keep its exit code."""
        self.status = self.popen.poll()
        return self.status is not None

    def kill(self) -> None:
        """Kill the supervisor, and wait until its workers have ended with it."""
        workers = self.workers()
        self.popen.kill()
        self.popen.wait()
        self.eventually(lambda: not any(map(runs, workers)))

    def end(self) -> None:
        """Have it leave; kill it if that takes too long."""
        if self.consumer._lifeline is not None:
            self.consumer._lifeline.close()
        try:
            self.popen.wait(30)
        except Exception:
            for one in [*self.workers(), psutil.Process(self.pid)]:
                one.kill()
            self.popen.wait()
            raise


class Forking:
    """The module subprocess, except that supervisors are forked from a Python that has everything loaded."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def Popen(self, command: list[str], **options: Any) -> Any:  # noqa: N802 - the name it stands for
        """Start a supervisor; something else, or if the test has a Popen of its own, as always."""
        if command[1:3] == ["-m", self.launcher.program]:
            words = command[3:]
        elif Path(command[1]).name in SUPERVISORS:
            words = command[1:]
        else:
            words = []
        if not words or subprocess.Popen is not POPEN:
            return subprocess.Popen(command, **options)
        return self.launcher.start(words, Path.cwd(), options["env"] or os.environ, 1, 2, options["stdin"])


@contextlib.contextmanager
def forking(launcher: Launcher) -> Iterator[None]:
    """Fork the supervisors that consumers start meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("conveyor.consumer.subprocess", Forking(launcher))
        yield


def runs(process: psutil.Process) -> bool:
    """Return True if a process is running; a zombie is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def go(path: Path) -> None:
    """Let the tasks go on that hold at this path."""
    path.with_name(path.name + ".go").touch()


def fill(pipe: int) -> None:
    """Write to a pipe until it is full."""
    os.set_blocking(pipe, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b" " * size)
    os.set_blocking(pipe, True)


def named(name: str, before: set[int]) -> list[psutil.Process]:
    """Return the new processes that have this name of a test, if forked, or else have it in their environment."""
    found = []
    for pid in {*psutil.pids()} - before:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.environ().get(PROCESS_NAME) == name or process.name() == name:
                found.append(process)
    return found


def make_worker(
    queue: Queue, client: Any, registry: Registry, size: int, names: tuple[str, ...] = ()
) -> WorkerProcess:
    """Return a worker in this process that claims `size` jobs at a time, from one queue or those with the names."""
    settings = ConsumerSettings(names or (queue.name,))
    worker = WorkerProcess("host/1", settings, SharedStatus(), client, registry)
    worker.process_state = ProcessState()
    worker.sizer.size = size
    return worker


@pytest.fixture(params=["process", "thread", "coroutine"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return each kind of worker in turn."""
    return str(request.param)


@pytest.fixture(params=["", "_async"], ids=["plain", "async"])
def style(request: pytest.FixtureRequest) -> str:
    """Return what the names of plain tasks end in, and what those of asynchronous ones do."""
    return str(request.param)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[None]:
    """Check that no process of the test is left at its end; kill any by pid."""
    before = {*psutil.pids()}
    name = uuid.uuid4().hex[:MAX_NAME_LENGTH]
    monkeypatch.setenv(PROCESS_NAME, name)
    monkeypatch.delenv("CONVEYOR_URL", raising=False)
    monkeypatch.setenv("CONVEYOR_HOME", str(tmp_path / "home"))
    yield
    embedded.stop()  # a server that was started on first use is not one of the named: it hides its environment
    try:
        eventually(lambda: not named(name, before))
    except BaseException:
        for process in named(name, before):
            process.kill()
        raise


@pytest.fixture
def consume(
    alone: None,
    queue: Queue,
    eventually: Callable[..., Any],
    consumer_launcher: Launcher,
) -> Iterator[Callable[..., Running]]:
    """Give the function that starts a consumer of the tests' tasks; keyword arguments change its settings."""
    started: list[Running] = []

    def start(queues: Any = queue.name, workers: int = 1, *, store: Any = None, **changes: Any) -> Running:
        tasks = ["consumer_jobs", "order_jobs"]
        consumer = Consumer(queues, workers, tasks=tasks, store=store or queue.client)
        changes = {"script": "", **changes}
        consumer.settings = msgspec.structs.replace(consumer.settings, **changes)
        with forking(consumer_launcher):
            consumer.start()
        started.append(Running(consumer, queue.client, eventually))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def real_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the supervisors of the test as users do, each with a Python of its own."""
    monkeypatch.setattr(sys.modules[__name__], "POPEN", None)


@pytest.fixture
def queue(one_server: Any) -> Queue:
    """Give the queue that the consumers of the test take from; one of its own, since its name is remembered."""
    return Queue(f"work{next(_numbers)}", store=connect(one_server.url))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file in which tasks leave their marks; it is not there yet."""
    return tmp_path / "marks"


def lines(path: Path) -> list[str]:
    """Give the marks that were left."""
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have the consumers of the test hold leases of two seconds, renewed three times in them; return the seconds.

    A second is too near to what a busy machine makes a supervisor wait for its turn.
    """

    def command_line(settings: Any) -> list[str]:
        script = Path(__file__).with_name("short_lease.py")
        return [sys.executable, str(script), "2.0", msgspec.json.encode(settings).decode()]

    monkeypatch.setattr("conveyor.consumer.command_line", command_line)
    return 2.0
