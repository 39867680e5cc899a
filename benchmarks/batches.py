"""What a batch task saves: rows per second into a file of SQLite, one transaction for each call of the task."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from typing import TYPE_CHECKING

from benchmarks import place, tasks
from benchmarks.place import Row
from conveyor import Queue

if TYPE_CHECKING:
    from conveyor.store import Client

#: Rows that are inserted by calls of one size, so that each size takes a few seconds.
ROWS = {1: 2_000, 10: 10_000, 100: 50_000, 1000: 50_000}


def measure(client: Client) -> list[Row]:
    """Return the rates of one worker by jobs of one call, with that of the bare function beside them."""
    rows = []
    for size, count in ROWS.items():
        with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder:
            ours = _drained(client, size, count, f"{folder}/ours.db")
            bare = _bare(size, count, f"{folder}/bare.db")
        rows.append(
            Row(
                f"insert into SQLite, batch={size}: rows/s",
                f"{ours:,.0f}",
                f"without a queue: {bare:,.0f}/s, {ours / bare:.0%}",
            )
        )
    return rows


def _drained(client: Client, size: int, count: int, path: str) -> float:
    """Return the rows per second of one worker that inserts waiting rows."""
    queue = Queue(f"batches{size}", store=client)
    _create(path)
    queue.submit_many(tasks.INSERTS[size], [(path, number, "a row of some words") for number in range(count)])
    start = time.monotonic()
    with place.consumer(client, queue.name, 1):
        queue.join()
        seconds = time.monotonic() - start
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM lines").fetchone() == (count,)
    return count / seconds


def _bare(size: int, count: int, path: str) -> float:
    """Return the rows per second of calls of the function."""
    _create(path)
    start = time.monotonic()
    for first in range(0, count, size):
        numbers = list(range(first, min(first + size, count)))
        tasks.insert_rows([path] * len(numbers), numbers, ["a row of some words"] * len(numbers))
    return count / (time.monotonic() - start)


def _create(path: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE lines (number INTEGER PRIMARY KEY, text TEXT)")
