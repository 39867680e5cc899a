"""Coroutine tasks share an event loop: leftovers or damage by one task do not affect the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import coroutine_jobs
import pytest
from consumer_kit import lines

from conveyor import JobCancelled, JobFailed, Queue, task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_unrequested_cancellation_is_a_failure(queue: Queue, consume: Callable[..., Any], path: Path) -> None:
    consume(modules=("consumer_jobs", "coroutine_jobs"))
    waits = task(coroutine_jobs.wait_for_a_cancelled_task).options(retries=1, first_delay=0.01)
    job = queue.submit(waits, str(path))
    with pytest.raises(JobFailed, match="CancelledError"):
        job.result(30)
    assert lines(path) == ["began"] * 2


def test_exit_left_in_the_loop_affects_no_other_job(queue: Queue, consume: Callable[..., Any]) -> None:
    consume(modules=("consumer_jobs", "coroutine_jobs"))
    for _ in range(2):
        assert queue.submit(coroutine_jobs.leave_an_exit).result(30) == "left"
        assert queue.submit(coroutine_jobs.rest, 0.2).result(30) == "rested"


def test_job_after_a_stopped_loop_can_be_cancelled(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(modules=("consumer_jobs", "coroutine_jobs"))
    workers = running.workers()
    with pytest.raises(JobFailed):
        queue.submit(coroutine_jobs.stop_the_loop).result(30)
    job = queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(30)
    assert running.workers() == workers, "it was not killed for that"
    assert queue.submit(coroutine_jobs.rest, 0.0).result(30) == "rested"


@pytest.mark.parametrize("name", ["leave_what_does_not_end", "leave_a_thread"])
def test_consumer_exits_if_something_is_left_in_the_loop(
    name: str, queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = consume(modules=("consumer_jobs", "coroutine_jobs"))
    assert queue.submit(getattr(coroutine_jobs, name)).result(30) == "left"
    running.signal()
    eventually(running.has_left, 9.0)
    assert running.status == 0
