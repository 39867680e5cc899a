"""The jobs that every Python contestant runs, and the settings of its adapter. Needs the standard library only."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

from benchmarks.slots import SLOTS, Slots

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: URL of the server.
URL = os.environ["BENCH_URL"]
#: Of this contestant, from contestants.toml, and `concurrency` and `results` if a measurement asks for them.
SETTINGS: dict[str, Any] = json.loads(os.environ.get("BENCH_SETTINGS", "{}"))
#: Seconds of a waiting job.
NAP = 0.05
slots = Slots(os.environ[SLOTS])
_worker = os.getppid if SETTINGS.get("forks") else os.getpid


def echo(number: int) -> int:
    """Return the number: the smallest possible job."""
    slots.start(number, _worker())
    return number


def compute(number: int) -> int:
    """Compute for about a tenth of a second."""
    slots.start(number, _worker())
    total = 0
    for one in range(1_000_000):
        total += one * one % 7
    slots.end(number)
    return number if total else 0


def nap(number: int) -> int:
    """Wait for `NAP` seconds."""
    slots.start(number, _worker())
    time.sleep(NAP)
    slots.end(number)
    return number


async def echo_async(number: int) -> int:
    """Return the number, as a coroutine."""
    return echo(number)


async def nap_async(number: int) -> int:
    """Wait for `NAP` seconds, as a coroutine."""
    slots.start(number, _worker())
    await asyncio.sleep(NAP)
    slots.end(number)
    return number


#: By name; the second has coroutines where there is something to wait for. Computing stays a plain function.
PLAIN: dict[str, Callable[[int], int]] = {"echo": echo, "compute": compute, "nap": nap}
COROUTINES: dict[str, Callable[[int], int | Awaitable[int]]] = {
    "echo": echo_async,
    "compute": compute,
    "nap": nap_async,
}
