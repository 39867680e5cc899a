"""The cost of each level of durability: puts one by one and in bulk, and a bare `RPUSH` with the same wait."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import place
from benchmarks.place import Row
from conveyor import Queue
from conveyor.store import fitness
from conveyor.store.command import Command
from conveyor.torture.servers import free_port
from conveyor.wire.durability import MEMORY, read_durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.store import Client

#: Seconds that each figure is measured for, and jobs of one bulk put: what travels in one round trip.
SECONDS, BULK = 3.0, 500
#: Level and appendfsync.
LEVELS = (
    ("memory", "everysec"),
    ("written", "everysec"),
    ("memory", "always"),
    ("fsync", "always"),
    ("replicated:1", "everysec"),
)


def measure(client: Client) -> list[Row]:
    """Return the rates of each level, one replica connected throughout, with the bare server's beside them."""
    rows = []
    with _replica(client):
        for level, synced in LEVELS:
            client.run(Command(("CONFIG", "SET", "appendfsync", synced)))
            queue = Queue("durability", durability=level, store=client)
            for jobs in (1, BULK):
                items = list(range(jobs))
                ours, bare = _rate(partial(queue.put_many, items)), _rate(_bare(client, level, jobs))
                what = f"{level} ({synced}), {'one by one' if jobs == 1 else f'{jobs} at a time'}: jobs/s"
                beside = f"bare RPUSH: {jobs * bare:,.0f}/s, {ours / bare:.0%}"
                rows.append(Row(what, f"{jobs * ours:,.0f}", beside))
            queue.delete(purge=True)
            client.run(Command(("DEL", "bench:bare")))
    return rows


def _rate(call: Callable[[], object]) -> float:
    """Return how many calls there are in a second; the first one is not counted."""
    call()
    start, count = time.monotonic(), 0
    while time.monotonic() - start < SECONDS:
        call()
        count += 1
    return count / (time.monotonic() - start)


def _bare(client: Client, level: str, jobs: int) -> Callable[[], object]:
    """Return a call that pushes so many elements and waits for the same as a put of that level."""
    push = Command(("RPUSH", "bench:bare", *["x" * 20] * jobs))
    durability = read_durability(level)
    commands = (push, fitness.confirm(durability, 10.0)) if durability != MEMORY else (push,)
    return lambda: client.run_all(commands)


@contextlib.contextmanager
def _replica(client: Client) -> Iterator[None]:
    """Run a replica of the server."""
    port = free_port()
    client.run(Command(("CONFIG", "SET", "port", port)))
    binary: Any = client.run(fitness.info("server"))["executable"]
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder:
        words = ("--port", "0", "--unixsocket", str(pathlib.Path(folder) / "socket"), "--dir", folder)
        follow = ("--replicaof", "127.0.0.1", str(port), "--save", "", "--repl-diskless-sync-delay", "0")
        process = subprocess.Popen([binary, *words, *follow], stdout=subprocess.DEVNULL)
        try:
            place.until(lambda: "state=online" in str(client.run(fitness.info("replication"))))
            yield
        finally:
            process.kill()
            process.wait()
