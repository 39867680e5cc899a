"""Tasks for workers of each kind, plain ones and asynchronous ones that do the same."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from conveyor import SoftTimeout, current_job, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def mark(path: str, text: str) -> None:
    """Add a line to a file."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def marks(path: str) -> list[str]:
    """Return the lines of a file."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def is_there(path: str) -> bool:
    """Return True if a file exists."""
    return Path(path).exists()


@task
def meet(path: str, count: int) -> int:
    """Wait until `count` jobs have begun, which is possible only at the same time."""
    mark(path, current_job().id)
    while len(set(marks(path))) < count:
        time.sleep(0.01)
    return os.getpid()


@task
async def meet_async(path: str, count: int) -> int:
    """Wait likewise."""
    mark(path, current_job().id)
    while len(set(marks(path))) < count:  # noqa: ASYNC110 - other processes have no events of this loop
        await asyncio.sleep(0.01)
    return os.getpid()


_kept: list[bytes] = []


@task
def grow(mebibytes: int) -> tuple[int, int]:
    """Use more memory for good; return the process id and its resident bytes."""
    _kept.append(b"x" * (mebibytes << 20))
    return os.getpid(), psutil.Process().memory_info().rss


@task
async def grow_async(mebibytes: int) -> tuple[int, int]:
    """Use more memory likewise."""
    _kept.append(b"x" * (mebibytes << 20))
    return os.getpid(), psutil.Process().memory_info().rss


@task
def hold(path: str) -> int:
    """Wait until the file `path`.go is there; return the number of the attempt."""
    mark(path, f"began {current_job().attempt}")
    try:
        while not Path(f"{path}.go").exists():
            time.sleep(0.01)
    finally:
        mark(path, "ended")
    return current_job().attempt


@task
async def hold_async(path: str) -> int:
    """Wait likewise."""
    mark(path, f"began {current_job().attempt}")
    try:
        while not is_there(f"{path}.go"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    finally:
        mark(path, "ended")
    return current_job().attempt


@task
def resist(path: str) -> None:
    """Go on whatever is raised in it."""
    mark(path, "began 1")
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.01)


@task
async def resist_async(path: str) -> None:
    """Go on likewise."""
    mark(path, "began 1")
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(3600)


@task
def tidy(path: str, seconds: float = 0.0) -> str:
    """Wait; clean up for some seconds at the soft time limit, and return a part of the result."""
    mark(path, f"began {current_job().attempt}")
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeout:
        mark(path, f"tidies {current_job().cancelled}")
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.01)
    finally:
        mark(path, "ended")
    return "part"


@task
async def tidy_async(path: str, seconds: float = 0.0) -> str:
    """Wait and clean up likewise."""
    mark(path, f"began {current_job().attempt}")
    try:
        await asyncio.sleep(3600)
    except SoftTimeout:
        mark(path, f"tidies {current_job().cancelled}")
    try:
        await asyncio.sleep(seconds)
    finally:
        mark(path, "ended")
    return "part"


@task
def race(seconds: float) -> str:
    """Return at about the time of the soft limit."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            pass
    except SoftTimeout:
        return "part"
    return "whole"


@task
async def race_async(seconds: float) -> str:
    """Return likewise."""
    try:
        await asyncio.sleep(seconds)
    except SoftTimeout:
        return "part"
    return "whole"


@task
def count_until_limit() -> Iterator[int]:
    """Yield numbers until the soft time limit, and then -1."""
    try:
        number = 0
        while True:
            yield number
            number += 1
            if number >= 100:
                time.sleep(0.001)
    except SoftTimeout:
        yield -1


@task
async def count_until_limit_async() -> AsyncIterator[int]:
    """Yield numbers likewise."""
    try:
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(0.001)
    except SoftTimeout:
        yield -1


@task
def hold_gil(path: str, numbers: int) -> str:
    """Add up numbers in C, with the lock of the interpreter."""
    mark(path, "began 1")
    try:
        sum(range(numbers))
        for _ in range(10**9):
            pass
    except SoftTimeout:
        return "part"
    return "whole"


@task
async def hold_gil_async(path: str, numbers: int) -> str:
    """Add them up likewise."""
    mark(path, "began 1")
    try:
        sum(range(numbers))
        await asyncio.sleep(3600)
    except SoftTimeout:
        return "part"
    return "whole"


@task
def hold_lock(seconds: float) -> str:
    """Sleep in C, with the lock of the interpreter."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return "held"


@task
async def hold_lock_async(seconds: float) -> str:
    """Sleep likewise."""
    return hold_lock(seconds)


@task
async def block(path: str, seconds: float) -> str:
    """Keep the event loop from running anything else."""
    mark(path, "began 1")
    time.sleep(seconds)  # noqa: ASYNC251 - it is what it does
    return "blocked"


@task
async def block_in_another(path: str, seconds: float) -> str:
    """Keep it from that in a coroutine that the job has started."""
    (text,) = await asyncio.gather(block(path, seconds))
    return text


@task
def crash(path: str, how: str) -> None:
    """End the process, from C code or by a signal."""
    mark(path, f"began {current_job().attempt}")
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    ctypes.string_at(0)


@task
async def crash_async(path: str, how: str) -> None:
    """End the process likewise."""
    crash(path, how)


@task
def report(text: str) -> tuple[str, int]:
    """Report progress, and a line."""
    current_job().progress(1, 2, text)
    current_job().log(text)
    return current_job().id, current_job().attempt


@task
async def report_async(text: str) -> tuple[str, int]:
    """Report likewise."""
    current_job().progress(1, 2, text)
    await asyncio.sleep(0)
    current_job().log(text)
    return current_job().id, current_job().attempt


@task
def count(upto: int) -> Iterator[int]:
    """Yield numbers."""
    yield from range(upto)


@task
async def count_async(upto: int) -> AsyncIterator[int]:
    """Yield numbers."""
    for number in range(upto):
        await asyncio.sleep(0)
        yield number


@task
def fail(text: str) -> None:
    """Raise."""
    raise ValueError(text)


@task
async def fail_async(text: str) -> None:
    """Raise."""
    await asyncio.sleep(0)
    raise ValueError(text)


@task
def leave_early(text: str) -> None:
    """Raise what ends a program."""
    raise SystemExit(text)


@task
async def leave_early_async(text: str) -> None:
    """Raise what ends a program."""
    raise SystemExit(text)


@task
async def leave_something_behind(path: str) -> str:
    """Start a coroutine that would go on for ever."""

    async def other() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            mark(path, "ended")

    kept: Any = asyncio.create_task(other())
    await asyncio.sleep(0)
    return f"left {kept.done()}"


@task
def fork(path: str) -> int:
    """Fork, and return twice."""
    if os.fork() == 0:
        mark(path, "child")
    return os.getpid()


@task
async def fork_async(path: str) -> int:
    """Fork likewise."""
    return fork(path)


@task
def terminate_child() -> int | None:
    """Fork a process, terminate it, and return how it ended."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(10)
    child.kill()
    return child.exitcode


@task
async def terminate_child_async() -> int | None:
    """Terminate one likewise."""
    return terminate_child()


@task
async def end_loop(how: str) -> str:
    """Do what would end the event loop."""
    loop = asyncio.get_running_loop()
    if how == "stop":
        loop.stop()
    elif how == "callback":
        loop.call_soon(sys.exit, 3)
    else:
        kept = asyncio.create_task(leave_early_async("x"))
        await asyncio.wait([kept])
    await asyncio.sleep(0.01)
    return "went on"


@task
async def nap(seconds: float) -> str:
    """Wait, and return the job's id."""
    await asyncio.sleep(seconds)
    return current_job().id


@task
def log_until_limit() -> str:
    """Log until the soft time limit, and a line that cannot be formatted after it."""
    log = logging.getLogger("kind_jobs")
    try:
        while True:
            log.info("a line of %s", "words")
    except SoftTimeout:
        log.info("%d", "no number")
    return "part"


class _SlowHandler(logging.Handler):
    """One that threads wait for, so that what is raised in them arrives when they get its lock."""

    def emit(self, _: logging.LogRecord) -> None:
        time.sleep(0.005)


_slow = logging.getLogger("kind_jobs.slow")
_slow.propagate = False
_slow.addHandler(_SlowHandler())


@task
def log_slowly() -> str:
    """Log to a slow handler until the soft time limit, and once more."""
    try:
        while True:
            _slow.warning("a line")
    except SoftTimeout:
        _slow.warning("the last one")
    return "part"


@task
async def log_slowly_async() -> str:
    """Log likewise."""
    try:
        while True:
            _slow.warning("a line")
            await asyncio.sleep(0)
    except SoftTimeout:
        _slow.warning("the last one")
    return "part"


@task
async def log_until_limit_async() -> str:
    """Log likewise."""
    log = logging.getLogger("kind_jobs")
    try:
        while True:
            log.info("a line of %s", "words")
            await asyncio.sleep(0)
    except SoftTimeout:
        log.info("%d", "no number")
    return "part"
