"""Done-callbacks: whatever they do, results of other jobs keep arriving."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Job, inbox

if TYPE_CHECKING:
    from conftest import Bench


def double(number: int) -> int:
    return 2 * number


def finish_in_order(bench: Bench, many: int) -> None:
    for number in range(many):
        bench.settle(value=number)


def test_callback_can_wait_for_another_job(bench: Bench) -> None:
    first, second, third = bench.queue.submit_many(double, [(number,) for number in range(3)])
    results: list[Any] = []
    first.add_done_callback(lambda _: results.append(second.result(timeout=10)))
    bench.settle(value=0)
    bench.eventually(lambda: first.settled is not None)
    bench.settle(value="second")
    bench.settle(value="third")
    assert third.result(timeout=5) == "third"
    bench.eventually(lambda: results == ["second"])


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_callback_that_raises_is_logged(
    bench: Bench, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    jobs = bench.queue.submit_many(double, [(number,) for number in range(3)])
    called: list[Job[int]] = []

    def fail(_: Job[int]) -> None:
        raise error("from the callback")

    for job in jobs[:2]:
        job.add_done_callback(fail)
        job.add_done_callback(called.append)
    with caplog.at_level(logging.ERROR, "conveyor"):
        finish_in_order(bench, 3)
        bench.eventually(lambda: called == jobs[:2])
    assert [job.result(timeout=5) for job in jobs] == [0, 1, 2]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [error] * 2


def test_results_arrive_while_a_callback_blocks(bench: Bench, never_asking: None) -> None:
    jobs = bench.queue.submit_many(double, [(number,) for number in range(4)])
    blocked, go_on, order = threading.Event(), threading.Event(), []

    def block(_: Job[int]) -> None:
        blocked.set()
        assert go_on.wait(20)
        order.append(0)

    jobs[0].add_done_callback(block)
    for number in (1, 2):
        jobs[number].add_done_callback(lambda _, number=number: order.append(number))
    finish_in_order(bench, 4)
    assert blocked.wait(10)
    assert [job.result(timeout=5) for job in jobs] == [0, 1, 2, 3]
    assert order == []
    go_on.set()
    bench.eventually(lambda: order == [0, 1, 2])


def test_coroutine_is_woken_while_a_callback_blocks(bench: Bench, never_asking: None) -> None:
    first, second = bench.queue.submit_many(double, [(1,), (2,)])
    blocked, go_on = threading.Event(), threading.Event()
    first.add_done_callback(lambda _: (blocked.set(), go_on.wait(20)))

    async def wait() -> Any:
        waiting = asyncio.ensure_future(_await(second))
        await asyncio.to_thread(finish_in_order, bench, 2)
        assert await asyncio.to_thread(blocked.wait, 10)
        return await asyncio.wait_for(waiting, 5)

    try:
        assert asyncio.run(wait()) == 1
    finally:
        go_on.set()


async def _await(job: Job[Any]) -> Any:
    return await job


def test_cancelled_await_leaves_no_callback(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)

    async def wait_in_vain() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_await(job), 0.01)

    asyncio.run(wait_in_vain())
    assert job._callbacks == []


def test_callback_runs_in_the_calling_thread_if_the_job_is_done(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    bench.settle(value=2)
    assert job.result(timeout=5) == 2
    threads: list[threading.Thread] = []
    job.add_done_callback(lambda _: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


def test_callback_thread_ends_when_idle_and_starts_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BACKGROUND_LASTS", 0.01)
    callbacks = inbox.inbox_of(bench.client).callbacks
    for number in range(2):
        called: list[Job[int]] = []
        job = bench.queue.submit(double, number)
        job.add_done_callback(called.append)
        bench.settle(value=number)
        bench.eventually(lambda called=called, job=job: called == [job])
        bench.eventually(lambda: callbacks.thread is None)


def test_callback_runs_after_its_thread_failed_to_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, refused = threading.Thread.start, []

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name == "conveyor-callbacks" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    called: list[Job[int]] = []
    job = bench.queue.submit(double, 1)
    job.add_done_callback(called.append)
    bench.settle(value=2)
    bench.eventually(lambda: called == [job], 15.0)
    assert refused
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_callbacks_run_although_logging_raises(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[logging.LogRecord] = []

    def raise_error(record: logging.LogRecord) -> bool:
        logged.append(record)
        raise ValueError

    def fail(_: Job[int]) -> None:
        raise RuntimeError

    monkeypatch.setattr(logging.getLogger("conveyor"), "filters", [raise_error])
    job = bench.queue.submit(double, 1)
    called: list[Job[int]] = []
    job.add_done_callback(fail)
    job.add_done_callback(called.append)
    bench.settle(value=2)
    bench.eventually(lambda: called == [job], 10.0)
    assert logged
