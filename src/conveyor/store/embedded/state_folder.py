"""The folder that keeps a user's state: where it is, that nobody else can enter it, and where its socket goes."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from conveyor.errors import StoreUnavailable

#: Bytes. The kernels stop at 107 (Linux) and 103 (macOS).
_LONGEST_SOCKET_PATH = 100
_HINT = "Set CONVEYOR_HOME to a folder of your own on a local disk, with a short path."


def state_folder() -> Path:
    """Give the user's state folder: CONVEYOR_HOME, else `conveyor` where the desktop's rules put such folders."""
    if home := os.environ.get("CONVEYOR_HOME"):
        return Path(home).expanduser().absolute()
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "conveyor"


def make_private(folder: Path) -> None:
    """Make a folder that this user alone can enter; StoreUnavailable if others own it or it is open to all."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
        shared = (
            not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & stat.S_IWOTH
        )
        if not shared:
            folder.chmod(0o700)
    except OSError as error:
        message = f"the state folder {folder} cannot be used: {error.strerror}"
        raise StoreUnavailable(message, hint=_HINT) from error
    if shared:
        message = f"the state folder {folder} belongs to another user or is open to all"
        raise StoreUnavailable(message, hint=_HINT)


def is_private(folder: Path) -> bool:
    """Tell whether nobody but this user can have put a socket into the folder."""
    with suppress(OSError):
        facts = folder.stat()
        return facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return False


def socket_in_use(folder: Path) -> Path:
    """Give the path of the server's socket, whether a server is there or not.

    A state folder with a long path holds a link to a socket elsewhere instead, so that processes which would
    choose another place, since their environment differs, still find the one server.
    """
    place = folder / "server.sock"
    with suppress(OSError):
        return place.readlink()
    return place


def new_socket(folder: Path) -> Path:
    """Choose where a server that is about to start listens. Call it only while no server runs.

    If it can, it listens where the last one did, since clients go on looking there.
    """
    link, last = folder / "server.sock", socket_in_use(folder)
    link.unlink(missing_ok=True)
    if len(os.fsencode(link)) <= _LONGEST_SOCKET_PATH:
        return link
    name = f"conveyor-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    if last.parent.name == name and last.parent.parent.is_dir():
        with suppress(StoreUnavailable):
            make_private(last.parent)
            link.symlink_to(last)
            return last
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108  (a private folder in it)
        place = Path(base, name, "server.sock")
        if base and Path(base).is_dir() and len(os.fsencode(place)) <= _LONGEST_SOCKET_PATH:
            make_private(place.parent)
            link.symlink_to(place)
            return place
    message = f"the path of the state folder {folder} is too long for a socket"
    raise StoreUnavailable(message, hint=_HINT)
