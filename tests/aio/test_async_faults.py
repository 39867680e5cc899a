"""Cancellation, order and time limits in asyncio, where calls of many tasks meet."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue, StoreUnavailable, WaitTimeout, aio, as_completed, task
from conveyor.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

_names = (f"faults{number}" for number in itertools.count())


@task
def double(number: int) -> int:
    return 2 * number


async def passes(fact: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until a fact is true, while other tasks run."""
    async with asyncio.timeout(seconds):
        while not fact():  # noqa: ASYNC110 - the fact is the server's
            await asyncio.sleep(0.005)


def test_puts_keep_the_order_in_which_they_began(server: Any) -> None:
    async def use() -> list[int]:
        queue = aio.Queue[int](next(_names), store=server.client)
        puts = []
        for number in range(300):
            puts.append(asyncio.create_task(queue.put(number)))
            if number % 3 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*puts)
        return [await queue.get_nowait() for _ in range(300)]

    for _ in range(20):
        assert asyncio.run(use()) == list(range(300))


def test_task_done_counts_once_though_the_loop_ends(server: Any) -> None:
    queue = aio.Queue[int](next(_names), store=server.client)

    async def use() -> None:
        await queue.put(1)
        await queue.get()
        queue.task_done()

    async def again() -> None:
        with pytest.raises(ValueError, match="too many times"):
            queue.task_done()

    asyncio.run(use())
    asyncio.run(again())


def test_task_done_is_sent_though_it_is_cancelled(server: Any) -> None:
    async def use() -> tuple[int, int]:
        queue = aio.Queue[int](next(_names), store=server.client)
        for number in range(3):
            await queue.put(number)
            await queue.get()
            settled = queue.task_done()
            settled.cancel()
            await asyncio.wait([settled])
        counted = await queue.count()
        return counted.leased, counted.finished

    assert asyncio.run(use()) == (0, 3)


def test_task_done_in_another_loop_is_sent(server: Any, eventually: Callable[..., Any]) -> None:
    queue = aio.Queue[int](next(_names), store=server.client)

    async def take() -> None:
        await queue.put(1)
        await queue.get()

    async def settle() -> None:
        queue.task_done()

    asyncio.run(take())
    asyncio.run(settle())
    eventually(lambda: asyncio.run(queue.count()).leased == 0)


def test_task_done_settles_the_item_of_its_own_worker(server: Any) -> None:
    async def use() -> list[int]:
        queue = aio.Queue[str](next(_names), store=server.client)
        await queue.put_many(["long", "short"])

        async def work() -> str:
            item = await asyncio.create_task(queue.get())
            if item == "short":
                await queue.task_done(item)
            return item

        await asyncio.gather(work(), work())
        (left,) = server.raw.zrange(f"conveyor:{{{queue.name}}}:leased", 0, -1)
        return [b"long" in server.raw.hget(f"conveyor:{{{queue.name}}}:jobs", left)]

    assert asyncio.run(use()) == [True]


def test_put_that_is_cancelled_twice_leaves_the_line(server: Any) -> None:
    async def use() -> int:
        queue = aio.Queue[int](next(_names), 1, store=server.client)
        await queue.put(0)
        puts = [asyncio.create_task(queue.put(1)) for _ in range(20)]
        await passes(lambda: server.raw.zcard(f"conveyor:{{{queue.name}}}:line") == 20)
        for _ in range(2):
            for one in puts:
                one.cancel()
            await asyncio.sleep(0)
        await asyncio.wait(puts)
        await passes(lambda: server.raw.zcard(f"conveyor:{{{queue.name}}}:line") == 0, 3.0)
        return (await queue.count()).blocked

    assert asyncio.run(use()) == 0


def test_each_call_has_the_whole_time_limit_and_no_more(server: Any) -> None:
    queue = aio.Queue[int](next(_names), store=Client(server.url, within=1.0))

    async def use() -> list[float]:
        async def put() -> float:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await queue.put(1)
            return time.monotonic() - began

        os.kill(server.pid, signal.SIGSTOP)
        try:
            return await asyncio.gather(*(put() for _ in range(6)))
        finally:
            os.kill(server.pid, signal.SIGCONT)

    assert max(asyncio.run(use())) < 3


def test_as_completed_keeps_its_timeout_if_the_server_hangs(server: Any) -> None:
    queue = Queue(next(_names), store=Client(server.url, patience=1.0, within=1.0))
    jobs = queue.submit_many(double, [(number,) for number in range(5)])
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(WaitTimeout):
            list(as_completed(jobs, timeout=0.5))
        assert time.monotonic() - began < 3
    finally:
        os.kill(server.pid, signal.SIGCONT)
