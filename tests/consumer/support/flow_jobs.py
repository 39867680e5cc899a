"""Tasks for tests of terms: jobs after jobs, limits and unique keys."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from conveyor import JobEnd, Throttle, current_job, task


@dataclass
class Sum:
    """A result that is an object."""

    value: int


@task
def add(a: int, b: int = 1) -> Sum:
    return Sum(a + b)


@task
async def add_async(a: int, b: int = 1) -> Sum:
    await asyncio.sleep(0)
    return Sum(a + b)


@task
def double(sum_: Sum, times: int = 2) -> Sum:
    return Sum(sum_.value * times)


@task
async def double_async(sum_: Sum, times: int = 2) -> Sum:
    await asyncio.sleep(0)
    return Sum(sum_.value * times)


@task
def total(sums: list[Sum], *, more: int = 0) -> int:
    return sum(one.value for one in sums) + more


@task
async def total_async(sums: list[Sum], *, more: int = 0) -> int:
    await asyncio.sleep(0)
    return sum(one.value for one in sums) + more


@task
def fail(text: str) -> int:
    raise ValueError(text)


@task
def crash() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@task
def show(value: object) -> str:
    return repr(value)


@task
def hold(path: str, name: str = "") -> str:
    """Note the start, wait until the path with `.go` is there, and note the end."""
    note(path, f"start {name}")
    while not Path(f"{path}.go").exists():
        time.sleep(0.01)
    note(path, f"end {name}")
    return name


@task
def stamp(path: str, key: str, number: int, seconds: float = 0.0) -> float:
    """Note the start and the end, with their times."""
    started = time.time()
    note(path, f"start {key} {number} {started:.6f}")
    time.sleep(seconds)
    note(path, f"end {key} {number} {time.time():.6f}")
    return started


@task
def fail_once(path: str, key: str, number: int) -> int:
    """Note the run, and fail the first time with the number 1."""
    note(path, f"{key} {number}")
    if number == 1 and current_job().attempt == 1:
        raise ValueError(key)
    return number


@task
def throttle(path: str, key: str, number: int) -> float:
    """Ask for a rest in the first run with the number 1."""
    if number == 1 and not Path(f"{path}.{key}").exists():
        Path(f"{path}.{key}").touch()
        raise Throttle(1)
    return time.time()


def note(path: str, text: str) -> None:
    """Append a line in one write, which workers do at the same time."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


@task
def size(sum_: Sum) -> int:
    return sum_.value


@task(name="divide")
def divide(number: int, by: int) -> int:
    if by == 0:
        raise ValueError("nothing to divide by")
    return number // by


@task
def note_result(result: int) -> None:
    note(os.environ["ENDS"], f"result {result}")


@task
def note_end(end: JobEnd) -> None:
    note(os.environ["ENDS"], f"JobEnd {end.id} {end.queue} {end.task} {end.state} {end.error}")


@task
def mark(path: str, name: str, seconds: float, how: str = "done", before: object = None) -> str:
    """Note the start and the end of a run, with its process and the time since the start of the machine."""
    job = current_job()
    try:  # from here on, since it may be cancelled while it notes the start
        note(path, f"start {name} {os.getpid()} {time.monotonic():.6f} {job.attempt}")
        time.sleep(seconds)
        if how == "fails" or (how == "retried" and job.attempt == 1):
            raise ValueError(name)
    finally:
        note(path, f"end {name} {os.getpid()} {time.monotonic():.6f} {job.attempt}")
    return name
