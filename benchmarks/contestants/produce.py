"""The producer of a Python contestant: reads a request as JSON per line, and replies with one line each.

An adapter has `put(task, number)`, returning a handle, and may have `put_many(task, numbers)`, `result(handle)`,
`setup()` and `put_from(task, numbers, ways)` for several threads or coroutines. If `setup` is a coroutine, so are the
others. `put_spread(task, numbers, queues)` puts on several queues in turn,
`collect(task, numbers)` waits for all results, and `bare_call()` returns a call of its client that does little.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import random
import sys
import time
from typing import Any

from benchmarks.contestants.jobs import slots

#: Puts under way at a time in place of a bulk put that the contestant does not have.
GATHERED = 50
#: Seconds between looks at a slot.
LOOK = 0.0002


class Producer:
    """The requests, each a method."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._is_async = inspect.iscoroutinefunction(adapter.put)

    async def put(self, task: str, first: int, count: int) -> dict[str, Any]:
        """Put jobs one by one."""
        put = self._adapter.put
        start = time.monotonic()
        if self._is_async:
            for number in range(first, first + count):
                await put(task, number)
        else:
            for number in range(first, first + count):
                put(task, number)
        return {"seconds": time.monotonic() - start}

    async def put_many(self, task: str, first: int, count: int) -> dict[str, Any]:
        """Put jobs in bulk, in the way that suits the contestant best."""
        numbers = range(first, first + count)
        start = time.monotonic()
        if hasattr(self._adapter, "put_many"):
            how = "bulk"
            await _awaited(self._adapter.put_many(task, numbers))
        elif self._is_async:
            how = f"{GATHERED} at a time"
            for some in range(first, first + count, GATHERED):
                puts = (
                    self._adapter.put(task, one) for one in numbers[some - first : some - first + GATHERED]
                )
                await asyncio.gather(*puts)
        else:
            how = "one by one"
            await self.put(task, first, count)
        return {"seconds": time.monotonic() - start, "how": how}

    async def put_from(self, task: str, first: int, count: int, ways: str) -> dict[str, Any]:
        """Put jobs from several threads or coroutines, one by one in each."""
        start = time.monotonic()
        await _awaited(self._adapter.put_from(task, range(first, first + count), ways))
        return {"seconds": time.monotonic() - start}

    async def bare_calls(self, count: int) -> dict[str, Any]:
        """Run a small script one call at a time through the contestant's client; 0 seconds if it has none."""
        bare = getattr(self._adapter, "bare_call", lambda: None)()
        if bare is None:
            return {"seconds": 0}
        start = time.monotonic()
        for _ in range(count):
            bare()
        return {"seconds": time.monotonic() - start}

    async def put_spread(self, task: str, first: int, count: int, queues: int) -> dict[str, Any]:
        """Put jobs on several queues in turn."""
        start = time.monotonic()
        await _awaited(self._adapter.put_spread(task, range(first, first + count), queues))
        return {"seconds": time.monotonic() - start}

    async def collect(self, task: str, first: int, count: int) -> dict[str, Any]:
        """Put jobs in bulk and wait for all results. Return the seconds from the first result to the last."""
        return {"seconds": await _awaited(self._adapter.collect(task, range(first, first + count)))}

    async def round_trips(
        self, first: int, count: int, gaps: tuple[float, float], seconds: float
    ) -> dict[str, Any]:
        """Put a job and wait for its result, again and again, with a random gap before each.

        Return the times of the puts and of the results; without results, those of the starts.
        """
        puts, backs = [], []
        chance = random.Random(first)  # the same gaps for all
        result = getattr(self._adapter, "result", None)
        end = time.monotonic() + seconds
        for number in range(first, first + count):
            await asyncio.sleep(chance.uniform(*gaps))
            puts.append(time.monotonic())
            handle = await _awaited(self._adapter.put("echo", number))
            if result is not None:
                value = await _awaited(result(handle))
                if value is not None and int(value) != number:
                    raise ValueError(f"the result of job {number} is {value!r}")
            else:
                while not slots.ran(number):  # noqa: ASYNC110 - another process sets it
                    await asyncio.sleep(LOOK)
            backs.append(time.monotonic())
            if backs[-1] > end:
                break
        return {"puts": puts, "backs": backs, "results": result is not None}


async def _awaited(value: Any) -> Any:
    return await value if inspect.iscoroutine(value) else value  # a handle may be awaitable too


async def _serve(name: str) -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no reply
    adapter = importlib.import_module(f"benchmarks.contestants.{name}")
    producer = Producer(adapter)
    async with contextlib.AsyncExitStack() as stack:
        if hasattr(adapter, "setup"):
            await _awaited(adapter.setup(stack))
        print(json.dumps({"ready": True}), file=replies)
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            try:
                reply = await getattr(producer, request.pop("do"))(**request)
            except Exception as error:  # noqa: BLE001 - the contest reports it
                reply = {"error": f"{type(error).__name__}: {error}"[:300]}
            print(json.dumps(reply), file=replies)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(sys.argv[1]))
    else:
        uvloop.run(_serve(sys.argv[1]))
