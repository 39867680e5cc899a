"""BullMQ in Python. `python -m benchmarks.contestants.bullmq` is its worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop
from bullmq import Queue, QueueEvents, Worker

from benchmarks.contestants.jobs import COROUTINES, SETTINGS, URL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

_connection = {"connection": URL}
_options = SETTINGS.get("job", {})
_finished: dict[str, asyncio.Future[Any]] = {}
_open: dict[str, Any] = {}


async def setup(_: AsyncExitStack) -> None:
    """Connect, and listen for results if they are asked for."""
    _open["queue"] = Queue("bench", _connection)
    if SETTINGS.get("results"):
        events = _open["events"] = QueueEvents("bench", _connection)
        events.on("completed", lambda event, *_: _future(event["jobId"]).set_result(event["returnvalue"]))
        await asyncio.sleep(0.3)  # it reports nothing when it is connected


async def put(name: str, number: int) -> Any:
    """Add a job."""
    return await _open["queue"].add(name, {"number": number}, _options)


async def put_many(name: str, numbers: Sequence[int]) -> None:
    """Add jobs, 1,000 at a time."""
    for first in range(0, len(numbers), 1000):
        some = numbers[first : first + 1000]
        jobs = [{"name": name, "data": {"number": number}, "opts": _options} for number in some]
        await _open["queue"].addBulk(jobs)


async def result(job: Any) -> Any:
    """Wait for the result."""
    value = await asyncio.wait_for(_future(job.id), 10)
    del _finished[job.id]
    return value


def _future(job: str) -> asyncio.Future[Any]:
    return _finished.setdefault(job, asyncio.get_running_loop().create_future())


async def _run(job: Any, _: str) -> Any:
    ran: Any = COROUTINES[job.name](job.data["number"])
    return await ran if asyncio.iscoroutine(ran) else ran


async def _work() -> None:
    _open["worker"] = Worker("bench", _run, _connection | {"concurrency": SETTINGS.get("concurrency", 1)})
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_work())
