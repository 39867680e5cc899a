"""Batch tasks in the test's own process: `run_jobs` gathers what waits, and `inline` runs batches of one."""

from __future__ import annotations

import logging

import pytest

from conveyor import (
    BadCall,
    JobCancelled,
    JobExpired,
    JobFailed,
    Queue,
    Throttle,
    current_job,
    current_jobs,
    from_worker,
    resource,
    result_of,
    task,
)
from conveyor.task_def.sleep import sleep
from conveyor.testing import advance, inline, run_jobs

calls: list[list[int]] = []


@task(queue="work", batch=10, wait=600)
def double(numbers: list[int]) -> list[int | Exception]:
    """Return the double of each number, or an exception for a negative one."""
    calls.append(numbers)
    return [2 * one if one >= 0 else ValueError(f"{one} is negative") for one in numbers]


@task(queue="work", batch=10)
async def double_async(numbers: list[int]) -> list[int]:
    """Return the double of each number."""
    calls.append(numbers)
    return [2 * one for one in numbers]


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def test_waiting_jobs_run_together_without_a_wait(queue: Queue) -> None:
    jobs = double.submit_many([(number,) for number in range(25)])
    assert run_jobs() == 25
    assert [len(one) for one in calls] == [10, 10, 5]
    assert [job.result() for job in jobs] == [2 * number for number in range(25)]
    assert queue.count().imbalance == 0


def test_asynchronous_batch_runs_likewise(queue: Queue) -> None:
    jobs = double_async.submit_many([(number,) for number in range(3)])
    assert run_jobs() == 3
    assert [job.result() for job in jobs] == [0, 2, 4]


def test_jobs_of_other_tasks_keep_their_turn(queue: Queue) -> None:
    double.submit(1)
    sleep.options(queue="work").submit(0)
    double.submit(2)
    assert run_jobs() == 3
    assert calls == [[1, 2]]


def test_limit_counts_jobs(queue: Queue) -> None:
    double.submit_many([(number,) for number in range(25)])
    assert (run_jobs(limit=12), queue.count().ready) == (12, 13)
    assert [len(one) for one in calls] == [10, 2]


def test_failure_of_one_job_is_raised_or_logged(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    double.submit_many([(1,), (-2,), (3,)])
    with pytest.raises(ValueError, match="-2 is negative"):
        run_jobs()
    double.submit_many([(-4,), (-5,)])
    with caplog.at_level(logging.WARNING, "conveyor"):
        assert run_jobs(raise_failures=False) == 2
    assert [str(one.exc_info[1]) for one in caplog.records if one.exc_info] == [
        "-4 is negative",
        "-5 is negative",
    ]


def test_inline_submit_is_a_batch_of_one(queue: Queue) -> None:
    with inline():
        assert [double.submit(number).result() for number in range(3)] == [0, 2, 4]
        with pytest.raises(JobFailed, match="-1 is negative"):
            double.submit(-1).result()
    assert calls == [[0], [1], [2], [-1]]


def test_direct_call_is_a_batch_of_one() -> None:
    assert double(3) == 6
    with pytest.raises(ValueError, match="-1 is negative"):
        double(-1)
    with pytest.raises(BadCall, match=r"double\(\) takes numbers"):
        double()  # type: ignore[call-arg]


def test_current_jobs_are_those_of_the_lists(queue: Queue) -> None:
    seen: list[list[str]] = []

    @task(queue="work", name="see", batch=10)
    def see(numbers: list[int]) -> None:
        seen.append([one.id for one in current_jobs()])
        assert current_job().id == seen[-1][0]
        assert not any(one.cancelled for one in (current_job(), *current_jobs()))

    jobs = see.submit_many([(number,) for number in range(3)])
    assert run_jobs() == 3
    assert seen == [[job.id for job in jobs]]
    assert [one.id for one in current_jobs()] == [""]


def test_cancelled_job_ends_if_the_task_leaves_it_out(queue: Queue) -> None:
    @task(queue="work", name="leave_out", batch=10)
    def leave_out(numbers: list[int]) -> list[str | Exception]:
        jobs[1].cancel()
        jobs[2].cancel()
        return ["done", "done", *(JobCancelled() for _ in numbers[2:])]

    jobs = leave_out.submit_many([(number,) for number in range(3)])
    assert run_jobs() == 3
    assert [job.status() for job in jobs] == ["done", "done", "cancelled"]


def test_expired_jobs_are_left_out(queue: Queue) -> None:
    late = double.options(expires=60).submit_many([(1,), (2,)])
    jobs = double.submit_many([(3,), (4,)])
    advance(61)
    assert run_jobs() == 4
    assert calls == [[3, 4]]
    assert [job.result() for job in jobs] == [6, 8]
    for job in late:
        with pytest.raises(JobExpired):
            job.result()
    late = double.options(expires=60).submit_many([(1,), (2,)])
    advance(61)
    assert run_jobs() == 2
    assert calls == [[3, 4]]
    assert [job.status() for job in late] == ["expired", "expired"]


def test_jobs_take_results_of_jobs_on_other_queues(queue: Queue) -> None:
    first = double.options(queue="before").submit_many([(1,), (2,)])
    second = [double.submit(result_of(job)) for job in (*first, *first)]
    assert run_jobs() == 6
    assert [job.result() for job in second] == [4, 8, 4, 8]
    assert calls[0] == [1, 2]
    assert sorted(calls[1]) == [2, 2, 4, 4]


def test_throttled_jobs_return_until_the_rest_is_over(queue: Queue) -> None:
    @task(queue="work", name="wait", batch=10)
    def wait(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        if len(calls) == 1:
            raise Throttle(30)
        return numbers

    jobs = wait.submit_many([(1,), (2,)])
    assert (run_jobs(), queue.count().ready) == (2, 2)
    advance(30)
    assert run_jobs() == 2
    assert [job.result() for job in jobs] == [1, 2]
    assert calls == [[1, 2], [1, 2]]


def test_each_job_has_its_own_outcome(queue: Queue) -> None:
    seen: list[str] = []

    @task(queue="work", name="watch", batch=10)
    def watch(numbers: list[int]) -> list[int | Exception]:
        for job in (current_job(), *current_jobs()):
            job.on_outcome(lambda outcome: seen.append(type(outcome).__name__))
        return [one if one >= 0 else ValueError() for one in numbers]

    watch.submit_many([(1,), (-2,)])
    assert run_jobs(raise_failures=False) == 2
    assert seen == ["Done", "Fail", "Done"]


@resource
def factor() -> int:
    """Return a factor."""
    return 7


@task(queue="work", batch=10)
def scale(numbers: list[int], factor: int = from_worker()) -> list[int]:
    """Multiply each number."""
    return [one * factor for one in numbers]


def test_resources_are_no_lists(queue: Queue) -> None:
    jobs = scale.submit_many([(1,), (2,)])
    assert run_jobs() == 2
    assert [job.result() for job in jobs] == [7, 14]
    with pytest.raises(BadCall, match="gets factor only from a worker"):
        scale(3)
