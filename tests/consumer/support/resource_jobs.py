"""Resources of workers, and tasks that take them. The environment says what goes wrong."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor import from_worker, resource, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def note(text: str) -> None:
    """Add a line to the file that the tests read."""
    with Path(os.environ["RESOURCE_NOTES"]).open("a") as file:
        file.write(f"{os.getpid()} {text}\n")


def fails(what: str) -> bool:
    """Return True if this is to fail: the file of this name is there."""
    return Path(os.environ["RESOURCE_NOTES"]).with_name(f"fail {what}").exists()


class Pool:
    """What a database pool looks like to a task."""

    def __init__(self) -> None:
        self.uses = 0
        self.is_open = True
        self.file = Path(os.environ["RESOURCE_NOTES"]).open()  # noqa: SIM115 - it outlasts jobs


class AsyncClient:
    """What a client for asyncio looks like: it belongs to one event loop, and has a task there."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.task = self.loop.create_task(asyncio.sleep(3600))
        self.uses = 0


class Session:
    """What needs a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool


@resource
def pool() -> Iterator[Pool]:
    """Open a pool."""
    if fails("open"):
        raise ConnectionError("the database postgres://ada:secret@db is down")
    made = Pool()
    note("pool opened")
    while fails("hang"):
        time.sleep(0.01)
    yield made
    if fails("close"):
        note("pool fails")
        raise OSError("cannot close")
    while fails("close slowly"):
        time.sleep(0.01)
    made.is_open = False
    made.file.close()
    note("pool closed")


@resource
async def client(pool: Pool = from_worker()) -> AsyncIterator[AsyncClient]:
    """Open a client in the event loop, and close it in the same task."""
    assert pool.is_open
    while fails("hang in the loop"):
        note("client hangs")
        await asyncio.sleep(0.1)
    async with asyncio.timeout(None):  # must be left in the task that entered it
        made = AsyncClient()
        note("client opened")
        yield made
        await asyncio.sleep(0)
        made.task.cancel()
    note("client closed")


@resource
def session(pool: Pool = from_worker()) -> Session:
    """Return what is not closed."""
    return Session(pool)


@resource
def warm_up() -> Iterator[None]:
    """Run at the start and the end."""
    note("started")
    yield
    note("ended")


@task
def use(key: int, *, pool: Pool = from_worker(), session: Session = from_worker()) -> tuple[int, int, bool]:
    """Return process, number of uses, and whether all is as it should be."""
    pool.uses += 1
    return os.getpid(), pool.uses, pool.is_open and session.pool is pool and not pool.file.closed and key > 0


@task
async def use_async(
    key: int, pool: Pool = from_worker(), client: AsyncClient = from_worker()
) -> tuple[int, int, bool]:
    """Return process, number of uses of the client, and whether all is as it should be."""
    client.uses += 1
    await asyncio.sleep(0.001)
    is_right = client.loop is asyncio.get_running_loop() and not client.task.done()
    return os.getpid(), client.uses, is_right and pool.is_open and key > 0


@task
async def close_loop() -> None:
    """Stop the event loop in the middle of a job, as a task may."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(10)


@task
def hold(path: str, pool: Pool = from_worker()) -> bool:
    """Wait until the file `path`.go is there."""
    note(f"holding {threading.current_thread() is threading.main_thread()}")
    while not Path(f"{path}.go").exists():
        time.sleep(0.01)
    return pool.is_open
