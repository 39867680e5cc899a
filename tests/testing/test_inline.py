"""Within `inline`, jobs run as soon as they are submitted, by whatever way."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Full, Job, JobFailed, Queue, aio, task
from conveyor.order import Order
from conveyor.store import Client
from conveyor.testing import advance, inline, run_jobs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.fixture(autouse=True)
def running(queue: Queue) -> Iterator[None]:
    with inline():
        yield


@task(queue="work")
def double(number: int) -> int:
    return 2 * number


@task(queue="work", retries=1, first_delay=60)
def fail() -> None:
    raise OSError("on purpose")


@task(queue="work")
def count(upto: int) -> Generator[int, None, str]:
    yield from range(upto)
    return "counted"


@double.splits
def split(numbers: list[int]) -> list[dict[str, object]]:
    return [{"number": number} for number in numbers]


@double.joins
def join(parts: list[int], /, **_: object) -> int:
    return sum(parts)


@task(queue="work")
def double_twice(number: int) -> int:
    return double.submit(double.submit(number).result()).result()


@task(queue="work")
async def double_in_asyncio(number: int) -> int:
    await asyncio.sleep(0)
    return await (await double.submit_async(number)) + await double.submit(number)


def test_submitted_job_has_run(queue: Queue) -> None:
    job = double.submit(4)
    assert job.status() == "done"
    assert job.result() == 8
    assert queue.count().finished == 1


def test_many_jobs_pass_a_queue_with_room_for_two() -> None:
    limited = Queue("work", maxsize=2)
    assert [job.result() for job in limited.submit_many(double, ((n,) for n in range(1000)))][-1] == 1998
    assert list(limited.map(double, [1, 2, 3])) == [2, 4, 6]
    assert limited.submit_many(double, []) == []


def test_order_runs_all_its_parts() -> None:
    assert Order.place(double, {"numbers": [1, 2, 3]}).result() == 12


def test_jobs_may_submit_and_await_jobs() -> None:
    assert double_twice.submit(1).result() == 4
    assert double_in_asyncio.submit(1).result() == 4


def test_submit_in_asyncio_runs_the_job() -> None:
    async def main() -> list[int]:
        queue: aio.Queue[Any] = aio.Queue("work")
        mapped = [result async for result in queue.map(double, [1, 2])]
        awaited = await (await double_in_asyncio.submit_async(1))
        return [*mapped, awaited, double_in_asyncio.submit(2).result()]

    assert asyncio.run(main()) == [2, 4, 4, 8]


def test_threads_submit_inline_too() -> None:
    jobs: list[Job[int]] = []
    thread = threading.Thread(target=lambda: jobs.append(double.submit(5)))
    thread.start()
    thread.join()
    assert jobs[0].status() == "done"


def test_failure_is_raised_by_the_result_only(caplog: pytest.LogCaptureFixture) -> None:
    job = fail.options(retries=0).submit()
    with pytest.raises(JobFailed, match="on purpose"):
        job.result()
    assert [(one.levelno, one.exc_info is not None) for one in caplog.records] == [(logging.WARNING, True)]


def test_failure_is_raised_by_submit_on_request() -> None:
    with inline(raise_failures=True), pytest.raises(OSError, match="on purpose"):
        fail.options(retries=0).submit()
    fail.options(retries=0).submit()


def test_delayed_and_retried_jobs_wait_for_the_clock(queue: Queue) -> None:
    delayed, failing = double.options(delay=60).submit(1), fail.submit()
    assert (delayed.status(), failing.status()) == ("delayed", "delayed")
    assert advance(80) == 2
    assert run_jobs(raise_failures=False) == 2
    assert (delayed.status(), failing.status()) == ("done", "failed")


def test_full_queue_is_reported_instead_of_awaited(queue: Queue) -> None:
    queue.resize(1)
    with pytest.raises(Full) as caught:
        queue.submit_many(fail, [(), (), ()])
    assert caught.value.accepted == 1
    assert [Job(name, "work").status() for name in caught.value.ids] == ["delayed"]


def test_invalid_call_leaves_those_before_it_done(queue: Queue) -> None:
    with pytest.raises(BadCall) as caught:
        queue.submit_many(double, [*[(n,) for n in range(600)], ("wrong",)])
    assert caught.value.accepted == len(caught.value.ids) == 500
    assert queue.count().finished == 500


def test_items_of_a_task_that_yields_can_be_read() -> None:
    job = count.submit(3)
    assert list(job.stream()) == [0, 1, 2]
    assert job.result() == "counted"


def test_submit_outside_the_block_only_puts(queue: Queue) -> None:
    with inline():
        pass
    assert double.submit(1).status() == "done"


def test_embedded_server_of_the_user_is_refused(queue: Queue, server: Any) -> None:
    mine = Queue("work", store=Client(server.url, revive=lambda _: None))
    with pytest.raises(BadCall, match="not for tests"):
        mine.submit(double, 1)
    assert queue.qsize() == 0
