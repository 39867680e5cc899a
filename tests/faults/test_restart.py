"""The server fails during processing and comes back: all results are right, and no job ran twice for it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import order_jobs
import psutil
import pytest
import streaming_jobs
from consumer_kit import Running, forking, go, lines

from conveyor import Consumer, DurabilityUnknown, Job, JobGone, Queue, store
from conveyor.consumer.settings import LEASE
from conveyor.monitor import Inspector
from conveyor.order import Order
from conveyor.store import embedded, fitness
from conveyor.store.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launcher import Launcher


@pytest.fixture
def own_queue(alone: None) -> Iterator[Queue]:
    """Provide a queue on a separate embedded server with an append-only file."""
    store._embedded_clients.clear()
    queue = Queue("work")
    yield queue
    queue.client.close()
    embedded.stop()
    store._embedded_clients.clear()


@pytest.fixture
def start(
    own_queue: Queue, eventually: Callable[..., Any], consumer_launcher: Launcher
) -> Iterator[Callable[[int], Running]]:
    """Return a function that starts a consumer on it with the given number of workers."""
    started = []

    def start(workers: int) -> Running:
        consumer = Consumer("work", workers, tasks=["consumer_jobs", "order_jobs", "streaming_jobs"])
        with forking(consumer_launcher):
            consumer.start()
        started.append(Running(consumer, own_queue.client, eventually))
        return started[-1]

    yield start
    for running in started:
        running.end()


@pytest.fixture
def running(start: Callable[[int], Running]) -> Running:
    """Run a consumer of two workers on it."""
    return start(2)


def kill_server() -> None:
    pid = embedded.status().pid
    assert pid
    server = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([server], 5)


def restart() -> None:
    embedded.stop()
    embedded.start()


def all_right(queue: Queue, handles: list[Any], wanted: list[Any]) -> None:
    assert [job.result(30) for job in handles] == wanted
    count = queue.count()
    assert (count.live, count.dead, count.lapsed, count.imbalance) == (0, 0, 0, 0)


@pytest.mark.parametrize("fault", [restart, kill_server])
def test_server_restart_during_processing_loses_no_job(
    fault: Callable[[], None], own_queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    before = running.workers()
    handles = own_queue.submit_many(jobs.mark_and_wait, [(str(path), n) for n in range(200)])
    for share in (40, 120):
        eventually(lambda share=share: len(lines(path)) >= share)
        fault()
    assert [job.result(30) for job in handles] == list(range(200))
    assert set(map(int, lines(path))) == set(range(200))
    assert running.workers() == before
    if fault is restart:  # a server that is killed while its disk is busy may lose the last second
        all_right(own_queue, handles, list(range(200)))
        assert len(lines(path)) == own_queue.count().finished == 200, "each ran once"


@pytest.mark.parametrize("fault", [restart, kill_server])
def test_server_restart_during_a_stream_costs_no_item(
    fault: Callable[[], None], own_queue: Queue, start: Callable[..., Running], path: Path
) -> None:
    start(1)
    job = own_queue.submit(streaming_jobs.half, str(path), 1000)
    found = []
    for item in job.stream():
        found.append(item)
        if item == 499:
            fault()
            go(path)
        elif item == 700:
            fault()
    assert found == list(range(1000))
    assert job.result(30) is None
    if fault is restart:  # as above; with the lease of the run it runs again
        assert len(lines(path)) == 1, "it ran once"


def test_readers_in_asyncio_continue_after_a_server_restart(
    own_queue: Queue, running: Running, path: Path
) -> None:
    async def read() -> list[list[int]]:
        job = own_queue.submit(streaming_jobs.half, str(path), 1000)
        waiting = [asyncio.create_task(collect(job)) for _ in range(3)]
        await asyncio.to_thread(kill_server)
        await asyncio.to_thread(go, path)
        return await asyncio.gather(*waiting)

    async def collect(job: Job[Any]) -> list[int]:
        return [item async for item in job.stream_async()]

    assert asyncio.run(read()) == [list(range(1000))] * 3


def test_items_that_the_server_lost_are_yielded_again(
    own_queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    """The run ends, since it no longer has them, and the next one fills the gap; the reader continues at its item."""
    job = own_queue.submit(streaming_jobs.half, str(path), 1000)
    items = job.stream()
    assert list(itertools.islice(items, 500)) == list(range(500))
    own_queue.client.run_all(
        [Command(("DEL", f"conveyor:{{work}}:{name}")) for name in ("streams", f"stream:{job.id}")]
    )
    go(path)
    assert list(items) == list(range(500, 1000))
    assert list(job.stream()) == list(range(1000))
    assert len(lines(path)) == 2
    attempt = Inspector(own_queue.client).job(job.id, "work").attempts[0]
    assert "the server has lost items" in attempt.message


def test_server_restart_during_an_order_loses_no_part(
    own_queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    order = Order.place(order_jobs.piece, {"path": str(path), "count": 60})
    eventually(lambda: len(lines(path)) >= 20)
    kill_server()
    fractions = [step.fraction for step in order.watch()]
    assert fractions[-1] == 1.0
    assert order.result(30) == sum(range(60))
    assert order.failed() == []
    all_right(own_queue, order.jobs, list(range(60)))


def test_delayed_job_runs_when_due_after_a_restart(
    own_queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    job = own_queue.submit(jobs.steady.options(delay=1.0), str(path), 0)
    kill_server()
    assert job.result(30) == 1


def test_jobs_finished_during_an_outage_are_settled_afterwards(
    own_queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    handles = [own_queue.submit(jobs.hold, str(path), name) for name in ("a", "b")]
    eventually(lambda: len(lines(path)) == 2)
    before = running.workers()
    embedded.stop()
    go(path)
    until = time.monotonic() + 4.0
    eventually(lambda: time.monotonic() > until)
    embedded.start()
    all_right(own_queue, handles, ["a", "b"])
    assert len(lines(path)) == 2
    eventually(lambda: running.workers() == before)  # a process that was to revive the server has ended


def test_exiting_consumer_keeps_its_results_during_an_outage(
    own_queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    job = own_queue.submit(jobs.hold, str(path), "kept")
    eventually(lambda: lines(path))
    embedded.stop()
    running.signal()
    go(path)
    until = time.monotonic() + 4.0
    eventually(lambda: time.monotonic() > until)
    embedded.start()
    assert job.result(30) == "kept"
    eventually(running.has_left)
    assert running.status == 0
    assert len(lines(path)) == 1


def test_job_of_a_worker_that_died_in_an_outage_runs_again(
    own_queue: Queue, running: Running, path: Path, eventually: Callable[..., Any]
) -> None:
    job = own_queue.submit(jobs.hold, str(path), "again")
    pid = int(eventually(lambda: lines(path))[0].split()[1])
    embedded.stop()
    psutil.Process(pid).kill()
    eventually(lambda: pid not in {one.pid for one in running.workers()})
    embedded.start()
    eventually(lambda: len(running.workers()) == 2)
    eventually(lambda: len(lines(path)) == 2)
    go(path)
    assert job.result(30) == "again"
    assert own_queue.count().imbalance == 0


def test_replacement_does_not_overtake_jobs_of_a_dead_worker(
    own_queue: Queue, start: Callable[[int], Running], path: Path, eventually: Callable[..., Any]
) -> None:
    own_queue.submit_many(jobs.brief, [(0,)] * 100)
    own_queue.submit(jobs.hold, str(path), "held")
    marks = path.with_suffix(".marks")
    rest = own_queue.submit_many(jobs.mark, [(str(marks), str(number)) for number in range(200)])
    start(1)
    (held,) = eventually(lambda: lines(path))
    server = psutil.Process(embedded.status().pid)
    server.suspend()
    worker = psutil.Process(int(held.split()[1]))
    worker.kill()
    eventually(lambda: not worker.is_running())
    until = time.monotonic() + 3.0  # for a claim of the next worker to reach the stopped server
    eventually(lambda: time.monotonic() > until)
    server.resume()
    go(path)
    for job in rest:
        job.result(30)
    assert marks.read_text().split() == [str(number) for number in range(200)]


def test_idle_consumers_exit_promptly_during_an_outage(
    own_queue: Queue, running: Running, eventually: Callable[..., Any]
) -> None:
    own_queue.submit(jobs.add, 1, 1).result(30)
    embedded.stop()
    running.signal()
    eventually(running.has_left, LEASE - 2.0)
    assert running.status == 0
    embedded.start()


def test_embedded_server_syncs_before_its_reply_if_fsync_is_set(
    own_queue: Queue, eventually: Callable[..., Any]
) -> None:
    def synced() -> str:
        return str(own_queue.client.run(fitness.setting("appendfsync")))

    queue = Queue("work", durability="fsync", store=own_queue.client)
    assert synced() == "everysec"
    queue.put("first")
    assert synced() == "always"
    kill_server()
    with pytest.raises(DurabilityUnknown):  # it was started as usual, and the put was sent to it again
        queue.put("second")
    queue.put("third")
    assert (synced(), queue.qsize()) == ("always", 3)


def lose_everything() -> None:
    embedded.stop()
    for file in embedded.state_folder().joinpath("appendonlydir").iterdir():
        file.unlink()
    embedded.start()


def test_wait_for_a_job_unknown_to_the_server_raises_job_gone(own_queue: Queue) -> None:
    name = own_queue.submit(jobs.nothing).id  # without its handle it is not put again
    lose_everything()
    with pytest.raises(JobGone):
        Job[None](name, "work").result(30)


def test_job_runs_even_if_the_server_lost_its_file(own_queue: Queue, start: Callable[[int], Running]) -> None:
    job = own_queue.submit(jobs.add, 1, 2)
    lose_everything()
    assert not job.done()
    start(1)
    assert job.result(30) == 3
