"""Tasks with steps, plain ones and asynchronous ones that do the same."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from kind_jobs import is_there, mark

from conveyor import WaitTimeout, current_job, task


def effect(path: str, name: str) -> str:
    """Leave a mark, and return it."""
    mark(path, name)
    return f"did {name}"


async def effect_async(path: str, name: str) -> str:
    """Leave a mark likewise."""
    await asyncio.sleep(0)
    return effect(path, name)


def die(path: str) -> None:
    """Kill the process, the first time."""
    if not is_there(f"{path}.died"):
        mark(f"{path}.died", str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)


@task(retries=1, first_delay=0.0)
def order(path: str, how: str) -> list[str]:
    """Do three things, each once, although the first run does not get far."""
    job = current_job()
    first = [job.step("one", effect, path, "one"), job.step("two", effect, path, name="two")]
    mark(path, f"run {job.attempt}")
    if how == "crash":
        die(path)
    elif how == "raise" and job.attempt == 1:
        raise ValueError("no")
    elif how == "hold":
        while not is_there(f"{path}.go"):
            time.sleep(0.01)
    return [*first, job.step("three", effect, path, "three")]


@task(retries=1, first_delay=0.0)
async def order_async(path: str, how: str) -> list[str]:
    """Do them likewise."""
    job = current_job()
    first = [
        await job.step("one", effect_async, path, "one"),
        await job.step("two", effect_async, path, name="two"),
    ]
    mark(path, f"run {job.attempt}")
    if how == "crash":
        die(path)
    elif how == "raise" and job.attempt == 1:
        raise ValueError("no")
    elif how == "hold":
        while not is_there(f"{path}.go"):  # noqa: ASYNC110 - other processes have no events of this loop
            await asyncio.sleep(0.01)
    return [*first, await job.step("three", effect_async, path, "three")]


@task
def count(path: str, number: int, every: float = 1.0) -> int:
    """Count slowly from where the last run ended; return how many numbers this run has counted."""
    job = current_job()
    first = job.cursor(0)
    for one in range(first, number):
        mark(path, str(one))
        time.sleep(0.005)
        job.save(one + 1, every)
    return number - first


@task
async def count_async(path: str, number: int, every: float = 1.0) -> int:
    """Count likewise."""
    job = current_job()
    first = await job.cursor_async(0)
    for one in range(first, number):
        mark(path, str(one))
        await asyncio.sleep(0.005)
        await job.save_async(one + 1, every)
    return number - first


@task(retries=1, first_delay=0.0)
def stumble(path: str) -> int:
    """Fail once in the middle of a loop; return where the next run goes on."""
    job = current_job()
    first = job.cursor(0)
    for one in range(first, 10):
        if one == 5 and job.attempt == 1:
            raise ValueError("no")
        job.save(one + 1)
    return first


@task(retries=1, first_delay=0.0)
async def stumble_async(path: str) -> int:
    """Fail likewise."""
    job = current_job()
    first = await job.cursor_async(0)
    for one in range(first, 10):
        if one == 5 and job.attempt == 1:
            raise ValueError("no")
        await job.save_async(one + 1)
    return first


@task
def approve(path: str, seconds: float | None = None) -> Any:
    """Wait for a signal between two steps."""
    job = current_job()
    job.step("ask", effect, path, "ask")
    try:
        answer = job.wait_for("answer", seconds)
    except WaitTimeout:
        answer = "none"
    job.step("act", effect, path, "act")
    return answer, job.attempt


@task
async def approve_async(path: str, seconds: float | None = None) -> Any:
    """Wait likewise."""
    job = current_job()
    await job.step("ask", effect_async, path, "ask")
    try:
        answer = await job.wait_for_async("answer", seconds)
    except WaitTimeout:
        answer = "none"
    await job.step("act", effect_async, path, "act")
    return answer, job.attempt


@task
def nap(path: str, seconds: float) -> int:
    """Sleep twice."""
    job = current_job()
    for number in range(2):
        mark(path, f"before {number}")
        job.sleep(seconds)
        mark(path, f"after {number}")
    return job.attempt


@task
async def nap_async(path: str, seconds: float) -> int:
    """Sleep likewise, as a task group does."""
    job = current_job()
    for number in range(2):
        mark(path, f"before {number}")
        async with asyncio.TaskGroup() as group:
            group.create_task(job.sleep_async(seconds))
        mark(path, f"after {number}")
    return job.attempt


@task
def meanwhile(number: int) -> int:
    """Return the number."""
    return number


@task
def chaos(path: str, number: int) -> int:
    """Do a number of steps with short pauses between them, in which a worker may be killed."""
    job = current_job()
    for one in range(number):
        job.step(f"step {one}", effect, path, f"{job.id} {one}")
        time.sleep(0.01)
    return number


@task
async def chaos_async(path: str, number: int) -> int:
    """Do them likewise."""
    job = current_job()
    for one in range(number):
        await job.step(f"step {one}", effect_async, path, f"{job.id} {one}")
        await asyncio.sleep(0.01)
    return number


@task
def wrong(how: str) -> None:
    """Use steps in a wrong way."""
    job = current_job()
    if how == "coroutine":
        job.step("a", lambda: effect_async("", ""))
    elif how == "value":
        job.step("a", object)
    elif how == "large":
        job.step("a", bytes, 1 << 20)
    elif how == "name":
        job.step("", dict)
    elif how == "seconds":
        job.sleep(-1)
    elif how == "many":
        for number in range(1001):
            job.step(str(number), int)
    elif how == "cursor":
        job.save(object())
