"""An order is split into jobs, followed while they run, and joined to a single result."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import order_jobs
import pytest
from consumer_kit import go, lines

from conveyor import BadInput, Job, JobCancelled, JobFailed, task
from conveyor.cli import follow
from conveyor.order import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor import Queue

alone_task = task(name="consumer_jobs.add")(jobs.add)
failing = task(name="consumer_jobs.boom")(jobs.boom)


def place(queue: Queue, name: Any, **arguments: Any) -> Order:
    return Order.place(name, arguments, queue=queue.name, store=queue.client)


def test_order_is_split_run_and_joined(queue: Queue, consume: Callable[..., Any], path: Path) -> None:
    consume(workers=2)
    order = place(queue, order_jobs.piece, path=str(path), count=20)
    assert len(order.jobs) == 20
    assert order.result(30) == sum(range(20))
    assert sorted(map(int, lines(path))) == list(range(20))
    assert order.failed() == []


def test_join_does_not_need_its_producer(queue: Queue, consume: Callable[..., Any], path: Path) -> None:
    orders = Order.place(
        order_jobs.piece, {"path": str(path), "count": 5}, queue=queue.name, store=queue.client, count=2
    )
    joins = [Job(one.id, queue.name, client=queue.client) for one in orders.joins]
    del orders
    consume(workers=2)
    assert [one.result(30) for one in joins] == [10, 10]


def test_order_of_a_task_without_a_split_is_a_single_job(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    order = place(queue, alone_task, a=2, b=3)
    assert order.result(30) == 5
    assert len(order.jobs) == 1


def test_bad_input_is_refused_before_any_job_is_put(queue: Queue, path: Path) -> None:
    with pytest.raises(BadInput, match="at least one piece"):
        place(queue, order_jobs.piece, path=str(path), count=0)
    with pytest.raises(TypeError):
        place(queue, order_jobs.piece, paht=str(path))
    assert queue.count().accepted == 0


def test_failed_part_fails_the_order_but_other_parts_finish(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(workers=2)
    order = place(queue, order_jobs.fragile, path=str(path), count=6)
    with pytest.raises(JobFailed, match="ValueError: part 2"):
        order.result(30)
    order.wait()
    assert [job.id for job in order.failed()] == [order.jobs[2].id, order.jobs[4].id]
    assert queue.count().finished == 4


def test_progress_of_an_order_grows_and_includes_running_parts(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume()
    order = place(queue, order_jobs.half_done, path=str(path), count=4)
    seen = []
    for step in order.watch():
        seen.append(step)
        if step.fraction >= 0.125 and step.over == 0:
            assert step.message == "half"
            go(path)
    fractions = [step.fraction for step in seen]
    assert fractions == sorted(fractions)
    assert 0.125 in fractions, "half of the first of four parts"
    assert seen[-1] == (1.0, 4, 4, seen[-1].message)


def test_finished_order_can_be_watched_again(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    order = place(queue, alone_task, a=1, b=1)
    order.wait()
    assert [step.fraction for step in order.watch()] == [1.0]


def test_cancelled_order_ends_waiting_and_running_jobs(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume()
    order = place(queue, order_jobs.half_done, path=str(path), count=5)
    eventually(lambda: lines(path))
    assert order.cancel() == 5
    order.wait()
    with pytest.raises(JobCancelled):
        order.result(30)
    assert len(order.failed()) == 5
    assert order.cancel() == 0
    assert queue.count().imbalance == 0


def test_seconds_of_an_order_end_with_its_last_job(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume(workers=2)
    began = time.monotonic()
    order = place(queue, order_jobs.piece_of_time, seconds=0.3, count=4)
    order.wait()
    assert order.result(30) == [0.3] * 4
    took = time.monotonic() - began
    assert 0.6 <= order.seconds <= took
    assert 1.2 <= order.job_seconds <= 2 * took, "two at a time"
    seconds = order.seconds
    later = time.monotonic() + 0.1
    eventually(lambda: time.monotonic() > later)
    assert order.seconds == seconds


def test_seconds_of_an_order_include_split_and_join(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    order = place(queue, order_jobs.slow_ends, seconds=0.05)
    assert 0.05 <= order.split_seconds < order.seconds
    order.wait()
    before_join = order.seconds
    assert order.result(30) == "joined"
    assert order.seconds >= before_join + 0.05
    seconds = order.seconds
    assert order.result(30) == "joined"
    assert order.seconds == seconds, "the first join counts"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_order_can_be_watched_through_an_outage(
    queue: Queue, consume: Callable[..., Any], one_server: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    order = place(queue, alone_task, a=2, b=3)
    steps = order.watch()
    if when == "meanwhile":
        next(steps)
    with outage(one_server, queue, monkeypatch):
        assert [next(steps) for _ in range(2)] == [(0.0, 0, 1, "")] * 2
    consume()
    assert list(steps)[-1].fraction == 1.0
    assert order.result(30) == 5


def test_outage_does_not_stop_the_search_for_workers(
    queue: Queue, one_server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONVEYOR_URL", one_server.url)
    monkeypatch.setattr("conveyor.monitor.follow.WORKER_INTERVAL", 0.0)
    steps = follow._steps(place(queue, alone_task, a=2, b=3), queue.name)
    next(steps)
    with outage(one_server, queue, monkeypatch):
        assert next(steps)[1] is False
    assert next(steps)[1] is True
    assert "No workers on" in capsys.readouterr().err


@contextmanager
def outage(server: Any, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Suspend the server and shorten the timeouts of this process."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(queue.client, "within", 0.1)
            yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_order_can_be_repeated_with_count(queue: Queue, consume: Callable[..., Any], path: Path) -> None:
    consume(workers=2)
    put: list[int] = []
    arguments = {"path": str(path), "count": 5}
    order = Order.place(
        order_jobs.piece, arguments, queue=queue.name, store=queue.client, count=3, on_put=put.append
    )
    assert sum(put) == len(order.jobs) == 15
    assert order.result(30) == [10, 10, 10]


def test_empty_order_finishes_immediately(queue: Queue) -> None:
    order = place(queue, order_jobs.piece_of_time, seconds=0.0, count=0)
    assert [step.fraction for step in order.watch()] == [1.0]
    assert order.result(30) == []
    assert order.job_seconds == 0
