"""Tasks that are retried by options of their own, plain ones and asynchronous ones that do the same."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from conveyor import BadInput, Retry, SoftTimeout, TimeLimit, current_job, task

ERRORS: dict[str, BaseException] = {
    "refused": ConnectionRefusedError("refused"),
    "value": ValueError("value"),
    "unicode": UnicodeError("unicode"),
    "input": BadInput("input"),
    "exit": SystemExit("exit"),
    "group": ExceptionGroup("two", [ConnectionError("a"), ValueError("b")]),
    "alike": ExceptionGroup("two", [ConnectionError("a"), TimeoutError("b")]),
    "asked": Retry(timedelta(0), "busy"),
}


def note(path: str, text: str) -> None:
    """Add a line to a file."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def failing(path: str, name: str) -> int:
    """Raise an error in each attempt but the third, whose number is returned."""
    note(path, f"{current_job().attempt} {time.time()}")
    if current_job().attempt < 3:
        raise ERRORS[name]
    return current_job().attempt


@task(retries=5, first_delay=0, retry_on=(ConnectionError, TimeoutError), give_up_on=ConnectionResetError)
def only_some(path: str, name: str) -> int:
    """Retry errors of the network."""
    return failing(path, name)


@task(retries=5, first_delay=0, retry_on=(ConnectionError, TimeoutError), give_up_on=ConnectionResetError)
async def only_some_async(path: str, name: str) -> int:
    """Retry likewise."""
    return failing(path, name)


@task(retries=5, first_delay=0, retry_on=UnicodeError, give_up_on=[ValueError, Exception])
def specific(path: str, name: str) -> int:
    """Retry a kind of ValueError, and no other exception."""
    return failing(path, name)


@task(retries=5, first_delay=0, retry_on=UnicodeError, give_up_on=[ValueError, Exception])
async def specific_async(path: str, name: str) -> int:
    """Retry likewise."""
    return failing(path, name)


@task(retries=2, first_delay=3600)
def asking(path: str, after: float, times: int) -> int:
    """Ask to be run again, some times."""
    note(path, f"{current_job().attempt} {time.time()}")
    if current_job().attempt <= times:
        raise Retry(after=after) from ConnectionError("come back later")
    return current_job().attempt


@task(retries=2, first_delay=3600)
async def asking_async(path: str, after: float, times: int) -> int:
    """Ask likewise."""
    note(path, f"{current_job().attempt} {time.time()}")
    if current_job().attempt <= times:
        async with asyncio.TaskGroup() as group:
            group.create_task(_ask(after))
    return current_job().attempt


async def _ask(after: float) -> None:
    raise Retry(after=after) from ConnectionError("come back later")


@task(retries=5, first_delay=3600, backoff=[0, 0.3])
def listed(path: str, name: str) -> int:
    """Retry after delays of a list."""
    return failing(path, name)


@task(retries=5, first_delay=3600, backoff=[0, 0.3])
async def listed_async(path: str, name: str) -> int:
    """Retry likewise."""
    return failing(path, name)


def by_number(retry: int, error: Exception) -> timedelta:
    """Return a delay that grows, for one kind of error."""
    return timedelta(seconds=0.2 * retry if isinstance(error, ConnectionError) else 3600)


@task(retries=5, first_delay=3600, backoff=by_number)
def computed(path: str, name: str) -> int:
    """Retry after delays that a function returns."""
    return failing(path, name)


@task(retries=5, first_delay=3600, backoff=by_number)
async def computed_async(path: str, name: str) -> int:
    """Retry likewise."""
    return failing(path, name)


def broken(retry: int, _: BaseException) -> Any:
    """Fail to return a delay: by an error, and by no number."""
    if retry == 1:
        raise SystemExit(7)
    return "soon"


@task(retries=5, first_delay=0.01, backoff=broken)
def misled(path: str, name: str) -> int:
    """Retry although the backoff is wrong."""
    return failing(path, name)


@task(retries=5, first_delay=0.01, backoff=broken)
async def misled_async(path: str, name: str) -> int:
    """Retry likewise."""
    return failing(path, name)


def hang(path: str) -> int:
    """Wait for ever in the first two attempts."""
    note(path, f"{current_job().attempt} {time.time()}")
    return current_job().attempt if current_job().attempt == 3 else -1


@task(retries=5, timeout=0.3, backoff=[0], retry_on=TimeoutError)
def limited(path: str) -> int:
    """Exceed the time limit, which counts as a TimeoutError."""
    if hang(path) < 0:
        time.sleep(60)
    return current_job().attempt


@task(retries=5, timeout=0.3, backoff=[0], retry_on=TimeoutError)
async def limited_async(path: str) -> int:
    """Exceed it likewise."""
    if hang(path) < 0:
        await asyncio.sleep(60)
    return current_job().attempt


@task(retries=5, timeout=0.3, first_delay=0, give_up_on=TimeLimit)
def limited_once(path: str) -> int:
    """Exceed the time limit, which is not retried."""
    return limited.function(path)


@task(retries=5, timeout=0.3, first_delay=0, give_up_on=TimeLimit)
async def limited_once_async(path: str) -> int:
    """Exceed it likewise."""
    return await limited_async.function(path)


@task(retries=5, soft_timeout=0.3, first_delay=0, retry_on=SoftTimeout)
def soft_limited(path: str) -> int:
    """Exceed the soft time limit, which is retried."""
    if hang(path) < 0:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.01)
    return current_job().attempt


@task(retries=5, soft_timeout=0.3, first_delay=0, retry_on=SoftTimeout)
async def soft_limited_async(path: str) -> int:
    """Exceed it likewise."""
    return await limited_async.function(path)


@task(retries=5, first_delay=0, retry_on=ConnectionError)
def crashing(path: str) -> int:
    """End the process of the worker in the first attempt."""
    note(path, f"{current_job().attempt} {time.time()}")
    if current_job().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return current_job().attempt


@task(expires=3600, first_delay=0, retries=1)
def timely(path: str) -> int:
    """Note that it runs, and fail once."""
    return failing(path, "refused") if current_job().attempt == 1 else current_job().attempt


@task(expires=3600, first_delay=0, retries=1)
async def timely_async(path: str) -> int:
    """Note it likewise."""
    return timely.function(path)
