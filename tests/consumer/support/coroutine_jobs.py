"""Tasks that leave something in the event loop of their worker, or end it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from consumer_jobs import mark

_left = set()


async def rest(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "rested"


async def wait_for_a_cancelled_task(path: str) -> None:
    mark(path, "began")
    other = asyncio.create_task(asyncio.sleep(60))
    other.cancel()
    await other


async def leave_an_exit() -> str:
    """Leave a callback that raises SystemExit in whatever runs the loop by then."""

    async def end() -> None:
        await asyncio.sleep(0.05)
        raise SystemExit(3)

    _left.add(asyncio.create_task(end()))
    return "left"


async def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(60)


async def leave_what_does_not_end() -> str:
    async def go_on() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    _left.add(asyncio.create_task(go_on()))
    await asyncio.sleep(0)
    return "left"


async def leave_a_thread() -> str:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(time.sleep, 60), 0.05)
    return "left"
