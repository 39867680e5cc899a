"""Taskiq, on a list of Redis or on a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.contestants.jobs import COROUTINES, SETTINGS, URL

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

_results = SETTINGS.get("results") or SETTINGS.get("keep") != 0
_polling = {"check_interval": SETTINGS["poll"]} if "poll" in SETTINGS else {}


def _broker() -> Any:
    if SETTINGS.get("stream"):
        most = SETTINGS.get("concurrency")  # long jobs: take no more than can run
        made: Any = RedisStreamBroker(URL, **({"xread_count": most} if most else {}))
    else:
        made = ListQueueBroker(URL)
    return made.with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=600)) if _results else made


broker = _broker()
_tasks = {name: broker.task(task_name=name)(function) for name, function in COROUTINES.items()}


async def setup(_: AsyncExitStack) -> None:
    """Connect."""
    await broker.startup()


async def put(name: str, number: int) -> Any:
    """Kick a task."""
    return await _tasks[name].kiq(number)


async def result(task: Any) -> Any:
    """Wait for the result."""
    return (await task.wait_result(timeout=10, **_polling)).return_value
