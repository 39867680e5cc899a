"""Tasks whose runs middleware surrounds, in workers of each kind."""

from __future__ import annotations

import asyncio
import os
import time
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor import CurrentJob, around_run, current_job, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def note(text: str) -> None:
    """Add a line to the file that the tests read, if the environment names one."""
    if path := os.environ.get("AROUND_NOTES"):
        with Path(path).open("a") as file:
            file.write(f"{text}\n")


@around_run
def outer(job: CurrentJob) -> Iterator[None]:
    """Note the beginning and the end of each run, and how it ended."""
    name = job.headers.get("name", "")
    note(
        f"{name} outer begins {job.task.rpartition('.')[2]} {job.attempt} {job.queue != ''} {len(job.id) > 5}"
    )
    try:
        yield
    except BaseException as error:
        note(f"{name} outer raised {type(error).__name__}")
        if "swallow" in job.headers:
            return
        raise
    note(f"{name} outer ends")


@around_run
def use_tenant(job: CurrentJob) -> Iterator[None]:
    """Set the tenant of the job, and do what its headers say."""
    say = job.headers.get("say", "")
    if say == "refuse" or (say == "refuse once" and job.attempt == 1):
        raise LookupError("no such tenant")
    if say == "nothing":
        return
    mark = tenant.set(job.headers.get("tenant", "anybody"))
    try:
        yield
    except ValueError as error:
        if say == "translate":
            raise OSError("translated") from error
        raise
    finally:
        tenant.reset(mark)
    if say == "late":
        raise LookupError("too late")
    if say == "twice":
        yield


@task
def whose() -> tuple[str, str, str]:
    """Return the tenant, and the task and a header of the current job."""
    return tenant.get(), current_job().task, current_job().headers.get("name", "")


@task
async def whose_async() -> tuple[str, str, str]:
    """Return the same."""
    before = tenant.get()
    await asyncio.sleep(0.01)
    assert tenant.get() == before
    return tenant.get(), current_job().task, current_job().headers.get("name", "")


@task
def stream() -> Iterator[str]:
    """Yield the tenant."""
    for _ in range(3):
        yield tenant.get()


@task
async def stream_async() -> AsyncIterator[str]:
    """Yield the tenant."""
    for _ in range(3):
        await asyncio.sleep(0)
        yield tenant.get()


@task
def fail() -> None:
    """Raise."""
    raise ValueError("as always")


@task
async def fail_async() -> None:
    """Raise."""
    await asyncio.sleep(0)
    raise ValueError("as always")


@task
def hold() -> None:
    """Run until it is cancelled."""
    note("holding")
    while True:
        time.sleep(0.01)


@task
async def hold_async() -> None:
    """Run until it is cancelled."""
    note("holding")
    await asyncio.sleep(600)
