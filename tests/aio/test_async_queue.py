"""The queue for asyncio on a real server: what it does, and that no call blocks its event loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Full, LeaseLost, Queue, StoreUnavailable, aio, task
from conveyor.job import MAX_WOKEN
from conveyor.store.async_client import MAX_BEGUN
from conveyor.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

_names = (f"aio{number}" for number in itertools.count())


@task
def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def queue(server: Any) -> aio.Queue[Any]:
    """Return a new queue on each kind of server in turn."""
    return aio.Queue(next(_names), store=server.client)


async def passes(fact: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until a fact is true, while other tasks run."""
    async with asyncio.timeout(seconds):
        while not fact():  # noqa: ASYNC110 - the fact is the server's
            await asyncio.sleep(0.005)


def connections(server: Any, name: str = "conveyor") -> list[dict[str, str]]:
    return [one for one in server.raw.client_list() if one["name"] == name]


def test_items_are_got_in_order_and_joined(queue: aio.Queue[Any]) -> None:
    async def use() -> list[Any]:
        await queue.put("first")
        await queue.put_many([{"second": 2}, 3])
        items = [await queue.get() for _ in range(3)]
        joined = asyncio.create_task(queue.join())
        for _ in items:
            queue.task_done()
        await joined
        return items

    assert asyncio.run(use()) == ["first", {"second": 2}, 3]


def test_another_library_of_coroutines_is_told_what_to_do(queue: aio.Queue[Any], server: Any) -> None:
    job = Queue("aio", store=server.client).submit(double, 1)
    for call in (queue.get(), aio.Queue("aio", store=server.client).submit(double, 1), job.result_async()):
        with pytest.raises(RuntimeError, match="in trio, run the blocking methods in a thread"):
            call.send(None)


def test_put_waits_for_room_and_get_for_an_item(server: Any) -> None:
    async def use() -> list[int]:
        queue = aio.Queue[int](next(_names), 1, store=server.client)
        producer = asyncio.create_task(queue.put_many(range(20)))
        items = []
        for _ in range(20):
            items.append(await queue.get())
            queue.task_done()
        await producer
        return items

    assert asyncio.run(use()) == list(range(20))


def test_cancelled_put_leaves_the_line_and_puts_nothing(server: Any) -> None:
    async def use() -> list[Any]:
        queue = aio.Queue[str](next(_names), 1, store=server.client)
        await queue.put("first")
        given_up = asyncio.create_task(queue.put("given up"))
        await passes(lambda: server.raw.zcard(f"conveyor:{{{queue.name}}}:line") == 1)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await queue.count()).blocked == 0
        items = [await queue.get()]
        await queue.put("second")
        return [*items, await queue.get()]

    assert asyncio.run(use()) == ["first", "second"]


def test_item_of_a_cancelled_get_returns_to_the_queue(queue: aio.Queue[Any], server: Any) -> None:
    async def use() -> Any:
        waiting = asyncio.create_task(queue.get())
        await passes(lambda: any(one["cmd"] == "blpop" for one in connections(server)))
        waiting.cancel()
        await queue.put("item")
        async with asyncio.timeout(30):
            return await queue.get()

    assert asyncio.run(use()) == "item"


def test_asyncio_errors_are_raised(server: Any) -> None:
    async def use() -> None:
        queue = aio.Queue[int](next(_names), 1, store=server.client)
        with pytest.raises(asyncio.QueueEmpty):
            await queue.get_nowait()
        await queue.put_nowait(1)
        with pytest.raises(asyncio.QueueFull):
            await queue.put_nowait(2)
        with pytest.raises(Full) as refusal:
            await queue._put_items([1, 2], None)
        assert (refusal.value.accepted, refusal.value.ids) == (0, [])
        await queue.shutdown()
        with pytest.raises(aio.QueueShutDown):
            await queue.put(3)
        assert await queue.get() == 1
        with pytest.raises(aio.QueueShutDown):
            await queue.get()

    asyncio.run(use())


def test_task_done_raises_if_called_too_often(queue: aio.Queue[Any]) -> None:
    async def use() -> None:
        with pytest.raises(ValueError, match="too many times"):
            aio.Queue(queue.name).task_done()
        await queue.put(1)
        await queue.get()
        await queue.task_done()
        with pytest.raises(ValueError, match="too many times"):
            queue.task_done()

    asyncio.run(use())


def test_last_task_done_is_sent_though_the_loop_ends(queue: aio.Queue[Any], server: Any) -> None:
    async def use() -> None:
        await queue.put(1)
        await queue.get()
        queue.task_done()

    asyncio.run(use())
    counted = asyncio.run(queue.count())
    assert (counted.leased, counted.finished) == (0, 1)


def test_item_that_went_elsewhere_is_reported(queue: aio.Queue[Any], server: Any) -> None:
    async def use() -> None:
        await queue.put(1)
        await queue.get()
        server.raw.flushall()
        with pytest.raises(LeaseLost):
            await queue.task_done()

    asyncio.run(use())


def test_call_is_checked_before_anything_is_put(queue: aio.Queue[Any]) -> None:
    async def use() -> int:
        with pytest.raises(BadCall):
            await queue.submit(double, "many")  # type: ignore[arg-type]
        return (await queue.count()).accepted

    assert asyncio.run(use()) == 0


def test_coroutines_share_one_connection(server: Any) -> None:
    queue = aio.Queue[int](next(_names), store=Client(server.url, name="shared"))

    async def use() -> tuple[int, int]:
        await queue.put(0)
        before = len(connections(server, "shared"))
        await asyncio.gather(*(queue.put(number) for number in range(500)))
        return before, len(connections(server, "shared"))

    before, after = asyncio.run(use())
    assert after == before


def test_many_awaited_jobs_need_no_thread_each(server: Any, settle_all: Callable[..., None]) -> None:
    queue = aio.Queue[Any](next(_names), store=Client(server.url, name="awaiting"))

    async def use() -> list[int]:
        jobs = await queue.submit_many(double, [(number,) for number in range(10_000)])
        results = asyncio.gather(*jobs)
        await asyncio.to_thread(settle_all, queue.name, 10_000, 7)
        assert threading.active_count() - threads <= 6
        assert len(connections(server, "awaiting")) <= 4
        return await results

    threads = threading.active_count()
    assert asyncio.run(use()) == [7] * 10_000


def test_few_coroutines_go_on_in_one_turn_of_the_loop(server: Any, settle_all: Callable[..., None]) -> None:
    queue = aio.Queue[Any](next(_names), store=server.client)
    put = 0
    ended: Counter[int] = Counter()
    turn = turns_of_puts = 0

    async def count_turns() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    async def run(number: int) -> None:
        nonlocal put, turns_of_puts
        job = await queue.submit(double, number)
        put, turns_of_puts = put + 1, turn
        await job
        ended[turn] += 1

    async def use() -> None:
        counting = asyncio.create_task(count_turns())
        running = asyncio.gather(*(run(number) for number in range(2000)))
        while put < 2000:  # noqa: ASYNC110 - it is counted by turns
            await asyncio.sleep(0)
        await asyncio.to_thread(settle_all, queue.name, 2000, 7)
        await running
        counting.cancel()

    asyncio.run(use())
    assert turns_of_puts >= 2000 / MAX_BEGUN
    assert max(ended.values()) <= 2 * MAX_WOKEN


def test_job_is_awaited_though_the_thread_pool_is_busy(server: Any, settle_all: Callable[..., None]) -> None:
    queue = aio.Queue[Any](next(_names), store=server.client)
    free = threading.Event()

    async def use() -> int:
        loop = asyncio.get_running_loop()
        busy = [loop.run_in_executor(None, free.wait, 60) for _ in range(64)]
        job = await queue.submit(double, 1)
        threading.Thread(target=settle_all, args=(queue.name, 1, 2)).start()
        try:
            return await asyncio.wait_for(job, 30)
        finally:
            free.set()
            await asyncio.gather(*busy)

    assert asyncio.run(use()) == 2


def test_jobs_work_with_the_tools_of_asyncio(server: Any, settle_all: Callable[..., None]) -> None:
    queue = aio.Queue[Any](next(_names), store=server.client)

    async def use() -> None:
        jobs = await queue.submit_many(double, [(number,) for number in range(6)])
        await asyncio.to_thread(settle_all, queue.name, 6, 5)
        assert await asyncio.create_task(jobs[0].result_async()) == 5
        async with asyncio.TaskGroup() as group:
            started = group.create_task(jobs[1].result_async())
        assert started.result() == 5
        done, pending = await asyncio.wait([asyncio.ensure_future(jobs[2])])
        assert (len(done), len(pending)) == (1, 0)
        assert [await one for one in asyncio.as_completed(jobs[3:5])] == [5, 5]
        assert await asyncio.wait_for(jobs[5], 30) == 5

    asyncio.run(use())


def test_loop_runs_while_the_server_hangs(server: Any) -> None:
    queue = aio.Queue[Any](next(_names), store=server.client)

    async def use() -> None:
        await queue.put(1)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            hung = asyncio.create_task(queue.put(2))
            submitted = asyncio.create_task(queue.submit(double, 1))
            for _ in range(200):
                await asyncio.sleep(0)
            assert not hung.done()
            assert not submitted.done()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            await hung
            await submitted
        assert await queue.qsize() == 3

    asyncio.run(use())


def test_hung_server_is_reported_within_the_time_limit(server: Any) -> None:
    queue = aio.Queue[Any](next(_names), store=Client(server.url, within=1.5))

    async def use() -> None:
        await queue.put(1)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="timed out"):
                await queue.qsize()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await queue.qsize() == 1

    asyncio.run(use())


def test_calls_continue_after_connections_and_scripts_are_lost(server: Any) -> None:
    queue = aio.Queue[Any](next(_names), store=server.client)

    async def use() -> int:
        await queue.put(0)
        for number in range(1, 6):
            server.raw.script_flush()
            server.raw.client_kill_filter(_type="normal", skipme=True)
            await queue.put(number)
        return await queue.qsize()

    assert asyncio.run(use()) == 6


def test_each_event_loop_has_connections_of_its_own(server: Any) -> None:
    queue = aio.Queue[Any](next(_names), store=Client(server.url, name="loops"))
    for number in range(3):
        asyncio.run(queue.put(number))
    assert asyncio.run(queue.qsize()) == 3
    assert len(connections(server, "loops")) <= 1  # of the first call, which blocks a thread


def test_task_is_submitted_in_asyncio(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVEYOR_URL", server.url)
    name = next(_names)

    async def use() -> Any:
        job = await double.options(queue=name).submit_async(21)
        return job.queue_name, await aio.Queue[Any](name).qsize()

    assert asyncio.run(use()) == (name, 1)


def test_map_yields_results_in_order(server: Any, settle_all: Callable[..., None]) -> None:
    queue = aio.Queue[Any](next(_names), store=server.client)

    async def use() -> list[int]:
        settled = threading.Thread(target=settle_all, args=(queue.name, 3, 4))
        settled.start()
        return [result async for result in queue.map(double, [1, 2, 3])]

    assert asyncio.run(use()) == [4, 4, 4]


def test_tools_of_asyncio_take_jobs_as_documented(
    server: Any, settle_all: Callable[[str, int, object], None]
) -> None:
    jobs = Queue("tools", store=server.client).submit_many(double, [(4,)] * 9)
    first, second, third, fourth, fifth, sixth, *others = jobs

    async def use() -> list[int]:
        results = await asyncio.gather(*others)
        results += [await one for one in asyncio.as_completed(others)]
        results.append(await asyncio.wait_for(first, 30))
        async with asyncio.timeout(30):
            results.append(await second)
        done, _ = await asyncio.wait([asyncio.ensure_future(third)])
        results += [one.result() for one in done]
        results.append(await asyncio.create_task(fourth.result_async()))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(fifth.result_async())
        return [*results, task.result(), await asyncio.ensure_future(sixth)]

    settling = threading.Thread(target=settle_all, args=("tools", len(jobs), 8))
    settling.start()
    assert asyncio.run(use()) == [8] * 12
    settling.join()
