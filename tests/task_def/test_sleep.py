"""The task `sleep`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from conveyor import Queue
from conveyor.errors import BadInput, JobCancelled
from conveyor.task_def.sleep import Slept, join, sleep, split

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RecordingJob


def test_sleep_lasts_the_given_seconds(job: RecordingJob) -> None:
    assert 0.2 <= sleep(0.2) < 5
    assert job.reports[-1] == (0.2, 0.2)


def test_progress_never_decreases(job: RecordingJob) -> None:
    sleep(0.2)
    assert job.reports == sorted(job.reports)


def test_cancelled_sleep_ends_immediately(job: RecordingJob) -> None:
    job.cancel_after = 1
    start = time.monotonic()
    with pytest.raises(JobCancelled):
        sleep(600.0)
    assert time.monotonic() - start < 60


def test_sleep_of_zero_seconds_is_allowed() -> None:
    assert sleep(0.0) >= 0


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_invalid_time_is_refused(seconds: float) -> None:
    with pytest.raises(BadInput, match="must be finite"):
        sleep(seconds)
    with pytest.raises(BadInput, match="must be finite"):
        split(seconds)


def test_job_with_an_invalid_time_is_not_put(tmp_path: Path) -> None:
    queue = Queue("naps", store=f"unix://{tmp_path}/none")
    with pytest.raises(BadInput, match="must be finite"):
        queue.submit(sleep, -1.0)


@pytest.mark.parametrize("times", [0, -3, 10**9])
def test_invalid_number_of_jobs_is_refused(times: int) -> None:
    with pytest.raises(BadInput, match="times"):
        split(1.0, times)


def test_default_order_is_five_jobs_of_ten_seconds() -> None:
    assert split() == [{"seconds": 10.0}] * 5


def test_results_of_the_parts_are_added_up() -> None:
    assert join([0.5, 0.25], seconds=0.3, times=2) == Slept(2, 0.75)
