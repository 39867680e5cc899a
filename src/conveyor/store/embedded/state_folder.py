"""The user's state folder: its path, its permissions, and the path of the socket."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from conveyor.errors import StoreUnavailable

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
