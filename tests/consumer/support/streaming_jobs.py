"""Tasks that yield, in all ways: to the end, until they are told to go on, and until they raise or are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Generator, Iterator  # noqa: TC003 - workers read the hints
from dataclasses import dataclass
from pathlib import Path

from consumer_jobs import mark

from conveyor import BadCall, TooLarge, current_job, task
from conveyor.errors import JobCancelled


@dataclass
class Row:
    number: int
    name: str


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def rows(count: int) -> Generator[Row, None, Row]:
    for number in range(count):
        yield Row(number, f"row {number}")
    return Row(count, "all")


async def rows_later(count: int) -> AsyncIterator[Row]:
    for number in range(count):
        await asyncio.sleep(0)
        yield Row(number, f"row {number}")


def texts(count: int, size: int) -> Iterator[str]:
    for number in range(count):
        yield f"{number}" + "x" * size


async def texts_later(count: int, size: int) -> AsyncIterator[str]:
    for one in texts(count, size):
        yield one


def wait_at(path: str) -> None:
    """Continue when `path`.go exists."""
    while not Path(path + ".go").exists():
        time.sleep(0.005)


def half(path: str, count: int) -> Iterator[int]:
    """Yield half of the numbers, and the others when told to."""
    mark(path, f"{current_job().attempt} {os.getpid()}")
    for number in range(count):
        if number == count // 2:
            wait_at(path)
        yield number


async def half_later(path: str, count: int) -> AsyncIterator[int]:
    for number in range(count):
        if number == count // 2:
            await asyncio.to_thread(wait_at, path)
        yield number


def killed_twice(path: str, count: int) -> Iterator[int]:
    """Kill the worker in the middle, each time later."""
    runs = mark(path, "run")
    for number in range(count):
        if runs < 3 and number == runs * count // 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield number


@task(name="yield_and_fail", queue="work", retries=1, first_delay=0.01)
def yield_and_fail(path: str, fails: int) -> Iterator[str]:
    """Fail behind the first items; they name their run."""
    runs = mark(path, "run")
    yield "first"
    yield f"second of run {runs}"
    if runs <= fails:
        message = f"run {runs}"
        raise OSError(message)
    yield f"third of run {runs}"


def clean_up(path: str) -> Iterator[int]:
    """Yield without end; note how it ends."""
    try:
        for number in range(10**9):
            yield number
            time.sleep(0.001)
    except JobCancelled:
        mark(path, "cancelled")
        raise
    finally:
        mark(path, "cleaned up")


async def clean_up_later(path: str) -> AsyncIterator[int]:
    try:
        for number in range(10**9):
            yield number
            await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        mark(path, "cancelled")
        raise
    finally:
        mark(path, "cleaned up")


async def clean_up_without_await(path: str) -> AsyncIterator[int]:
    """Yield without end, and never let others run."""
    try:
        for number in range(10**9):
            time.sleep(0.001)  # noqa: ASYNC251 - on purpose
            yield number
    except asyncio.CancelledError:
        mark(path, "cancelled")
        raise
    finally:
        mark(path, "cleaned up")


@task(name="yield_too_long", queue="work", timeout=0.5)
def yield_too_long() -> Iterator[int]:
    for number in range(10**9):
        yield number
        time.sleep(0.01)


def unfit_items() -> Iterator[object]:
    """Yield what cannot travel, and go on."""
    yield 1
    for unfit, refusal in ((object(), BadCall), ("x" * (1 << 20), TooLarge)):
        with contextlib.suppress(refusal):
            yield unfit
    yield 2


def unfit_item() -> Iterator[object]:
    yield 1
    yield object()


async def unfit_items_later() -> AsyncIterator[object]:
    for one in (1, object(), 2):
        with contextlib.suppress(BadCall):
            yield one


def without_end(path: str) -> Iterator[bytes]:
    """Yield without end, whatever is raised."""
    try:
        while True:
            with contextlib.suppress(TooLarge):
                yield bytes(1 << 19)
    finally:
        mark(path, "cleaned up")


def sneaky(path: str) -> Iterator[int]:
    """Fork in the middle; the child returns as well."""
    yield 1
    mark(path, f"{bool(os.fork())}")
    yield 2


def report(path: str) -> Iterator[int]:
    """Report progress while it yields."""
    for number in range(10):
        current_job().progress(number, 10)
        yield number
    wait_at(path)
