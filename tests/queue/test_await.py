"""Other ways to learn of a job's end than its result: await and callbacks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Bench
    from conveyor import Job


def double(number: int) -> int:
    return 2 * number


def test_many_jobs_are_awaited_in_asyncio_at_the_same_time(bench: Bench, never_asking: None) -> None:
    jobs = bench.queue.submit_many(double, [(number,) for number in range(50)])

    async def all_results() -> list[int]:
        gathered = asyncio.gather(*jobs)
        await asyncio.to_thread(bench.settle, 50, 7)
        return await gathered

    assert asyncio.run(all_results()) == [7] * 50
    assert asyncio.run(all_results_again(jobs)) == [7] * 50


async def all_results_again(jobs: list[Job[int]]) -> list[int]:
    return [await job for job in jobs]


def test_cancelled_await_does_not_disturb_other_waiters(
    bench: Bench, never_asking: None, caplog: pytest.LogCaptureFixture
) -> None:
    left, other = bench.queue.submit(double, 1), bench.queue.submit(double, 2)
    called_back: list[Job[int]] = []
    other.add_done_callback(called_back.append)

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(left, 0.05)

    asyncio.run(give_up())
    bench.settle(2, value=1)
    assert other.result(timeout=20) == 1
    assert left.result(timeout=20) == 1
    bench.eventually(lambda: called_back == [other])  # its callback comes after the other's
    assert caplog.text == ""


def test_callback_runs_immediately_and_once_if_the_job_has_ended(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    called_back: list[str] = []
    job.add_done_callback(lambda job: called_back.append("early"))
    bench.settle()
    bench.eventually(lambda: called_back == ["early"])
    job.add_done_callback(lambda job: called_back.append("late"))
    assert called_back == ["early", "late"]


def test_callback_that_raises_is_logged_and_stops_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = bench.queue.submit(double, 1), bench.queue.submit(double, 2)
    bad.add_done_callback(lambda job: 1 / 0)
    called_back: list[str] = []
    bad.add_done_callback(lambda job: called_back.append("second"))
    good.add_done_callback(lambda job: called_back.append("good"))
    bench.settle(2, value=3)
    bench.eventually(lambda: sorted(called_back) == ["good", "second"])
    assert good.result(timeout=0) == 3
    assert "ZeroDivisionError" in caplog.text
