"""Who listens on a port of this machine, as far as the kernel and the process list tell (Linux, proc(5))."""

from __future__ import annotations

import contextlib
from pathlib import Path

_LISTEN = "0A"  # state in /proc/net/tcp
_KNOWN = {
    "rq-dashboard": "rq-dashboard",
    "rq_dashboard": "rq-dashboard",
    "conveyor": "another page of Conveyor",
    "clickhouse": "ClickHouse Keeper",
    "clickhouse-keeper": "ClickHouse Keeper",
    "clickhouse-server": "ClickHouse Keeper",
}


def listener_on(port: int) -> str:
    """Give who that probably is, with its process id; empty where it cannot be told."""
    with contextlib.suppress(OSError, ValueError):
        sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
        for folder in Path("/proc").glob("[0-9]*"):
            if sockets and _has(folder, sockets):
                return _words(folder)
    return ""


def _inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _has(folder: Path, sockets: set[str]) -> bool:
    with contextlib.suppress(OSError):  # another user's process, or one that has just ended
        return any(str(link.readlink()) in sockets for link in folder.joinpath("fd").iterdir())
    return False


def _words(folder: Path) -> str:
    words = folder.joinpath("cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    names = [Path(word).name for word in words]  # a folder may be called anything
    name = next((_KNOWN[name] for name in names if name in _KNOWN), " ".join(words)[:60])
    return f"{name} (process {folder.name})"
