"""Tasks that yield: their items arrive as they come, once and in order, whatever happens to workers and readers."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import streaming_jobs as jobs
from consumer_jobs import add
from consumer_kit import Running, go, lines
from streaming_jobs import Row

from conveyor import BadCall, Job, JobCancelled, JobFailed, JobGone, JobLost, Queue
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = [Row(number, f"row {number}") for number in range(10)]


@pytest.fixture
def running(consume: Callable[..., Any]) -> Running:
    """Run a consumer of two workers."""
    return consume(workers=2, modules=("consumer_jobs", "streaming_jobs"))


def worker_of(path: Path) -> int:
    """Return the id of the worker process that began last."""
    return int(lines(path)[-1].split()[1])


@pytest.mark.parametrize("function", [jobs.rows, jobs.rows_later])
def test_stream_has_all_items_with_their_types(function: Any, queue: Queue, running: Running) -> None:
    job = queue.submit(function, 10)
    assert list(job.stream()) == ROWS
    assert list(job.stream()) == ROWS, "reading removes nothing"
    assert list(job.stream(start=8)) == ROWS[8:]
    assert list(job.stream(start=99)) == []


def test_result_is_what_the_generator_returns(queue: Queue, running: Running) -> None:
    assert queue.submit(jobs.rows, 3).result(30) == Row(3, "all")
    assert queue.submit(jobs.numbers, 3).result(30) is None
    assert queue.submit(jobs.rows_later, 3).result(30) is None


def test_items_arrive_while_the_task_runs(queue: Queue, running: Running, path: Path) -> None:
    job = queue.submit(jobs.half, str(path), 10)
    items = job.stream()
    assert list(itertools.islice(items, 5)) == [0, 1, 2, 3, 4]
    assert job.status() == "running"
    go(path)
    assert list(items) == [5, 6, 7, 8, 9]


def test_other_process_reads_by_the_id_alone(queue: Queue, running: Running) -> None:
    job = queue.submit(jobs.rows, 2)
    stranger = Job(job.id, queue.name, client=queue.client)
    assert list(stranger.stream()) == ROWS[:2]
    assert list(pickle.loads(pickle.dumps(job)).stream()) == ROWS[:2]


def test_two_readers_get_all_items(queue: Queue, running: Running, path: Path) -> None:
    job = queue.submit(jobs.half, str(path), 1000)
    found: list[list[int]] = [[], []]

    def read(place: int) -> None:
        for item in job.stream():
            found[place].append(item)
            if len(found[place]) == 500:
                both_wait.wait()

    both_wait = threading.Barrier(3, timeout=60)
    readers = [threading.Thread(target=read, args=(place,)) for place in range(2)]
    for reader in readers:
        reader.start()
    both_wait.wait()
    go(path)
    for reader in readers:
        reader.join(60)
    assert found == [list(range(1000))] * 2


@pytest.mark.parametrize("function", [jobs.half, jobs.half_later])
def test_stream_in_asyncio_does_not_block_the_loop(
    function: Any, queue: Queue, running: Running, path: Path
) -> None:
    async def read() -> list[int]:
        job = queue.submit(function, str(path), 10)
        found = []
        async for item in job.stream_async():
            found.append(item)
            if item == 4:
                asyncio.get_running_loop().call_later(0.1, go, path)
        assert [item async for item in job.stream_async(start=7)] == [7, 8, 9]
        return found

    assert asyncio.run(read()) == list(range(10))


def test_cancelled_reader_in_asyncio_disturbs_no_other(queue: Queue, running: Running, path: Path) -> None:
    async def read() -> list[int]:
        job = queue.submit(jobs.half, str(path), 4)
        first = job.stream_async()
        assert [await anext(first), await anext(first)] == [0, 1]
        waiting = asyncio.ensure_future(anext(first))
        other = asyncio.create_task(_all(job))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go(path)
        return await other

    assert asyncio.run(read()) == [0, 1, 2, 3]


async def _all(job: Job[Any]) -> list[Any]:
    return [item async for item in job.stream_async()]


def test_stream_that_yields_nothing_is_empty(queue: Queue, running: Running) -> None:
    assert list(queue.submit(jobs.numbers, 0).stream()) == []
    assert list(queue.submit(jobs.rows_later, 0).stream()) == []


def test_stream_of_a_task_that_does_not_yield_is_refused(queue: Queue, running: Running) -> None:
    with pytest.raises(BadCall, match="does not yield"):
        list(queue.submit(add, 1, 2).stream())


@pytest.mark.parametrize("start", [-1, 1.5, "3", True])
def test_invalid_start_is_refused_before_the_first_item(start: Any, queue: Queue) -> None:
    job: Job[Any] = Job("x", queue.name, client=queue.client)
    for read in (job.stream, job.stream_async):
        with pytest.raises(BadCall, match="start must be a whole number"):
            read(start)


def test_stream_of_an_unknown_job_raises_job_gone(queue: Queue) -> None:
    with pytest.raises(JobGone):
        list(Job("unknown", queue.name, client=queue.client).stream())


def test_expired_items_are_not_taken_for_the_end(queue: Queue, running: Running, one_server: Any) -> None:
    job = queue.submit(jobs.texts, 40, 100_000)
    items = job.stream()
    assert next(items).startswith("0x")
    job.result(30)
    one_server.raw.delete(*(f"conveyor:{{{queue.name}}}:{name}:{job.id}" for name in ("stream", "outcome")))
    with pytest.raises(JobGone, match="no longer kept"):
        list(items)


def test_killed_worker_costs_no_item_and_repeats_none(queue: Queue, running: Running, path: Path) -> None:
    job = queue.submit(jobs.killed_twice, str(path), 3000)
    assert list(job.stream()) == list(range(3000))
    assert lines(path) == ["run"] * 3
    assert list(job.stream()) == list(range(3000))


def test_killed_worker_is_replaced_and_continues_the_stream(
    queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    job = queue.submit(jobs.half, str(path), 10)
    items = job.stream()
    assert list(itertools.islice(items, 5)) == [0, 1, 2, 3, 4]
    os.kill(worker_of(path), signal.SIGKILL)
    eventually(lambda: len(lines(path)) == 2)
    go(path)
    assert list(items) == [5, 6, 7, 8, 9]


def test_run_that_lost_its_lease_appends_nothing(
    queue: Queue, running: Running, path: Path, one_server: Any, eventually: Callable[..., Any]
) -> None:
    """Another worker holds the job by then, and only its items count."""
    job = queue.submit(jobs.clean_up, str(path))
    items = job.stream()
    assert next(items) == 0
    lease = one_server.raw.hget(f"conveyor:{{{queue.name}}}:leases", job.id).decode()
    one_server.client.run(commands.release(queue.name, lease.split()[0], [job.id]))
    eventually(lambda: lines(path)[:1] == ["cleaned up"])
    assert list(itertools.islice(items, 5000)) == list(range(1, 5001))
    assert job.cancel()
    with pytest.raises(JobCancelled):
        list(items)


def test_retry_continues_behind_the_items_of_the_first_run(
    queue: Queue, running: Running, path: Path
) -> None:
    job = queue.submit(jobs.yield_and_fail, str(path), 1)
    assert list(job.stream()) == ["first", "second of run 1", "third of run 2"]


def test_stream_of_a_failed_job_raises_behind_its_items(queue: Queue, running: Running, path: Path) -> None:
    job = queue.submit(jobs.yield_and_fail, str(path), 2)
    for _ in range(2):
        found, error = _until_error(job)
        assert found == ["first", "second of run 1"]
        assert "run 2" in str(error)


def _until_error(job: Job[Any]) -> tuple[list[Any], JobFailed]:
    """Return the items of a job that fails, and the error."""
    found = []
    try:
        for item in job.stream():
            found.append(item)  # noqa: PERF402 - it raises
    except JobFailed as error:
        return found, error
    pytest.fail("the stream ended without an error")


@pytest.mark.parametrize("function", [jobs.clean_up, jobs.clean_up_later, jobs.clean_up_without_await])
def test_cancelled_generator_cleans_up_and_its_reader_is_told(
    function: Any, queue: Queue, running: Running, path: Path
) -> None:
    job = queue.submit(function, str(path))
    items = job.stream()
    assert next(items) == 0
    workers = running.workers()
    job.cancel()
    with pytest.raises(JobCancelled):
        list(items)
    assert lines(path) == ["cancelled", "cleaned up"]
    assert running.workers() == workers


def test_time_limit_ends_a_generator(queue: Queue, running: Running) -> None:
    job = queue.submit(jobs.yield_too_long)
    with pytest.raises(JobFailed, match=r"0\.5 s"):
        list(job.stream())


def test_next_consumer_continues_the_stream_of_one_that_exits(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    first = consume(modules=("consumer_jobs", "streaming_jobs"))
    job = queue.submit(jobs.half, str(path), 10)
    items = job.stream()
    assert list(itertools.islice(items, 5)) == [0, 1, 2, 3, 4]
    first.signal()
    eventually(lambda: first.report().workers[0].state == "leaving")
    first.signal()
    eventually(first.has_left)
    consume(modules=("consumer_jobs", "streaming_jobs"))
    eventually(lambda: len(lines(path)) == 2)
    go(path)
    assert list(items) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("function", [jobs.texts, jobs.texts_later])
def test_big_items_arrive_whole_and_fill_no_memory(function: Any, queue: Queue, running: Running) -> None:
    job = queue.submit(function, 60, 1_000_000)
    sizes = [len(item) for item in job.stream()]
    assert sizes == [1_000_001] * 10 + [1_000_002] * 50


def test_unfit_item_is_refused_at_its_yield(queue: Queue, running: Running) -> None:
    assert list(queue.submit(jobs.unfit_items).stream()) == [1, 2]
    assert list(queue.submit(jobs.unfit_items_later).stream()) == [1, 2]
    with pytest.raises(JobFailed, match="BadCall: item 1 cannot be serialized"):
        queue.submit(jobs.unfit_item).result(30)


def test_stream_over_its_limit_fails_the_job(queue: Queue, running: Running, path: Path) -> None:
    job = queue.submit(jobs.without_end, str(path))
    with pytest.raises(JobFailed, match=r"TooLarge: the items .* more than 67,108,864 bytes"):
        job.result(60)
    assert lines(path) == ["cleaned up"]
    found, error = _until_error(job)
    assert error.kind == "TooLarge"
    assert 120 <= len(found) <= 127


def test_generator_that_forks_and_returns_twice_streams_once(
    queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    job = queue.submit(jobs.sneaky, str(path))
    assert list(job.stream()) == [1, 2]
    eventually(lambda: sorted(lines(path)) == ["False", "True"])
    assert list(queue.submit(jobs.numbers, 3).stream()) == [0, 1, 2]


def test_progress_is_reported_while_a_task_yields(
    queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    job = queue.submit(jobs.report, str(path))
    assert eventually(job.progress).done == 9
    go(path)
    assert job.result(30) is None


def test_job_put_again_after_a_loss_continues_its_stream(
    queue: Queue, running: Running, path: Path, one_server: Any, eventually: Callable[..., Any]
) -> None:
    job = queue.submit(jobs.half, str(path), 10)
    items = job.stream()
    assert list(itertools.islice(items, 5)) == [0, 1, 2, 3, 4]
    one_server.raw.flushall()
    go(path)
    assert list(items) == [5, 6, 7, 8, 9]
    eventually(lambda: len(lines(path)) == 2)


def test_hundred_thousand_items_arrive_in_order(queue: Queue, running: Running) -> None:
    assert list(queue.submit(jobs.numbers, 100_000).stream()) == list(range(100_000))


def test_lost_job_is_reported_behind_its_items(queue: Queue, running: Running, path: Path) -> None:
    job = queue.submit(jobs.half, str(path), 4)
    items = job.stream()
    assert [next(items), next(items)] == [0, 1]
    for _ in range(3):
        os.kill(worker_of(path), signal.SIGKILL)
        count = len(lines(path))
        running.eventually(lambda count=count: len(lines(path)) > count or job.status() == "lost")
    with pytest.raises(JobLost):
        list(items)
