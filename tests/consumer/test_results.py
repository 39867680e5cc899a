"""Results arrive as returned; a result that cannot arrive fails with a reason."""

from __future__ import annotations

import asyncio
import collections
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import numpy as np
import pytest

from conveyor import Job, JobFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue


def test_task_result_arrives_with_its_type(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    assert queue.submit(jobs.add, 2, 3).result(30) == 5
    assert queue.submit(jobs.nothing).result(30) is None
    assert queue.submit(jobs.corner, 1, y=2).result(30) == jobs.Point(1, 2)
    stripes = queue.submit(jobs.stripes, 5).result(30)
    assert isinstance(stripes, np.ndarray)
    assert stripes.tolist() == [0, 1, 0, 1, 0]


def test_object_stays_one_of_its_class_both_ways(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    pixel = jobs.Pixel(1, 2)
    assert queue.submit(jobs.type_of, pixel).result(30) == "Pixel"
    assert queue.submit(jobs.type_of, [pixel, jobs.Point(1, 2)]).result(30) == "['Pixel', 'Point']"
    for value in (pixel, {"a": [pixel]}, collections.deque([Fraction(1, 3)]), collections.Counter("a")):
        back = queue.submit(jobs.same, value).result(30)
        assert (type(back), back) == (type(value), value)


def test_result_is_the_same_without_the_original_handle(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    for task, given in (
        (jobs.lying, jobs.Pixel(1, 2)),
        (jobs.same, (1, {2})),
        (jobs.same, [jobs.Point(1, 2)]),
    ):
        job = queue.submit(task, given)
        results = [job.result(30), Job(job.id, queue.name, client=queue.client).result(30)]
        assert results == [given, given]
        assert [type(one) for one in results] == [type(given)] * 2


def test_coroutine_function_can_be_a_task(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    assert list(queue.map(jobs.later, range(20), timeout=10)) == list(range(20))


def test_job_can_be_awaited(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()

    async def both() -> list[int]:
        return await asyncio.gather(queue.submit(jobs.add, 1, 1), queue.submit(jobs.add, 2, 2))

    assert asyncio.run(asyncio.wait_for(both(), 10)) == [2, 4]


def test_map_and_submit_many_return_results_in_call_order(queue: Queue, consume: Callable[..., Any]) -> None:
    consume(workers=3)
    assert list(queue.map(jobs.add, range(300), range(300), timeout=20)) == [2 * n for n in range(300)]
    many = queue.submit_many(jobs.brief, [(n % 7,) for n in range(50)])
    assert [job.result(30) for job in many] == [n % 7 for n in range(50)]


def test_result_over_one_mebibyte_fails_with_a_reason(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    assert len(queue.submit(jobs.text_of, 1_000_000).result(30)) == 1_000_000
    with pytest.raises(JobFailed, match=r"1,100,005 bytes, the limit is 1,048,576") as caught:
        queue.submit(jobs.text_of, 1_100_000).result(30)
    assert caught.value.kind == "TooLarge"
    assert queue.count().dead == 1


def test_unserializable_result_fails_and_costs_no_worker(queue: Queue, consume: Callable[..., Any]) -> None:
    running = consume()
    before = running.workers()
    for task in (jobs.unfit, jobs.treacherous, jobs.endless):
        with pytest.raises(JobFailed, match="cannot be serialized"):
            queue.submit(task).result(30)
    assert running.workers() == before


def test_outcomes_are_kept_for_the_time_set_by_the_task(
    queue: Queue, consume: Callable[..., Any], one_server: Any
) -> None:
    consume()
    job = queue.submit(jobs.short_lived)
    job.result(30)
    kept = one_server.raw.pttl(f"conveyor:{{{queue.name}}}:outcome:{job.id}")
    assert 50_000 < kept <= 60_000
    other = queue.submit(jobs.nothing)
    other.result(30)
    assert 3_500_000 < one_server.raw.pttl(f"conveyor:{{{queue.name}}}:outcome:{other.id}") <= 3_600_000
