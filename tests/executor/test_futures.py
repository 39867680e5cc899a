"""Futures of an executor without workers of its own: states, cancellation, and what many of them cost."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent import futures
from typing import TYPE_CHECKING, Any

import executor_calls as calls
import pytest

from conveyor import Executor, Queue
from conveyor.executor import JobFuture
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.queue.conftest import Bench

MANY = 20_000


@pytest.fixture
def thread() -> Iterator[futures.ThreadPoolExecutor]:
    """Return what runs a call beside the test."""
    with futures.ThreadPoolExecutor(1) as thread:
        yield thread


def test_future_has_the_result_and_the_job(bench: Bench, executor: Executor) -> None:
    future = executor.submit(calls.double, 4)
    assert isinstance(future, futures.Future)
    assert (future.done(), future.running(), future.job.status()) == (False, False, "waiting")
    bench.settle(value=8)
    assert future.result(timeout=20) == 8
    assert (future.done(), future.running(), future.exception(), future.job.status()) == (
        True,
        False,
        None,
        "done",
    )


def test_future_of_a_taken_job_runs_and_is_not_cancelled(bench: Bench, executor: Executor) -> None:
    future = executor.submit(calls.double, 4)
    batch = bench.claim()
    assert future.running()
    assert not future.cancel()
    assert not future.cancelled()
    renewal = bench.worker.run(commands.renew(bench.queue.name, [(future.job.id, batch.token, "S")], 60.0))
    assert not any(map(bool, renewal)), "its worker is not asked to stop it"
    bench.worker.run(commands.release(bench.queue.name, batch.token, [future.job.id]))
    bench.settle(value=8)
    assert future.result(timeout=20) == 8


def test_future_of_an_expired_job_is_cancelled(bench: Bench, executor: Executor) -> None:
    future = executor.submit(calls.double, 4)
    bench.settle(value=["JobExpired", "no worker started it", ""], state="expired")
    assert futures.wait([future], timeout=20).done == {future}
    assert future.cancelled()
    with pytest.raises(futures.CancelledError):
        future.result()


def test_cancel_of_a_waiting_call_cancels_its_job(bench: Bench, executor: Executor) -> None:
    called: list[Any] = []
    first, second = executor.submit(calls.double, 1), executor.submit(calls.double, 2)
    first.add_done_callback(called.append)
    assert first.cancel()
    assert first.cancel()
    assert called == [first]
    assert (first.cancelled(), first.done(), first.running()) == (True, True, False)
    assert (first.job.status(), bench.queue.count().cancelled) == ("cancelled", 1)
    with pytest.raises(futures.CancelledError):
        first.result()
    assert futures.wait([first, second], return_when=futures.FIRST_COMPLETED).done == {first}
    bench.settle(value=4)
    assert second.result(timeout=20) == 4
    assert not second.cancel()


def test_job_that_is_cancelled_elsewhere_cancels_its_future(bench: Bench, executor: Executor) -> None:
    future = executor.submit(calls.double, 1)
    waiter = threading.Thread(target=futures.wait, args=([future],))
    waiter.start()
    assert Queue(bench.queue.name, store=bench.worker).clear() == 1
    waiter.join(20)
    assert future.cancelled()
    assert list(futures.as_completed([future], timeout=0)) == [future]


def test_many_threads_can_cancel_one_future(executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        future = executor.submit(calls.double, 1)
        with futures.ThreadPoolExecutor(8) as threads:
            assert all(threads.map(lambda _, future=future: future.cancel(), range(8)))
        assert list(futures.as_completed([future], timeout=20)) == [future]
    assert caplog.records == []


def test_result_timeout_does_not_affect_the_call(bench: Bench, executor: Executor) -> None:
    future = executor.submit(calls.double, 1)
    for wait in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            wait(timeout=0.01)
    bench.settle(value=2)
    assert future.result(timeout=20) == 2


def test_callbacks_run_in_order_and_may_fail(bench: Bench, executor: Executor) -> None:
    called: list[str] = []

    def fail(_: object) -> None:
        called.append("fails")
        raise ValueError

    future = executor.submit(calls.double, 1)
    future.add_done_callback(fail)
    future.add_done_callback(lambda one: called.append(one.result()))
    bench.settle(value="second")
    bench.eventually(lambda: called == ["fails", "second"])


def test_lost_outcome_is_the_error_of_the_future(bench: Bench, executor: Executor) -> None:
    future = executor.submit(calls.double, 1)
    bench.settle(state="gone")
    assert type(future.exception(timeout=20)).__name__ == "JobGone"


class Interrupted:
    """Stands for a job while the user presses Ctrl-C."""

    def result(self) -> None:
        raise KeyboardInterrupt


def test_interrupt_while_a_result_is_read_reaches_its_thread(executor: Executor) -> None:
    future = executor.submit(calls.double, 1)
    for _ in range(2):  # the second finds the outcome set
        with pytest.raises(KeyboardInterrupt):
            future.finish(Interrupted())  # type: ignore[arg-type]
    assert isinstance(future.exception(0), KeyboardInterrupt)


def test_shutdown_waits_for_calls(
    bench: Bench, executor: Executor, thread: futures.ThreadPoolExecutor
) -> None:
    future = executor.submit(calls.double, 1)
    closing = thread.submit(executor.shutdown)
    bench.eventually(lambda: executor._calls._is_closed)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(calls.double, 2)
    assert not closing.done()
    bench.settle(value=2)
    closing.result(20)
    assert future.done()
    assert bench.queue.count().finished == 1, "the queue is not its own, and stays"


def test_shutdown_without_wait_returns_immediately(bench: Bench, executor: Executor) -> None:
    future = executor.submit(calls.double, 1)
    executor.shutdown(wait=False)
    bench.settle(value=2)
    assert future.result(timeout=20) == 2


def test_shutdown_can_cancel_waiting_calls_only(bench: Bench, executor: Executor) -> None:
    running, *waiting = [executor.submit(calls.double, number) for number in range(5)]
    others = bench.queue.submit(calls.double, 6)
    batch = bench.claim()
    executor.shutdown(wait=False, cancel_futures=True)
    assert [one.cancelled() for one in (running, *waiting)] == [False, True, True, True, True]
    assert others.status() == "waiting"
    bench.worker.run(commands.release(bench.queue.name, batch.token, [running.job.id]))
    bench.settle(2, value=0)
    assert running.result(timeout=20) == 0


def test_callback_can_shut_down_without_wait_only(bench: Bench, executor: Executor) -> None:
    future, refused = executor.submit(calls.double, 1), []

    def close(_: object) -> None:
        with pytest.raises(RuntimeError, match="a callback cannot wait for its executor") as error:
            executor.shutdown()
        executor.shutdown(wait=False)
        refused.append(error)

    future.add_done_callback(close)
    bench.settle(value=2)
    bench.eventually(lambda: refused)
    executor.shutdown()


def test_shutdown_waits_for_callbacks(
    bench: Bench, executor: Executor, thread: futures.ThreadPoolExecutor
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def block(_: object) -> None:
        begun.set()
        assert go_on.wait(20)

    executor.submit(calls.double, 1).add_done_callback(block)
    bench.settle(value=2)
    assert begun.wait(20)
    closing = thread.submit(executor.shutdown)
    bench.eventually(lambda: executor._calls._is_closed)
    assert not closing.done()
    go_on.set()
    closing.result(20)


def test_call_is_put_only_once_there_is_room(bench: Bench, thread: futures.ThreadPoolExecutor) -> None:
    bench.queue.resize(1)
    executor = Executor(bench.queue)
    first = executor.submit(calls.double, 1)
    blocked = thread.submit(executor.submit, calls.double, 2)
    bench.eventually(lambda: bench.queue.count().blocked == 1)
    assert not blocked.done()
    bench.settle(value=1)
    second = blocked.result(20)
    assert isinstance(second, JobFuture)
    bench.settle(value=2)
    assert [first.result(timeout=20), second.result(timeout=20)] == [1, 2]


def test_asyncio_awaits_and_cancels_calls(bench: Bench, executor: Executor) -> None:
    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, calls.double, 1)
        second = asyncio.wrap_future(executor.submit(calls.double, 2))
        second.cancel()
        await asyncio.to_thread(bench.settle, value="first")
        return [await first, second.cancelled(), bench.queue.count().cancelled]

    assert asyncio.run(run()) == ["first", True, 1]


def test_many_futures_take_no_threads_or_connections(bench: Bench, executor: Executor) -> None:
    first = executor.submit(calls.double, 0)
    threads, connections = threading.active_count(), len(bench.server.raw.client_list())
    iterator = executor.map(calls.double, range(MANY))
    assert len(executor._calls.unfinished_ones()) == MANY + 1
    assert threading.active_count() <= threads + 1, "one for callbacks"
    assert len(bench.server.raw.client_list()) <= connections + 1
    bench.settle(MANY + 1, value=7)
    assert sum(iterator) == 7 * MANY
    assert first.done()
    assert executor._calls.unfinished_ones() == []


def test_future_is_released_with_its_job(
    bench: Bench, executor: Executor, eventually: Callable[..., Any]
) -> None:
    future = weakref.ref(executor.submit(calls.double, 1))
    gc.collect()
    assert future() is not None
    bench.settle(value=2)
    eventually(lambda: future() is None)
