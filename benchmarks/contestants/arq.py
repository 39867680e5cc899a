"""Arq. `python -m benchmarks.contestants.arq` is its worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import func, run_worker

from benchmarks.contestants.jobs import COROUTINES, SETTINGS, URL

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

_server = RedisSettings.from_dsn(URL)
_polling = {"poll_delay": SETTINGS["poll"]} if "poll" in SETTINGS else {}
_open: dict[str, Any] = {}


async def setup(_: AsyncExitStack) -> None:
    """Connect."""
    _open["pool"] = await create_pool(_server)


async def put(name: str, number: int) -> Any:
    """Enqueue a job."""
    return await _open["pool"].enqueue_job(name, number)


async def result(job: Any) -> Any:
    """Wait for the result."""
    return await job.result(timeout=10, **_polling)


def _in_context(function: Callable[[int], Any]) -> Any:
    async def run(_: dict[str, Any], number: int) -> Any:
        ran = function(number)
        return await ran if asyncio.iscoroutine(ran) else ran

    return run


if __name__ == "__main__":
    settings: dict[str, Any] = {
        "functions": [func(_in_context(function), name=name) for name, function in COROUTINES.items()],
        "queue_name": "arq:queue",
        "redis_settings": _server,
        "max_jobs": SETTINGS.get("concurrency", 10),
        **_polling,
    }
    if SETTINGS.get("keep") == 0 and not SETTINGS.get("results"):
        settings["keep_result"] = 0
    uvloop.install()
    asyncio.set_event_loop(asyncio.new_event_loop())
    run_worker(type("WorkerSettings", (), settings))
