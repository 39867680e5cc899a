"""A run over its time limit is ended and failed; without a limit a job may run forever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import lines

from conveyor import JobFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


def test_run_over_its_time_limit_is_killed_and_fails(
    queue: Queue, consume: Callable[..., Any], path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    running = consume()
    before = running.workers()
    job = queue.submit(jobs.limited, str(path))
    with pytest.raises(JobFailed, match=r"TimeLimit: it ran longer than 0\.2 s"):
        job.result(30)
    assert len(lines(path)) == 1
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() != before
    assert f"job {job.id} (limited) reached its time limit of 0.2 s" in capfd.readouterr().err
    count = queue.count()
    assert (count.dead, count.live, count.imbalance) == (1, 0, 0)


def test_run_over_its_time_limit_is_retried_if_retries_remain(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume()
    assert queue.submit(jobs.limited_twice, str(path)).result(30) == "in time"
    assert len(lines(path)) == 1
    assert queue.count().dead == 0


def test_time_limit_applies_to_each_run_and_not_to_the_worker(
    queue: Queue, consume: Callable[..., Any]
) -> None:
    running = consume()
    before = running.workers()
    handles = queue.submit_many(jobs.limited_brief, [(20,)] * 40)
    assert [job.result(30) for job in handles] == [20] * 40
    assert running.workers() == before
