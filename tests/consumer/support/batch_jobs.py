"""Batch tasks for workers of each kind, plain ones and asynchronous ones that do the same."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

from kind_jobs import is_there, mark

from conveyor import SoftTimeout, current_job, current_jobs, task


def refuse(number: int) -> int | Exception:
    """Return the double of a number, or an exception for a negative one."""
    return number * 2 if number >= 0 else ValueError(f"{number} is negative")


@task(batch=100)
def double(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Return the double of each number, and note how many there were."""
    mark(paths[0], str(len(numbers)))
    return [refuse(one) for one in numbers]


@task(batch=100)
async def double_async(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Double numbers likewise."""
    mark(paths[0], str(len(numbers)))
    await asyncio.sleep(0)
    return [refuse(one) for one in numbers]


@task(batch=100, wait=0.5)
def gather(paths: list[str], numbers: list[int]) -> None:
    """Note the numbers, after a time in which more may come."""
    mark(paths[0], " ".join(map(str, numbers)))


@task(batch=100, wait=0.5)
async def gather_async(paths: list[str], numbers: list[int]) -> None:
    """Note them likewise."""
    mark(paths[0], " ".join(map(str, numbers)))


@task(batch=10, wait=600)
def fill(paths: list[str], numbers: list[int]) -> list[int]:
    """Note the numbers, once there are enough."""
    mark(paths[0], " ".join(map(str, numbers)))
    return numbers


@task(batch=10, wait=600)
async def fill_async(paths: list[str], numbers: list[int]) -> list[int]:
    """Note them likewise."""
    mark(paths[0], " ".join(map(str, numbers)))
    return numbers


@task(batch=10)
def hold(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Wait until the file `path`.go is there; those of its jobs that are cancelled end as such."""
    mark(paths[0], f"began {' '.join(map(str, numbers))}")
    try:
        while not Path(f"{paths[0]}.go").exists():
            time.sleep(0.01)
    finally:
        cancelled = [one for one, job in zip(numbers, current_jobs(), strict=True) if job.cancelled]
        mark(paths[0], f"ended, cancelled {cancelled} {current_job().cancelled}")
    return [ValueError("cancelled") if one in cancelled else one for one in numbers]


@task(batch=10)
async def hold_async(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Wait likewise."""
    mark(paths[0], f"began {' '.join(map(str, numbers))}")
    try:
        while not is_there(f"{paths[0]}.go"):  # noqa: ASYNC110 - as in kind_jobs
            await asyncio.sleep(0.01)
    finally:
        cancelled = [one for one, job in zip(numbers, current_jobs(), strict=True) if job.cancelled]
        mark(paths[0], f"ended, cancelled {cancelled} {current_job().cancelled}")
    return [ValueError("cancelled") if one in cancelled else one for one in numbers]


@task(batch=10)
def resist(paths: list[str], numbers: list[int]) -> None:
    """Go on whatever is raised in it."""
    mark(paths[0], f"began {' '.join(map(str, numbers))}")
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.01)


@task(batch=10)
async def resist_async(paths: list[str], numbers: list[int]) -> None:
    """Go on likewise."""
    mark(paths[0], f"began {' '.join(map(str, numbers))}")
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(3600)


@task(batch=10)
def crash(paths: list[str], numbers: list[int]) -> list[int]:
    """End the process at the number 3."""
    mark(paths[0], " ".join(map(str, numbers)))
    if 3 in numbers:
        ctypes.string_at(0)
    return numbers


@task(batch=10)
async def crash_async(paths: list[str], numbers: list[int]) -> list[int]:
    """End it likewise."""
    mark(paths[0], " ".join(map(str, numbers)))
    if 3 in numbers:
        os.kill(os.getpid(), signal.SIGSEGV)
    return numbers


@task(batch=10, retries=1, first_delay=0)
def fail(paths: list[str], numbers: list[int]) -> list[int]:
    """Raise in the first attempt, for all jobs."""
    mark(paths[0], " ".join(str(one.attempt) for one in current_jobs()))
    if current_job().attempt == 1:
        raise OSError("not yet")
    return numbers


@task(batch=10, retries=1, first_delay=0)
async def fail_async(paths: list[str], numbers: list[int]) -> list[int]:
    """Raise likewise."""
    mark(paths[0], " ".join(str(one.attempt) for one in current_jobs()))
    if current_job().attempt == 1:
        raise OSError("not yet")
    return numbers


@task(batch=10)
def tidy(paths: list[str]) -> list[str]:
    """Wait for the soft time limit, and return."""
    mark(paths[0], "began")
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeout:
        return ["part" for _ in paths]


@task(batch=10)
async def tidy_async(paths: list[str]) -> list[str]:
    """Wait and return likewise."""
    mark(paths[0], "began")
    try:
        await asyncio.sleep(3600)
    except SoftTimeout:
        return ["part" for _ in paths]
    return []


@task(batch=10)
def report(texts: list[str]) -> list[str]:
    """Report progress and a line for each job, and return the ids."""
    current_job().progress(1, 2, "half")
    for job, text in zip(current_jobs(), texts, strict=True):
        job.log(text)
    return [one.id for one in current_jobs()]


@task(batch=10)
async def report_async(texts: list[str]) -> list[str]:
    """Report likewise."""
    current_job().progress(1, 2, "half")
    for job, text in zip(current_jobs(), texts, strict=True):
        job.log(text)
    return [one.id for one in current_jobs()]


@task(batch=10)
def lose(texts: list[str]) -> list[str]:
    """Return too few results."""
    return texts[1:]


@task(batch=10)
async def lose_async(texts: list[str]) -> list[str]:
    """Return too few likewise."""
    return texts[1:]


@task(batch=10)
def block(paths: list[str], seconds: list[float]) -> list[int]:
    """Sleep in C, with the lock of the interpreter, and return the attempts."""
    mark(paths[0], "began")
    ctypes.PyDLL(None).usleep(int(seconds[0] * 1e6))
    return [one.attempt for one in current_jobs()]


@task(batch=10)
async def block_async(paths: list[str], seconds: list[float]) -> list[int]:
    """Sleep likewise."""
    mark(paths[0], "began")
    ctypes.PyDLL(None).usleep(int(seconds[0] * 1e6))
    return [one.attempt for one in current_jobs()]


@task(batch=20, wait=0.02)
def note(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Note the numbers, and refuse those below 0."""
    mark(paths[0], " ".join(map(str, numbers)))
    return [one if one >= 0 else ValueError(f"{one} is negative") for one in numbers]


@task(batch=20, wait=0.02)
async def note_async(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Note numbers likewise."""
    return note.batch.function(paths, numbers)  # type: ignore[union-attr, no-any-return]


@task(batch=3)
def note_slowly(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Note numbers likewise, and take some time."""
    time.sleep(0.05)
    return note.batch.function(paths, numbers)  # type: ignore[union-attr, no-any-return]


@task(batch=3)
async def note_slowly_async(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Take some time likewise."""
    await asyncio.sleep(0.05)
    return note.batch.function(paths, numbers)  # type: ignore[union-attr, no-any-return]
