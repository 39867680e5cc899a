"""A job that waits for another one of its own queue reports if no worker has taken that one, and only then."""

from __future__ import annotations

import asyncio
import contextvars
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conveyor import CurrentJob, Job, WaitTimeout, events, job
from conveyor.context import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench


class Outer(CurrentJob):
    """The job that this test plays."""

    def __init__(self, queue: str) -> None:
        self.id, self.queue = "outer", queue
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def outer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outer]:
    """Run the test as a job of the queue, which reports early."""
    monkeypatch.setattr(job, "UNTAKEN_AFTER", 0.05)
    outer = Outer(bench.queue.name)
    mark = running.set(outer)
    yield outer
    running.reset(mark)


def wait(inner: Job[int], timeout: float | None) -> int:
    return inner.result(timeout)


def wait_in_a_loop(inner: Job[int], timeout: float | None) -> int:
    async def awaited() -> int:
        return await inner

    return asyncio.run(asyncio.wait_for(awaited(), timeout))


def wait_for_any(inner: Job[int], timeout: float | None) -> int:
    return next(job.as_completed([inner], timeout)).result()


Wait = Callable[[Job[int], float | None], int]
WAITS = pytest.mark.parametrize("wait", [wait, wait_in_a_loop, wait_for_any])


@WAITS
def test_untaken_job_is_reported_once(
    bench: Bench, outer: Outer, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[events.Event] = []
    monkeypatch.setattr(events, "_subscribers", [seen.append])
    inner = bench.queue.submit(textwrap.dedent, "abc")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(contextvars.copy_context().run, wait, inner, None)
        bench.eventually(lambda: outer.lines)
        bench.settle(1, 3)
        assert waiting.result(60) == 3
    assert seen == [events.WaitsForWorker("outer", inner.id, bench.queue.name, 0.05)]
    assert outer.lines == [str(seen[0])]


@WAITS
def test_running_job_is_not_reported(bench: Bench, outer: Outer, wait: Wait) -> None:
    inner = bench.queue.submit(textwrap.dedent, "abc")
    bench.claim()
    with pytest.raises(TimeoutError):
        wait(inner, 0.3)
    assert outer.lines == []


@WAITS
def test_job_of_another_queue_is_not_reported(bench: Bench, outer: Outer, wait: Wait) -> None:
    inner = bench.make().submit(textwrap.dedent, "abc")
    with pytest.raises(TimeoutError):
        wait(inner, 0.3)
    assert outer.lines == []


def test_poll_of_a_result_asks_no_more_than_before(
    bench: Bench, outer: Outer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = bench.queue.submit(textwrap.dedent, "abc")
    monkeypatch.setattr(Job, "_report_untaken", lambda *_: pytest.fail("it asks the server"))
    for _ in range(3):
        with pytest.raises(WaitTimeout):
            inner.result(0)


def test_wait_goes_on_if_the_server_is_unavailable(bench: Bench, outer: Outer) -> None:
    inner = bench.queue.submit(textwrap.dedent, "abc")
    with pytest.raises(WaitTimeout):
        inner.result(0.01)
    bench.server.stop()
    try:
        with pytest.raises(WaitTimeout):
            inner.result(0.3)
    finally:
        bench.server.start()
    assert outer.lines == []
