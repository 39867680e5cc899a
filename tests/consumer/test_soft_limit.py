"""SoftTimeout in coroutines, and the option: what waits in between ends, and what is not the task is not hit."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, CurrentJob, SoftTimeout, task
from conveyor.consumer.soft_limit import SoftLimit
from conveyor.wire.call import KEEP, RunOptions, decode_call, encode_calls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ENDED: list[str] = []


async def other() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.01)
        ENDED.append("other")


async def in_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(other())


async def in_body_of_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        await asyncio.sleep(3600)


async def in_groups() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(in_group())
        await in_body_of_group()


async def in_gather() -> None:
    await asyncio.gather(other(), other())


async def in_timeout() -> None:
    async with asyncio.timeout(3600):
        await other()


async def in_wait_for() -> None:
    await asyncio.wait_for(other(), 3600)


async def in_generator() -> None:
    async def numbers() -> Any:
        yield 1
        await other()

    async for _ in numbers():
        pass


async def behind_one_that_swallows() -> None:
    async def swallow() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await other()

    await asyncio.create_task(swallow())
    await asyncio.sleep(3600)


async def limited(
    function: Callable[[], Awaitable[Any]], limit: SoftLimit | None = None, current: CurrentJob | None = None
) -> Any:
    """Run a coroutine whose soft time limit passes at once."""
    limit = limit or SoftLimit()
    asyncio.get_running_loop().call_later(0.02, limit.pass_to_coroutine)
    return await limit.drive(function(), current or CurrentJob())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "function",
    [
        other,
        in_group,
        in_body_of_group,
        in_groups,
        in_gather,
        in_timeout,
        in_wait_for,
        in_generator,
        behind_one_that_swallows,
    ],
)
def test_coroutine_gets_it_and_what_it_awaits_ends(function: Any) -> None:
    caught: list[type] = []

    async def catching() -> str:
        try:
            await function()
        except* SoftTimeout as group:  # a task group wraps what is raised in its block
            caught.append(type(group))
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        async with asyncio.timeout(10), asyncio.TaskGroup() as another:  # both work on
            another.create_task(asyncio.sleep(0))
        return "part"

    ENDED.clear()
    assert asyncio.run(limited(catching)) == "part"
    assert len(caught) == 1
    assert ENDED


@pytest.mark.parametrize("function", [other, in_group, in_body_of_group, in_groups])
def test_uncaught_error_is_plain(function: Any) -> None:
    with pytest.raises(SoftTimeout) as caught:
        asyncio.run(limited(function))
    assert caught.type is SoftTimeout


def test_timeout_of_the_task_itself_is_no_soft_limit() -> None:
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        except TimeoutError:
            return "own"
        return "none"

    assert asyncio.run(limited(impatient)) == "own"


def test_cancelled_job_gets_a_cancellation() -> None:
    class Cancelled(CurrentJob):
        cancelled = True

    with pytest.raises(asyncio.CancelledError) as caught:
        asyncio.run(limited(other, current=Cancelled()))
    assert not isinstance(caught.value, SoftTimeout)


def test_limit_that_passes_after_the_end_hits_nothing() -> None:
    async def after() -> str:
        limit = SoftLimit()

        async def short() -> str:
            asyncio.get_running_loop().call_soon(limit.pass_to_coroutine)
            limit.pass_to_coroutine()
            return "whole"

        found = await limit.drive(short(), CurrentJob())
        await asyncio.sleep(0.01)
        assert not limit.pass_to_coroutine()
        return found

    assert asyncio.run(after()) == "whole"


def test_thread_gets_it_only_while_it_runs_the_task() -> None:
    limit, found = SoftLimit(), []
    assert not limit.pass_to_thread()

    def spin(seconds: float) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return "whole"

    def run() -> None:
        for number in range(300):
            try:
                found.append(limit.call(spin, number % 3 * 0.0002))
            except SoftTimeout:
                found.append("late")

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        limit.pass_to_thread()
        time.sleep(0.0003)
    assert len(found) == 300
    assert {"whole", "late"} == set(found)


def test_soft_timeout_travels_only_if_it_is_set() -> None:
    def add(a: int) -> int:
        return a

    def coded(**options: Any) -> bytes:
        (data,) = encode_calls(add, "add", [((1,), {})], RunOptions(**options))
        return data

    assert decode_call(coded()).options.soft_timeout is None
    assert decode_call(coded(soft_timeout=2.5)).options == RunOptions(soft_timeout=2.5)
    assert decode_call(coded(soft_timeout=2.5, keep=60.0)).options == RunOptions(soft_timeout=2.5, keep=60.0)
    assert coded(soft_timeout=2.5)[0] == 0x96, (
        "the scripts of the server take the end of seven parts for `keep`"
    )
    assert coded(soft_timeout=2.5, keep=60.0)[0] == 0x97
    assert len(coded(keep=KEEP)) == len(coded())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"soft_timeout": 0}, "soft_timeout must be more than 0 seconds, or None"),
        ({"soft_timeout": -1.0}, "soft_timeout must be between 0 and"),
        ({"soft_timeout": "soon"}, "soft_timeout must be a number of seconds"),
        (
            {"soft_timeout": 2.0, "timeout": 1.0},
            "soft_timeout must be less than timeout, got 2 and 1 seconds",
        ),
        ({"soft_timeout": 1.0, "timeout": 1.0}, "soft_timeout must be less than timeout"),
    ],
)
def test_soft_timeout_is_checked(options: Any, message: str) -> None:
    with pytest.raises(BadCall, match=message):
        task(name="checked", **options)(lambda: None)


def test_soft_timeout_may_be_a_timedelta() -> None:
    made = task(name="soft_by_timedelta", soft_timeout=dt.timedelta(minutes=1))(lambda: None)
    assert made.run.soft_timeout == 60.0
