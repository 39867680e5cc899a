"""The tasks of the consumer tests: each shows or ends a single thing."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conveyor import BadInput, Queue, current_job, task
from conveyor.errors import JobCancelled

ONE_DAY = 86_400.0
MEBIBYTE = 1 << 20


@dataclass
class Point:
    x: int
    y: int


@dataclass
class Pixel(Point):
    color: str = "red"


def same(value):  # noqa: ANN001, ANN201 - of any type
    return value


def type_of(value: Point | list[Point]) -> str:
    return type(value).__name__ if isinstance(value, Point) else f"{[type(one).__name__ for one in value]}"


def lying(value: Point) -> int:
    return value  # type: ignore[return-value]


def add(a: int, b: int) -> int:
    return a + b


def add_elsewhere(a: int, b: int) -> int:
    """Submit another job of the same queue, and wait for its result."""
    return Queue(current_job().queue).submit(add, a, b).result()


async def await_elsewhere(a: int, b: int) -> int:
    return await Queue(current_job().queue).submit(add, a, b)


def close_output() -> None:
    os.close(1)


def nothing() -> None:
    pass


def brief(milliseconds: float) -> float:
    time.sleep(milliseconds / 1000)
    return milliseconds


def corner(x: int, y: int) -> Point:
    return Point(x, y)


def stripes(count: int) -> np.ndarray:
    return np.arange(count) % 2


def text_of(size: int) -> str:
    return "x" * size


def unfit() -> object:
    return object()


async def later(value: int) -> int:
    await asyncio.sleep(0.001)
    return value


def boom(text: str) -> None:
    raise ValueError(text)


def unhappy() -> None:
    raise BadInput("no such file")


def base_boom() -> None:
    raise KeyboardInterrupt("a task may raise anything")


def leave_python(status: int) -> None:
    sys.exit(status)


@task(name="steady", queue="work", retries=2, first_delay=0.01)
def steady(path: str, fails: int) -> int:
    """Fail the first few times; keep a line of the time in a file for each."""
    count = mark(path, str(time.monotonic()))
    if count <= fails:
        raise OSError(f"try {count}")
    return count


@task(name="stubborn", queue="work", retries=2, first_delay=0.01)
def stubborn(path: str) -> None:
    mark(path, "run")
    raise BadInput("it will never fit")


def mark(path: str, text: str) -> int:
    """Add a line to a file, and return the number of lines."""
    with Path(path).open("a") as file:
        file.write(text + "\n")
    return len(Path(path).read_text().splitlines())


def facts() -> tuple[str, int, int]:
    job = current_job()
    return job.id, job.attempt, job.token


def hold(path: str, name: str = "") -> str:
    """Write the attempt and process to the file; continue when `path`.go exists."""
    job = current_job()
    mark(path, f"{name or job.id} {os.getpid()} {job.attempt} {job.token}")
    while not Path(path + ".go").exists():
        time.sleep(0.005)
    return name


@task(name="limited", queue="work", timeout=0.2)
def limited(path: str) -> str:
    return hold(path)


@task(name="limited_twice", queue="work", timeout=0.2, retries=1, first_delay=0.01)
def limited_twice(path: str) -> str:
    """Take too long the first time."""
    if current_job().attempt > 1:
        return "in time"
    return hold(path)


def sleep_for_ever(path: str) -> None:
    mark(path, str(os.getpid()))
    time.sleep(ONE_DAY)


async def wait_for_ever(path: str) -> None:
    mark(path, str(os.getpid()))
    try:
        await asyncio.sleep(ONE_DAY)
    finally:
        mark(path, "cleaned")


def ignore_for_ever(path: str) -> None:
    """Swallow every exception raised in here, even before the sleep."""
    text = str(os.getpid())
    while True:
        try:
            mark(path, text)
            time.sleep(ONE_DAY)
        except JobCancelled:
            text = "ignored"


def clean_up_and_return(path: str) -> str:
    """Catch the cancellation, clean up, and return the partial result."""
    try:
        mark(path, str(os.getpid()))
        time.sleep(ONE_DAY)
    except JobCancelled:
        mark(path, "cleaned")
    return "half"


async def clean_up_and_return_async(path: str) -> str:
    mark(path, str(os.getpid()))
    try:
        await asyncio.sleep(ONE_DAY)
    except asyncio.CancelledError:
        mark(path, "cleaned")
    return "half"


def notice_and_return(path: str) -> str:
    """Poll `cancelled`, and return the partial result."""
    usual = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        mark(path, str(os.getpid()))
        while not current_job().cancelled:
            time.sleep(0.005)
        mark(path, "cleaned")
    finally:
        signal.signal(signal.SIGUSR1, usual)
    return "half"


def ask_whether(path: str) -> str:
    """Poll `cancelled` where the exception cannot reach."""
    job = current_job()
    usual = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        mark(path, str(os.getpid()))
        while not job.cancelled:
            time.sleep(0.005)
        mark(path, "noticed")
        job.check()
    finally:
        signal.signal(signal.SIGUSR1, usual)
    return "never"


def miss_the_signal(path: str) -> None:
    """Lose the signal of a cancellation, as a blocking call may, and then wait forever."""
    usual = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        hold(path)
    finally:
        signal.signal(signal.SIGUSR1, usual)
    time.sleep(ONE_DAY)


def tell_progress(path: str) -> None:
    job = current_job()
    job.progress(3, 4, "three of four")
    job.log("first line")
    job.log("second line")
    hold(path)


def end_process(path: str, how: str) -> str:
    """Take the worker process along, once or always."""
    mark(path, f"{os.getpid()} {current_job().attempt}")
    if how == "segfault":
        ctypes.string_at(0)
    elif how.startswith("exit"):
        os._exit(int(how.removeprefix("exit")))
    else:
        os.kill(os.getpid(), signal.Signals[how])
    return "still here"


def crash_once(path: str) -> int:
    if mark(path, "run") == 1:
        os._exit(3)
    return current_job().attempt


def hold_gil(path: str, seconds: int) -> int:
    """Sleep in C, with the interpreter's lock."""
    mark(path, str(os.getpid()))
    ctypes.PyDLL(None).sleep(seconds)
    return current_job().attempt


async def block_loop(path: str, seconds: float) -> int:
    """Keep the event loop from running anything else."""
    mark(path, str(os.getpid()))
    time.sleep(seconds)  # noqa: ASYNC251 - the fault that is tried
    return current_job().attempt


def lock_with_gil(path: str, lock: str) -> int:
    """Wait for a lock in C, with the interpreter's lock."""
    mark(path, str(os.getpid()))
    with Path(lock).open() as file:
        while ctypes.PyDLL(None).flock(file.fileno(), fcntl.LOCK_SH):
            pass  # a signal interrupts it
    return current_job().attempt


@dataclass
class Treacherous:
    """Looks harmless until it is read."""

    value: int

    def __getattribute__(self, name: str) -> object:
        if name == "value":
            raise RuntimeError("hands off")
        return super().__getattribute__(name)


def treacherous() -> Treacherous:
    return Treacherous.__new__(Treacherous)  # its value is looked for, since it has none of its own


def endless() -> list:
    found: list = []
    found.append(found)
    return found


@task(name="short_lived", queue="work", keep=60)
def short_lived() -> None:
    pass


class Mute(Exception):
    """An exception whose own text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError


def mute_boom() -> None:
    raise Mute


def deep_boom() -> None:
    deep_boom()


@task(name="tell_tries", queue="work", retries=2, first_delay=0.01)
def tell_tries(path: str) -> None:
    job = current_job()
    mark(path, f"{job.attempt} {job.token}")
    raise OSError


def start_sleeper(path: str) -> None:
    """Start another program and wait for it."""
    with subprocess.Popen(["sleep", str(ONE_DAY)]) as child:
        mark(path, str(child.pid))


def hoard(most: int) -> int:
    """Take memory until there is none, or `most` bytes were taken; return how many."""
    kept = []
    while len(kept) * MEBIBYTE < most:
        kept.append(bytearray(MEBIBYTE))
    return len(kept) * MEBIBYTE


@task(name="breed", queue="work", timeout=3.0)
def breed(path: str, most: int) -> None:
    """Fork, as does each child, until there are `most` processes, and go on in all of them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while mark(path, str(os.getpid())) < most:
        os.fork()
    time.sleep(ONE_DAY)
    os._exit(0)


def count_for_ever(path: str) -> int:
    """Compute in C with the GIL held and without a check for signals."""
    with contextlib.suppress(JobCancelled):  # raised before the sum begins
        mark(path, str(os.getpid()))
    while True:
        with contextlib.suppress(JobCancelled):
            return sum(range(10**13))


def block_signals_for_ever(path: str) -> None:
    """Wait in C, with the interpreter's lock and all signals blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    mark(path, str(os.getpid()))
    ctypes.PyDLL(None).sleep(int(ONE_DAY))


def translate(path: str) -> None:
    """Raise a different exception on cancellation."""
    try:
        sleep_for_ever(path)
    except JobCancelled as error:
        raise OSError("the download was interrupted") from error


limited_brief = task(name="limited_brief", queue="work", timeout=0.5)(brief)


def tell_attempt() -> int:
    time.sleep(0.0005)
    return current_job().attempt


def log_and_hold(path: str) -> str:
    """Wait, then write to a log that the server may refuse."""
    hold(path)
    current_job().log("still here")
    current_job().progress(1, 1)
    return "logged"


def mark_and_wait(path: str, number: int) -> int:
    mark(path, str(number))
    time.sleep(0.01)
    return number


def log_when_told(path: str) -> int:
    """Log three lines once a file asks for them."""
    Path(path).touch()
    while not Path(path).with_suffix(".go").exists():
        time.sleep(0.01)
    for number in range(3):
        current_job().log(f"line {number}")
    return 3
