"""A server and a consumer for one measurement; both end with it."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import msgspec

from conveyor import Consumer
from conveyor.store import Client, commands
from conveyor.store.embedded import find_binary

if TYPE_CHECKING:
    from collections.abc import Iterator


def binaries() -> dict[str, str]:
    """Return the available servers: the embedded Valkey, and those on the path."""
    found = {"embedded valkey": str(find_binary())}
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            found[name] = path
    return found


@contextlib.contextmanager
def server(binary: str) -> Iterator[Client]:
    """Run a server on a private socket, with an append-only file as the embedded one has."""
    folder = tempfile.mkdtemp(prefix="conveyor-bench-")
    socket = str(pathlib.Path(folder) / "socket")
    command = [
        binary,
        "--port",
        "0",
        "--unixsocket",
        socket,
        "--dir",
        folder,
        "--appendonly",
        "yes",
        "--save",
        "",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = Client(f"unix://{socket}")
        client.run(commands.server_time())
        yield client
        client.close()
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def consumer(
    client: Client, queue: str, workers: int = 1, *, until_empty: bool = False
) -> Iterator[Consumer]:
    """Run a consumer of `workers` worker processes; it has left at the end of the block."""
    made = Consumer(queue, workers, tasks=["benchmarks.tasks"], store=client, until_empty=until_empty)
    with made:
        yield made


class Row(msgspec.Struct):
    """One measured figure and what belongs beside it."""

    what: str
    value: str
    beside: str = ""
    asked: str = ""


def until(predicate: object, seconds: float = 60.0) -> None:
    """Look until something is true."""
    end = time.monotonic() + seconds
    while not predicate():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.002)
