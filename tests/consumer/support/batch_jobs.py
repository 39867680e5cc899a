"""Batch tasks for workers of each kind, plain ones and asynchronous ones that do the same."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from functools import partial
from pathlib import Path

from kind_jobs import is_there, mark

from conveyor import JobEnd, Retry, SoftTimeout, Throttle, current_job, current_jobs, task
from conveyor.wire.terms import Hook


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


@task(batch=10)
def show(values: list[object]) -> list[str]:
    """Return what each value is."""
    return [repr(one) for one in values]


@task(batch=10)
async def show_async(values: list[object]) -> list[str]:
    """Return it likewise."""
    return [repr(one) for one in values]


def is_first(path: str) -> bool:
    """Return True in the first call with this path."""
    if Path(f"{path}.first").exists():
        return False
    Path(f"{path}.first").touch()
    return True


def rest(paths: list[str], numbers: list[int]) -> list[int]:
    """Ask for a rest in the first call."""
    mark(paths[0], f"{' '.join(map(str, numbers))} at {time.time()}")
    if is_first(paths[0]):
        raise Throttle(1)
    return numbers


@task(batch=10)
def throttle(paths: list[str], numbers: list[int]) -> list[int]:
    """Ask for a rest in the first call."""
    return rest(paths, numbers)


@task(batch=10)
async def throttle_async(paths: list[str], numbers: list[int]) -> list[int]:
    """Ask for a rest likewise."""
    return rest(paths, numbers)


@task(batch=10)
def throttle_one(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Ask for a rest for the number 1 in the first call."""
    mark(paths[0], " ".join(map(str, numbers)))
    first = is_first(paths[0])
    return [Throttle(1) if first and one == 1 else one for one in numbers]


@task(batch=10)
async def throttle_one_async(paths: list[str], numbers: list[int]) -> list[int | Exception]:
    """Ask for a rest likewise."""
    return throttle_one.batch.function(paths, numbers)  # type: ignore[union-attr, no-any-return]


ERRORS = {"os": OSError("os"), "value": ValueError("value"), "later": Retry(after=0)}


@task(batch=10, retries=1, first_delay=600, retry_on=OSError, backoff=[0])
def choose(paths: list[str], kinds: list[str]) -> list[str | Exception]:
    """Return, for each job, an error in its first attempt, and note its outcome."""
    results: list[str | Exception] = []
    for job, path, kind in zip(current_jobs(), paths, kinds, strict=True):
        job.on_outcome(partial(note_outcome, path, kind))
        results.append(ERRORS.get(kind, kind) if job.attempt == 1 else kind)
    current_job().on_outcome(partial(note_outcome, paths[0], "batch"))
    return results


@task(batch=10, retries=1, first_delay=600, retry_on=OSError, backoff=[0])
async def choose_async(paths: list[str], kinds: list[str]) -> list[str | Exception]:
    """Do likewise."""
    return choose.batch.function(paths, kinds)  # type: ignore[union-attr, no-any-return]


def note_outcome(path: str, name: str, outcome: object) -> None:
    """Note an outcome."""
    mark(path, f"{name} {type(outcome).__name__}")


@task(batch=10, retries=1, first_delay=600, backoff=[0])
def stall(paths: list[str], numbers: list[int]) -> list[int]:
    """Take too long in the first attempt."""
    if current_job().attempt == 1:
        time.sleep(600)
    return numbers


@task(batch=10, retries=1, first_delay=600, backoff=[0])
async def stall_async(paths: list[str], numbers: list[int]) -> list[int]:
    """Take too long likewise."""
    if current_job().attempt == 1:
        await asyncio.sleep(600)
    return numbers


@task(batch=10)
def tell(ends: list[JobEnd]) -> None:
    """Note how jobs have ended, where their results say."""
    for one in ends:
        mark(one.result, f"{one.id} {one.state}")


@task(batch=10, on_success=Hook(tell, {}))
def where(paths: list[str]) -> list[str]:
    """Return the paths."""
    return paths


@task(batch=10, on_success=Hook(tell, {}))
async def where_async(paths: list[str]) -> list[str]:
    """Return them likewise."""
    return paths
