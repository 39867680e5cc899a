"""The tasks of the measured jobs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import time
from pathlib import Path

from conveyor import Limit, current_job, task
from conveyor.torture import history
from conveyor.torture.load import noted


def echo(number: int) -> int:
    """Return the number: the smallest possible job."""
    return number


def nap(seconds: float) -> tuple[float, float, int]:
    """Sleep, and give start, end and the worker's process."""
    start = time.monotonic()
    time.sleep(seconds)
    return start, time.monotonic(), os.getpid()


def refuse(number: int) -> None:
    """Fail, each in its own words."""
    message = f"number {number} is refused"
    raise ValueError(message)


def tell(seconds: float) -> None:
    """Log a line ten times a second."""
    job = current_job()
    for number in range(int(10 * seconds)):
        job.check()
        job.log(f"line {number}")
        time.sleep(0.1)


def hold(key: str, seconds: float, way: str) -> None:
    """Run for some seconds and note start and end, or end at once if the job was told to.

    `way` is sleep, which looks for that all the time, and the others only at their start: call, which is a call in C,
    and lock, which is one that keeps the interpreter's lock.
    """
    over = Path(os.environ[history.FOLDER], f"{key}.over")
    deadline = time.monotonic() + seconds
    with noted(key):
        if over.exists():
            return
        if way == "sleep":
            while not over.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        else:
            library = ctypes.PyDLL(None) if way == "lock" else ctypes.CDLL(None)
            library.sleep(int(seconds))


def insert_rows(paths: list[str], numbers: list[int], texts: list[str]) -> None:
    """Insert rows into a database in one transaction."""
    with contextlib.closing(sqlite3.connect(paths[0])) as database, database:
        database.executemany("INSERT INTO lines VALUES (?, ?)", zip(numbers, texts, strict=True))


#: Batch tasks by the most rows of one call.
INSERTS = {
    size: task(batch=size, name=f"benchmarks.tasks.insert_{size}")(insert_rows) for size in (1, 10, 100, 1000)
}

#: Tasks with a limit for each key, by what it is. The keys are so many that few jobs wait for it.
LIMITED = {
    name: task(limit=limit, name=f"benchmarks.tasks.{name.replace(' ', '_')}")(echo)
    for name, limit in {
        "2 at a time": Limit(running=2, by="number"),
        "100 starts a minute": Limit(starts=100, by="number"),
        "one in order": Limit(in_order=True, by="number"),
    }.items()
}
