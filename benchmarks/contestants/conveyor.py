"""Conveyor, of this commit or of another: the public API only."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.jobs import PLAIN, SETTINGS
from conveyor import Queue, task

if TYPE_CHECKING:
    from collections.abc import Sequence

_options: dict[str, Any] = {"keep": 0} if SETTINGS.get("keep") == 0 and not SETTINGS.get("results") else {}
_level = {"durability": SETTINGS["durability"]} if "durability" in SETTINGS else {}


if SETTINGS.get("records") is False:  # to measure what they cost; for users there is no such switch
    from conveyor.consumer import settlement

    settlement.SAMPLED = 0
    settlement.Settler._count = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001


@task(queue="bench", **_options)
def echo(number: int) -> int:
    """Return the number."""
    return PLAIN["echo"](number)


@task(queue="bench", **_options)
def compute(number: int) -> int:
    """Compute."""
    return PLAIN["compute"](number)


@task(queue="bench", **_options)
def nap(number: int) -> int:
    """Wait."""
    return PLAIN["nap"](number)


_tasks = {"echo": echo, "compute": compute, "nap": nap}
_queue = Queue("bench", **_level)


def put(name: str, number: int) -> Any:
    """Submit a job."""
    return _queue.submit(_tasks[name], number)


def put_many(name: str, numbers: Sequence[int]) -> None:
    """Submit jobs in bulk."""
    _queue.submit_many(_tasks[name], [(number,) for number in numbers])


def result(job: Any) -> Any:
    """Wait for the result."""
    return job.result(10)


def collect(name: str, numbers: Sequence[int]) -> float:
    """Submit jobs and wait for all results; return the seconds from the first result to the last."""
    first, *others = _queue.submit_many(_tasks[name], [(number,) for number in numbers])
    first.result(60)
    start = time.monotonic()
    if [job.result(60) for job in others] != list(numbers[1:]):
        raise ValueError("wrong results")
    return time.monotonic() - start


def bare_call() -> Any:
    """Return a call of a small script through Conveyor's own client, or None if this commit has another one."""
    try:
        from conveyor.store.command import Command  # noqa: PLC0415 - no public API, and other commits may lack it
    except ImportError:
        return None
    script = "redis.call('SET', KEYS[1], ARGV[1]); redis.call('RPUSH', KEYS[2], KEYS[1]); return 1"
    digest = _queue.client.run(Command(("SCRIPT", "LOAD", script)))
    call = Command(("EVALSHA", digest, 2, "bench:bare", "bench:list", "x" * 100))
    return lambda: _queue.client.run(call)


async def put_from(name: str, numbers: Sequence[int], ways: str) -> None:
    """Submit jobs from 8 threads or 100 coroutines."""
    if ways == "threads":
        with ThreadPoolExecutor(8) as pool:
            await asyncio.to_thread(
                lambda: list(
                    pool.map(lambda part: [put(name, number) for number in part], _parts(numbers, 8))
                )
            )
    else:
        await asyncio.gather(*(_put_in_turn(name, part) for part in _parts(numbers, 100)))


async def _put_in_turn(name: str, numbers: Sequence[int]) -> None:
    submit = getattr(_tasks[name], "submit_async", None)  # older commits have none
    for number in numbers:
        if submit is None:
            await asyncio.to_thread(put, name, number)
        else:
            await submit(number)


def put_spread(name: str, numbers: Sequence[int], queues: int) -> None:
    """Submit jobs on several queues in turn, up to 100 at a time and some on each."""
    named = [Queue(f"bench_{number}") for number in range(queues)]
    size = max(1, min(100, len(numbers) // queues))
    for turn, first in enumerate(range(0, len(numbers), size)):
        calls = [(number,) for number in numbers[first : first + size]]
        named[turn % queues].submit_many(_tasks[name], calls)


def _parts(numbers: Sequence[int], ways: int) -> list[Sequence[int]]:
    return [numbers[first::ways] for first in range(ways)]
