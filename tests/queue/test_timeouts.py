"""Timeouts are honored, whatever the server does; here it hangs with the connections open."""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conveyor import Full, Job, Queue, StoreUnavailable, WaitTimeout, task
from conveyor.inbox import inbox_of
from conveyor.store import Client, commands, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Bench
    from conveyor.store.command import Command


@task
def nothing() -> None: ...


CALLS: dict[str, tuple[Callable[[Queue], object], type[Exception]]] = {
    "put": (lambda queue: queue.put("item", timeout=0.3), StoreUnavailable),
    "much to put": (lambda queue: queue.put_many([b"x" * 500_000] * 16, timeout=0.3), StoreUnavailable),
    "submit": (lambda queue: queue.submit(nothing.options(wait=0.3)), StoreUnavailable),
    "get": (lambda queue: queue.get(timeout=0.3), StoreUnavailable),
    "join": (lambda queue: queue.join(timeout=0.3), StoreUnavailable),
}


class Hanging:
    """Suspends the server's process, and resumes it."""

    def __init__(self, bench: Bench) -> None:
        self.pid = bench.server.pid

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)


@pytest.fixture
def hanging(bench: Bench) -> Iterator[Hanging]:
    hanging = Hanging(bench)
    try:
        yield hanging
    finally:
        os.kill(hanging.pid, signal.SIGCONT)


def seconds_of(call: Callable[[], object], error: type[Exception]) -> float:
    before = time.monotonic()
    with pytest.raises(error):
        call()
    return time.monotonic() - before


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new connection"])
def test_timeout_is_honored_while_the_server_hangs(
    bench: Bench, hanging: Hanging, what: str, *, connected: bool
) -> None:
    call, error = CALLS[what]
    bench.queue.put("first")
    bench.queue.get()
    bench.queue.task_done()
    if not connected:
        bench.client.close()
    hanging.stop()
    assert 0.25 < seconds_of(lambda: call(bench.queue), error) < 5.0
    assert bench.client._idle == []  # a reply is still pending on its last one


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new connection"])
def test_result_timeout_is_honored_while_the_server_hangs(
    bench: Bench, hanging: Hanging, *, connected: bool
) -> None:
    job = bench.queue.submit(textwrap.dedent, "abc")
    if not connected:
        bench.client.close()
    hanging.stop()
    assert 0.25 < seconds_of(lambda: job.result(timeout=0.3), WaitTimeout) < 5.0
    assert 0.25 < seconds_of(lambda: job.exception(timeout=0.3), WaitTimeout) < 5.0
    os.kill(hanging.pid, signal.SIGCONT)
    bench.settle(value=3)
    assert job.result(timeout=20) == 3  # it was expected all the same


def test_get_timeout_is_honored_if_the_server_starts_to_hang(
    bench: Bench, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = commands.await_bell

    def stop_first(queues: list[str], seconds: float) -> Command:
        hanging.stop()
        return original(queues, seconds)

    bench.queue.put("noted")
    bench.queue.get()
    monkeypatch.setattr(commands, "await_bell", stop_first)
    assert 0.25 < seconds_of(lambda: bench.queue.get(timeout=0.3), StoreUnavailable) < 5.0


def test_put_to_a_full_queue_raises_full_if_the_server_hangs(
    bench: Bench, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = commands.leave

    def stop_first(queue: str, waiter: str) -> Command:
        hanging.stop()
        return original(queue, waiter)

    queue = Queue(bench.queue.name, 1, store=bench.client)
    queue.put("first")
    monkeypatch.setattr(commands, "leave", stop_first)
    assert 0.25 < seconds_of(lambda: queue.put("second", timeout=0.3), Full) < 5.0


def test_interrupted_put_raises_if_the_server_is_unavailable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> Command:
        bench.server.stop()
        raise KeyboardInterrupt

    queue = Queue(bench.queue.name, 1, store=bench.client)
    queue.put("first")
    monkeypatch.setattr(waiting.commands, "await_wake", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            queue.put("second")
    finally:
        bench.server.start()


def test_connection_made_under_a_timeout_has_the_default_later(bench: Bench) -> None:
    bench.queue.put("noted")
    bench.client.close()
    bench.queue.get(timeout=0.1)
    (connection,) = bench.client._idle
    bench.queue.count()
    assert connection.timeout == 10.0


async def awaited(job: Job[int]) -> int:
    return await job


@pytest.mark.parametrize("wait", [Job.result, lambda job: asyncio.run(awaited(job))], ids=["result", "await"])
def test_result_arrives_if_the_server_hung_during_the_query(
    bench: Bench, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, wait: Callable[[Job[int]], int]
) -> None:
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 0.2)
    client = Client(bench.server.url, patience=0.3)
    job = Queue(bench.queue.name, store=client).submit(textwrap.dedent, "abc")
    hanging.stop()
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(wait, job)
        bench.eventually(lambda: waiting.done() or inbox_of(client).thread is not None)  # its query failed
        os.kill(hanging.pid, signal.SIGCONT)
        bench.settle(1, 3)
        assert waiting.result(60) == 3
