"""The embedded server: a Valkey of this user's own, started on first use, shared by all of their processes.

It lives in the state folder, listens on a private unix socket alone, and keeps an append-only file, synced every
second, so that work survives a reboot. Any number of processes may call in here at once. Two file locks keep them
apart:

* `server.lock` is held by whoever starts or stops the server, for as long as that takes;
* `server.alive` is locked by the starter and inherited by the server, so the kernel frees it when the server
  dies, however it dies. A pid may have been reused and a socket file may be stale; this lock does not lie.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from conveyor.clock import Deadline, sleep
from conveyor.errors import StoreUnavailable
from conveyor.store import timeouts
from conveyor.store.embedded.server_process import failed, find_binary, spawn
from conveyor.store.embedded.state_folder import (
    is_private,
    make_private,
    new_socket,
    socket_in_use,
    state_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANSWER_PATIENCE = 5.0  # seconds for one answer of a running server
_START_PATIENCE = 30.0  # seconds for the first answer of a new one
_TURN_PATIENCE = 60.0  # seconds until another process is done with starting or stopping it
_STOPPED = "stopped"  # a file that says: it does not run because somebody wanted that
_STEP = 0.01  # seconds between two looks at something that is about to happen
_NEVER = Deadline(None)


@dataclass(frozen=True, slots=True)
class ServerState:
    """What is known of the embedded server; `pid` and `version` only while it runs."""

    running: bool
    pid: int | None
    url: str
    folder: Path
    binary: Path | None
    version: str


def ensure(deadline: Deadline = _NEVER) -> str:
    """Return the URL of the embedded server; start it if it does not run, and wait until it has read its data.

    Costs a tenth of a millisecond when it runs. Raises StoreUnavailable, with the reason and a hint, also if the
    deadline passes first; a server that was started goes on reading its data then.
    """
    folder = state_folder()
    place = socket_in_use(folder)
    answer = _answer(place, deadline)
    if answer is None:
        place = _bring_up(folder, deadline) or place
        answer = _answer(place, Deadline(timeouts.time_for(deadline)))
    while answer is None or answer.startswith("-LOADING"):
        # Without a deadline for minutes: a large append-only file takes them, and if the server dies over it we see.
        if answer is None and not _is_alive(folder):
            raise failed(folder, "it ended while it read its data")
        if deadline.passed():
            message = f"the embedded server at {place} still reads its data"
            raise StoreUnavailable(message, hint="Try again in some seconds, or with a longer timeout.")
        sleep(_STEP)
        answer = _answer(place, Deadline(timeouts.time_for(deadline)))
    return _url(place)


def revive(folder: Path | None = None, within: float | None = None) -> bool:
    """Start the server again if it crashed, but not if it was stopped on purpose.

    For processes that used it and get no answer any more; `folder` is where it keeps its data, by default the
    user's state folder. Return True if it runs, maybe still reading its data. `within` bounds in seconds what may
    take long: other processes that start or stop the server, and a server that hangs. Raises StoreUnavailable.
    """
    folder = folder or state_folder()
    deadline = Deadline(within)
    if (folder / _STOPPED).exists() and not _is_alive(folder):
        return False
    if _answer(socket_in_use(folder), deadline):
        return True
    return _bring_up(folder, deadline, even_if_stopped=False) is not None


def start() -> ServerState:
    """Start the embedded server if it does not run, as `ensure` does, and tell what runs."""
    ensure()
    return status()


def stop(timeout: float = 10.0) -> bool:
    """Stop the embedded server, its data safe on the disk, and wait until its process is gone.

    False if none was running. Raises StoreUnavailable if it still runs after `timeout` seconds.
    """
    folder = state_folder()
    if not folder.is_dir():
        return False
    with _turn(folder):
        if not _is_alive(folder):
            return False
        (folder / _STOPPED).touch(mode=0o600)
        _end(folder, timeout)
    return True


def status() -> ServerState:
    """Tell whether the embedded server runs, and where. Starts nothing and makes no folder."""
    folder = state_folder()
    place = socket_in_use(folder)
    with suppress(OSError):
        facts = dict(line.partition(":")[::2] for line in _ask(place, b"INFO server").splitlines())
        if "process_id" in facts:
            return ServerState(
                running=True,
                pid=int(facts["process_id"]),
                url=_url(place),
                folder=folder,
                binary=Path(facts["executable"]),
                version=facts.get("valkey_version") or facts["redis_version"],
            )
    running = _is_alive(folder)
    return ServerState(running, _pid(folder) if running else None, _url(place), folder, find_binary(), "")


def _url(place: Path) -> str:
    return "unix://" + quote(os.fsencode(place))


# --- starting it

#: Open files that this process locks. A lock belongs to all copies of its file, also those in forked children.
_lock_files: set[int] = set()


def _close_in_child() -> None:
    while _lock_files:
        os.close(_lock_files.pop())


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def _not_in_forks(path: Path, mode: str) -> Iterator[int]:
    """Open a file to lock it. Children that are forked meanwhile close it, or they would hold the lock."""
    with path.open(mode) as file:
        try:
            _lock_files.add(file.fileno())
            yield file.fileno()
        finally:
            _lock_files.discard(file.fileno())


def _bring_up(folder: Path, deadline: Deadline = _NEVER, *, even_if_stopped: bool = True) -> Path | None:
    """Start the server, unless another process does so first, and return its socket; None if it is to stay stopped.

    Whether it was stopped is known for sure only here: while it shuts down, it neither answers nor is gone.
    """
    try:
        with _turn(folder, deadline):
            place = socket_in_use(folder)
            if _answer(place, deadline):
                return place
            if (folder / _STOPPED).exists() and not even_if_stopped:
                return None
            return _launch(folder, deadline)
    except StoreUnavailable:
        raise
    except OSError as error:  # a full disk, a file system without locks
        raise failed(folder, str(error)) from error


@contextmanager
def _turn(folder: Path, deadline: Deadline = _NEVER) -> Iterator[None]:
    """Hold the right to start or stop the server: one process at a time."""
    make_private(folder.resolve())
    deadline = Deadline(deadline.left(_TURN_PATIENCE))
    with _not_in_forks(folder / "server.lock", "a") as lock:
        while not _locked(lock, fcntl.LOCK_EX):
            if deadline.passed():
                message = f"another process has been starting or stopping the server in {folder} for too long"
                raise StoreUnavailable(message, hint="Look for a hanging conveyor process and end it.")
            sleep(_STEP)
        try:
            yield
        finally:  # a child that was forked just before it was locked has a copy
            fcntl.flock(lock, fcntl.LOCK_UN)


def _launch(folder: Path, before: Deadline) -> Path:
    """Start the server's process, wait until it takes connections, and return its socket.

    The caller's deadline does not bound that moment: a server that is left before it listens looks like one whose
    socket was removed, and the next caller would end it.
    """
    if _is_alive(folder):  # yet it does not answer: somebody removed its socket
        _end(folder, before.left(_START_PATIENCE))
    place = new_socket(folder)
    with _not_in_forks(folder / "server.alive", "w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        spawn(folder, place, keep=mark)
    (folder / _STOPPED).unlink(missing_ok=True)  # now, since this call may end early and the server lasts
    deadline = Deadline(_START_PATIENCE)
    while _answer(place, Deadline(timeouts.time_for(before))) is None:
        if not _is_alive(folder):
            raise failed(folder, "it ended at once")
        if deadline.passed():
            _end(folder, _ANSWER_PATIENCE)
            raise failed(folder, f"it did not answer for {_START_PATIENCE:.0f} s")
        sleep(_STEP)
    return place


# --- talking to it, and ending it


def _ask(place: Path, command: bytes, deadline: Deadline = _NEVER) -> str:
    """Send one inline command and give its reply as text; OSError when nobody answers."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeouts.left(deadline, _ANSWER_PATIENCE))
        line.connect(os.fspath(place))
        line.sendall(command + b"\r\n")
        with line.makefile("rb") as replies:
            head = replies.readline().decode().rstrip()
            if not head:
                raise ConnectionResetError
            return replies.read(int(head[1:])).decode() if head.startswith("$") else head


def _answer(place: Path, deadline: Deadline = _NEVER) -> str | None:
    """Return the reply to a PING, or None if no server of this user listens there.

    Raises StoreUnavailable if a server hangs, or may be there: this process lacks files, or that server's line is full.
    """
    if not is_private(place.parent):
        return None
    try:
        return _ask(place, b"PING", deadline)
    except TimeoutError as error:
        message = f"the embedded server at {place} does not answer"
        hint = "`conveyor server status` tells its process; end it, and the next command starts it again."
        raise StoreUnavailable(message, hint=hint) from error
    except (FileNotFoundError, NotADirectoryError, ConnectionError):
        return None
    except OSError as error:
        if error.errno is None:  # a path that is too long for a socket
            return None
        message = f"no way to the embedded server at {place}: {error}"
        raise StoreUnavailable(message) from error


def _end(folder: Path, timeout: float) -> None:
    """Shut the server down and wait until its process is gone."""
    deadline = Deadline(timeout)
    pid = _pid(folder)
    with suppress(OSError):  # a server that obeys hangs up
        _ask(socket_in_use(folder), b"SHUTDOWN")
    if pid and _is_alive(folder) and _works_in(pid, folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)  # the same again, for a server whose socket was removed
    while _is_alive(folder):
        if deadline.passed():
            message = f"the embedded server in {folder} (process {pid}) did not end within {timeout:.0f} s"
            raise StoreUnavailable(message, hint=f"Read {folder}/server.log, or end the process yourself.")
        sleep(_STEP)


def _is_alive(folder: Path) -> bool:
    """Tell whether a server process has the folder, be it starting, serving or ending."""
    with suppress(FileNotFoundError, PermissionError), (folder / "server.alive").open() as mark:
        is_free = _locked(mark.fileno(), fcntl.LOCK_SH)
        if is_free:  # a child that was forked in this moment has a copy
            fcntl.flock(mark.fileno(), fcntl.LOCK_UN)
        return not is_free
    return False


def _locked(file: int, kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    return False


def _pid(folder: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((folder / "server.pid").read_text())
    return None


def _works_in(pid: int, folder: Path) -> bool:
    """Tell whether a process is the folder's server, and not one here with the pid of one elsewhere."""
    facts = Path("/proc", str(pid), "cwd")
    with suppress(OSError):
        return not Path("/proc/self").exists() or facts.samefile(folder)
    return False
