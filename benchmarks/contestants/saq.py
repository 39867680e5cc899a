"""SAQ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop
from saq import Queue

from benchmarks.contestants.jobs import COROUTINES, SETTINGS, URL

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

uvloop.install()
_queue = Queue.from_url(URL)
_options = {"ttl": -1} if SETTINGS.get("keep") == 0 and not SETTINGS.get("results") else {}


def _in_context(function: Callable[[int], Any]) -> Any:
    if asyncio.iscoroutinefunction(function):

        async def run(_: dict[str, Any], *, number: int) -> Any:
            return await function(number)

        return run
    return lambda _, *, number: function(number)  # in its thread pool


settings: dict[str, Any] = {
    "queue": _queue,
    "functions": [(name, _in_context(function)) for name, function in COROUTINES.items()],
    "concurrency": SETTINGS.get("concurrency", 10),
}


async def setup(_: AsyncExitStack) -> None:
    """Connect."""
    await _queue.connect()


async def put(name: str, number: int) -> Any:
    """Enqueue a job."""
    return await _queue.enqueue(name, number=number, **_options)


async def result(job: Any) -> Any:
    """Wait for the result, polling as `Queue.apply` does."""
    while not job.completed:
        await asyncio.sleep(SETTINGS.get("poll", 0.5))
        await job.refresh()
    return job.result
