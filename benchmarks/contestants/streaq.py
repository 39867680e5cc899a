"""Streaq. `python -m benchmarks.contestants.streaq` is its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streaq import Worker

from benchmarks.contestants.jobs import COROUTINES, SETTINGS, URL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

_concurrency = {"concurrency": SETTINGS["concurrency"]} if "concurrency" in SETTINGS else {}
_options = {"ttl": 0} if SETTINGS.get("keep") == 0 and not SETTINGS.get("results") else {}
_worker: Any = Worker(redis_url=URL, anyio_kwargs={"use_uvloop": True}, **_concurrency)
_tasks = {name: _worker.task(name=name, **_options)(function) for name, function in COROUTINES.items()}


async def setup(stack: AsyncExitStack) -> None:
    """Connect."""
    await stack.enter_async_context(_worker)


async def put(name: str, number: int) -> Any:
    """Enqueue a job."""
    return await _tasks[name].enqueue(number)


async def put_many(name: str, numbers: Sequence[int]) -> None:
    """Enqueue jobs, 1,000 at a time."""
    for first in range(0, len(numbers), 1000):
        await _worker.enqueue_many([_tasks[name].enqueue(number) for number in numbers[first : first + 1000]])


async def result(task: Any) -> Any:
    """Wait for the result."""
    return (await task.result(timeout=10)).result


if __name__ == "__main__":
    _worker.run_sync()
