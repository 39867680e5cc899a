"""The limit of a queue as a whole, set and read by blocking code and in asyncio."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from conveyor import BadCall, Queue, aio
from conveyor.store import commands


@pytest.fixture
def queue(one_server: Any) -> Queue:
    """Return an empty queue."""
    return Queue("limited", store=one_server.client)


def claimed(queue: Queue, nonce: int, want: int = 9) -> int:
    return len(queue.client.run(commands.claim(queue.name, "ann", f"nonce.{nonce}", want, 60.0)).jobs)


def test_no_more_jobs_are_claimed_than_may_run(queue: Queue) -> None:
    queue.put_many(range(5))
    queue.limit(running=2)
    assert [claimed(queue, nonce) for nonce in range(2)] == [2, 0]
    queue.limit(running=3)
    assert claimed(queue, 2) == 1
    queue.limit()
    assert claimed(queue, 3) == 2


def test_no_more_jobs_start_within_a_period_than_may(queue: Queue) -> None:
    queue.put_many(range(5))
    queue.limit(starts=3, per=timedelta(minutes=5))
    assert [claimed(queue, nonce, 2) for nonce in range(3)] == [2, 1, 0]
    own = queue.limits().queue
    assert own
    assert (own.max_starts, own.period, own.started) == (3, 300.0, 3)


def test_limit_is_set_and_read_in_asyncio(one_server: Any) -> None:
    async def story() -> None:
        queue: aio.Queue[int] = aio.Queue("limited", store=one_server.client)
        await queue.limit(running=2, starts=10, per=1)
        own = (await queue.limits()).queue
        assert own
        assert (own.max_running, own.max_starts, own.period) == (2, 10, 1.0)
        await queue.limit()
        assert await queue.limits() == (None, [], 0, 0)

    asyncio.run(story())


@pytest.mark.parametrize("wrong", [{"running": -1}, {"starts": 1.5}, {"per": 0}, {"starts": 10**6}])
def test_limit_out_of_range_is_refused(queue: Queue, wrong: Any) -> None:
    with pytest.raises(BadCall):
        queue.limit(**wrong)
    assert queue.limits().queue is None
