"""Order of jobs: priority, delay, precedence of queues, pause."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import flow_jobs
import pytest
from consumer_kit import go, lines

from conveyor import BadCall, Consumer, Queue, task
from conveyor.consumer.settings import read_queues

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

mark = task(name="consumer_jobs.mark")(jobs.mark)


def test_worker_takes_jobs_by_priority_and_then_in_put_order(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    handles = [
        queue.submit(mark.options(priority=priority), str(path), f"{priority}-{number}")
        for number in range(3)
        for priority in (0, 9, 255)
    ]
    consume()
    for job in handles:
        job.result(30)
    assert lines(path) == [f"{priority}-{number}" for priority in (255, 9, 0) for number in range(3)]


def test_delayed_job_runs_when_it_is_due(
    queue: Queue, consume: Callable[..., Any], quickest: Callable[..., float]
) -> None:
    consume()

    def seconds() -> float:
        began = time.monotonic()
        job = queue.submit(task(name="consumer_jobs.nothing")(jobs.nothing).options(delay=0.4))
        assert job.status() == "delayed"
        job.result(30)
        return time.monotonic() - began

    assert 0.39 <= quickest(seconds, 1.5) < 1.5


def test_first_queue_with_a_job_is_served_first(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    first, second = (Queue(f"{queue.name}-{name}", store=queue.client) for name in ("first", "second"))
    handles = [
        one.submit(jobs.mark, str(path), f"{one.name.partition('-')[2]}{number}")
        for number in range(3)
        for one in (second, first)
    ]
    consume((first.name, second.name))
    for job in handles:
        job.result(30)
    assert lines(path) == ["first0", "first1", "first2", "second0", "second1", "second2"]


def test_worker_of_several_queues_is_woken_by_each(
    queue: Queue, consume: Callable[..., Any], quickest: Callable[..., float]
) -> None:
    names = [f"{queue.name}-{number}" for number in range(3)]
    consume(names)
    for place in (2, 0, 1):
        other = Queue(names[place], store=queue.client)

        def seconds(other: Queue = other) -> float:
            began = time.monotonic()
            assert other.submit(jobs.add, 1, 1).result(30) == 2
            return time.monotonic() - began

        assert quickest(seconds, 1.0) < 1.0


def test_paused_queue_starts_no_job_but_running_jobs_continue(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume(workers=2)
    held = queue.submit(jobs.hold, str(path), "held")
    eventually(lambda: lines(path))
    queue.pause()
    waiting = queue.submit(jobs.add, 1, 2)
    go(path)
    assert held.result(30) == "held"
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    assert waiting.status() == "waiting"
    queue.resume()
    assert waiting.result(30) == 3


@pytest.mark.parametrize("names", ["text", "dict"])
def test_queues_with_weights_are_served_by_them(
    queue: Queue, consume: Callable[..., Any], path: Path, kind: str, names: str
) -> None:
    often, seldom = (Queue(f"{queue.name}-{name}", store=queue.client) for name in ("often", "seldom"))
    handles = [
        job
        for one in (often, seldom)
        for job in one.submit_many(flow_jobs.stamp, [(str(path), one.name.partition("-")[2], 0, 0.003)] * 100)
    ]
    given = {often.name: 4, seldom.name: 1}
    queues, weights = read_queues(
        given if names == "dict" else [f"{name}:{weight}" for name, weight in given.items()]
    )
    consume(queues, workers=1, kind=kind, weights=weights, modules=("flow_jobs",))
    for job in handles:
        job.result(60)
    first = [line.split()[1] for line in lines(path) if line.startswith("start")][:100]
    assert 3 <= first.count("seldom") <= 45  # 20 on average; both queues had jobs until then


@pytest.mark.parametrize("queues", [["a:0"], ["a:x"], ["a:1001", "b"], {"a": -1}, {"a": 1.5}, ["a:"]])
def test_wrong_weights_are_refused(queues: Any) -> None:
    with pytest.raises(BadCall, match="the weight of a queue must be a whole number"):
        Consumer(queues)
