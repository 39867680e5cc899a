"""Jobs are distributed one by one unless they are tiny: none waits behind a long one while a worker is idle."""

from __future__ import annotations

import fcntl
import time
from threading import Thread
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
from consumer_kit import go, lines, make_worker

from conveyor import Queue, events
from conveyor.store.waiting import MAX_BLOCK
from conveyor.tasks import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def test_ten_idle_workers_run_ten_long_jobs(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume(workers=10)
    handles = [queue.submit(jobs.hold, str(path), str(number)) for number in range(10)]
    eventually(lambda: len(lines(path)) == 10)
    assert len({line.split()[1] for line in lines(path)}) == 10
    go(path)
    assert [job.result(30) for job in handles] == [str(number) for number in range(10)]


def test_no_long_job_waits_behind_another_after_a_burst(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    short = queue.submit_many(jobs.brief, [(1,)] * 200)
    handles = [queue.submit(jobs.hold, str(path), str(number)) for number in range(10)]
    consume(workers=10)
    eventually(lambda: len(lines(path)) == 10)
    assert [job.result(30) for job in short] == [1] * 200
    go(path)
    assert [job.result(30) for job in handles] == [str(number) for number in range(10)]
    assert len(lines(path)) == 10, "each ran once"


def test_long_jobs_behind_tiny_ones_are_passed_to_other_workers(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    queue.pause()
    for _ in range(3):
        queue.submit_many(jobs.nothing, [()] * 400)
        queue.submit_many(jobs.hold, [(str(path),)])
    consume(workers=3)
    queue.resume()
    eventually(lambda: len(lines(path)) == 3)
    go(path)
    queue.join(10)
    count = queue.count()
    assert (count.finished, count.imbalance) == (1203, 0)


def test_results_are_sent_before_a_long_job_of_the_batch_ends(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    short = queue.submit_many(jobs.add, [(n, 1) for n in range(100)])
    long = queue.submit(jobs.hold, str(path), "it")
    consume(workers=1)
    assert [job.result(30) for job in short] == list(range(1, 101))
    eventually(lambda: lines(path))
    assert not long.done()
    go(path)
    assert long.result(30) == "it"


def test_idle_worker_takes_a_job_immediately(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    eventually(lambda: {one.state for one in running.report().workers} == {"idle"})
    queue.submit(jobs.nothing).result(30)
    times = []
    for _ in range(20):
        began = time.monotonic()
        queue.submit(jobs.nothing).result(30)
        times.append(time.monotonic() - began)
    assert sorted(times)[len(times) // 2] < MAX_BLOCK / 4, "a put wakes it"


def test_job_behind_a_gil_holder_is_passed_to_another_worker(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    queue.submit_many(jobs.nothing, [()] * 400)
    with path.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        queue.submit_many(jobs.lock_with_gil, [(str(path), lock.name)] * 2)
        consume()
        eventually(lambda: lines(path))
        consume()
        eventually(lambda: len(lines(path)) == 2)
        assert len(set(lines(path))) == 2, "in two processes"
    queue.join(10)
    count = queue.count()
    assert (count.finished, count.imbalance, len(lines(path))) == (402, 0, 2)


def loaded() -> Registry:
    registry = Registry()
    registry.load("consumer_jobs")
    return registry


def test_worker_of_many_queues_asks_only_those_with_jobs(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"many{number}" for number in range(50))
    for number in (40, 7, 23):
        Queue(names[number], store=queue.client).submit(jobs.nothing)
    worker = make_worker(queue, queue.client, loaded(), 1, names)
    trips: list[int] = []
    send = worker._send

    def count_and_send(sent: list[Any], **options: Any) -> Any:
        trips.append(len(sent))
        return send(sent, **options)

    monkeypatch.setattr(worker, "_send", count_and_send)
    served = []
    while (found := worker._claim())[1]:
        worker._run_batch(*found)
        served.append(found[0])
    assert served == ["many7", "many23", "many40"]
    assert len(trips) == 7, "a look and a claim for each, and a last look"


def test_wake_ups_that_are_left_over_are_taken_together(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"{queue.name}-{number}" for number in range(5))
    for name in names:
        left = Queue(name, store=queue.client)
        left.submit_many(jobs.nothing, [()] * 30)
        left.clear()
    worker = make_worker(queue, queue.client, loaded(), 1, names)
    replies: list[Any] = []
    wait = worker._await

    def wait_and_stop(*sent: Any) -> Any:
        replies.append(wait(*sent))
        worker._is_stopping = replies[-1] is None
        return replies[-1]

    monkeypatch.setattr(worker, "_await", wait_and_stop)
    worker._work()
    assert len(replies) == 7, "one; the other 29, and those of each queue; and none"


def test_worker_without_a_monitor_thread_claims_single_jobs(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[events.Event] = []
    monkeypatch.setattr(events, "_subscribers", [told.append])

    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    handles = queue.submit_many(jobs.nothing, [()] * 10)
    worker = make_worker(queue, queue.client, loaded(), 1)
    sizes = []
    for start in (refuse, refuse, Thread.start):
        worker.sizer.size = 4
        with monkeypatch.context() as threads:
            threads.setattr(Thread, "start", start)
            name, batch = worker._claim()
            sizes.append(len(batch.jobs))
            worker._run_batch(name, batch)
    worker.monitor.rest()
    worker._settle_all()
    assert sizes == [1, 1, 4]
    assert [job.result(30) for job in handles[:6]] == [None] * 6
    assert told == [events.ThreadRefused("host/1", "can't start new thread")]


def test_rest_of_a_batch_of_brief_jobs_is_released(queue: Queue) -> None:
    handles = queue.submit_many(jobs.brief, [(1,)] * 300)
    worker = make_worker(queue, queue.client, loaded(), 300)
    worker._run_batch(*worker._claim())
    worker._settle_all()
    worker.monitor.rest()
    done = worker.jobs_done
    assert 0 < done < 300
    assert (queue.count().qsize, queue.count().leased) == (300 - done, 0)
    assert [job.result(30) for job in handles[:done]] == [1] * done
