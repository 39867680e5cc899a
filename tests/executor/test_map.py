"""`map` of an executor: order, errors at their place, and calls that are put ahead only as far as wanted."""

from __future__ import annotations

import functools
import gc
import itertools
import weakref
from typing import TYPE_CHECKING, Any

import executor_calls as calls
import numpy as np
import pytest

from conveyor import BadCall, Executor
from conveyor.store import commands
from conveyor.wire import codec
from conveyor.wire.outcome import describe_text, encode_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.queue.conftest import Bench


def test_results_come_in_order_of_the_calls(bench: Bench, executor: Executor) -> None:
    iterator = executor.map(calls.add, [1, 2, 3], itertools.count())
    batch = bench.claim(3)
    for job, result in reversed([*zip(batch.jobs, "abc", strict=True)]):
        bench.worker.run(commands.finish(bench.queue.name, batch.token, [settled(job.id, result)]))
    assert list(iterator) == ["a", "b", "c"]


def test_map_puts_all_calls_before_the_first_result(bench: Bench, executor: Executor) -> None:
    executor.map(calls.double, range(1200))
    assert bench.queue.qsize() == 1200


@pytest.mark.parametrize("number", [0, 1])
def test_map_of_few_or_no_calls(bench: Bench, executor: Executor, number: int) -> None:
    iterator = executor.map(calls.double, range(number))
    bench.settle(number, value=7)
    assert list(iterator) == [7] * number


def test_partial_brings_its_arguments_to_each_call(execute: Callable[..., Executor]) -> None:
    executor = execute(2)
    assert list(executor.map(functools.partial(calls.add, 10), range(3), chunksize=2)) == [10, 11, 12]
    assert list(executor.map(functools.partial(calls.add, 10, third=100), range(3))) == [110, 111, 112]


def test_error_comes_at_its_place_and_cancels_the_rest(bench: Bench, executor: Executor) -> None:
    iterator = executor.map(calls.double, range(4))
    bench.settle(value="first")
    batch = bench.claim()
    outcome = failed_outcome(batch.jobs[0].id)
    bench.worker.run(commands.fail(bench.queue.name, batch.token, outcome))
    assert next(iterator) == "first"
    with pytest.raises(ZeroDivisionError, match="by nothing"):
        next(iterator)
    assert (bench.queue.qsize(), bench.queue.count().cancelled) == (0, 2)
    with pytest.raises(StopIteration):
        next(iterator)


def test_timeout_cancels_what_has_not_started(bench: Bench, executor: Executor) -> None:
    iterator = executor.map(calls.double, range(3), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(iterator)
    assert bench.queue.count().cancelled == 3


def test_abandoned_iterator_cancels_what_has_not_started(bench: Bench, executor: Executor) -> None:
    iterator = executor.map(calls.double, range(3))
    bench.settle(value="first")
    assert next(iterator) == "first"
    del iterator
    gc.collect()
    assert bench.queue.count().cancelled == 2


def test_invalid_argument_is_refused_and_cancels_what_was_put(bench: Bench, executor: Executor) -> None:
    with pytest.raises(BadCall, match=r"double\(\): argument 'number'"):
        executor.map(calls.double, [*range(700), "x"])
    assert (bench.queue.qsize(), bench.queue.count().cancelled) == (0, bench.queue.count().accepted)
    bench.eventually(lambda: executor._calls.unfinished_ones() == [])


def test_iterable_that_raises_cancels_what_was_put(bench: Bench, executor: Executor) -> None:
    def numbers() -> Iterator[int]:
        yield from range(6000)
        raise LookupError("no more numbers")

    with pytest.raises(LookupError, match="no more numbers"):
        executor.map(calls.double, numbers())
    assert bench.queue.qsize() == 0


def test_buffersize_limits_the_calls_ahead(bench: Bench, executor: Executor) -> None:
    taken: list[int] = []
    numbers = (taken.append(number) or number for number in itertools.count())
    iterator = executor.map(calls.double, numbers, buffersize=3)
    assert (taken, bench.queue.qsize()) == ([0, 1, 2], 3)
    for number in range(5):
        bench.settle(value=number)
        assert next(iterator) == number
        assert taken == [*range(4 + number)]
    assert bench.queue.qsize() == 3
    iterator.close()
    assert bench.queue.qsize() == 0


def test_buffered_map_ends_with_its_iterables(bench: Bench, executor: Executor) -> None:
    iterator = executor.map(calls.double, range(3), buffersize=2)
    bench.settle(2, value=7)
    assert next(iterator) == 7
    bench.settle(value=8)
    assert list(iterator) == [7, 8]


def test_buffered_map_after_shutdown_raises(bench: Bench, executor: Executor) -> None:
    iterator = executor.map(calls.double, range(9), buffersize=1)
    bench.settle(value=7)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        next(iterator)


def test_buffered_map_does_not_keep_its_executor_alive(bench: Bench) -> None:
    executor = Executor(bench.queue)
    iterator = executor.map(calls.double, range(9), buffersize=2)
    gone = weakref.ref(executor)
    del executor
    gc.collect()
    assert gone() is None
    bench.settle(2, value=7)
    assert list(iterator) == [7, 7]


def test_iterator_keeps_no_reference_to_a_result(bench: Bench, executor: Executor) -> None:
    iterator = executor.map(calls.double, range(3))
    bench.settle(3, value=np.zeros(3))
    for result in iterator:
        gone = weakref.ref(result)
        del result
        gc.collect()
        assert gone() is None


def test_sizes_are_checked(executor: Executor) -> None:
    for chunksize in (0, -1):
        with pytest.raises(ValueError, match="chunksize must be >= 1"):
            executor.map(calls.double, [1], chunksize=chunksize)
    for buffersize in (0, -1):
        with pytest.raises(ValueError, match="buffersize must be None or > 0"):
            executor.map(calls.double, [1], buffersize=buffersize)
    for wrong in ("1", 1.5):
        with pytest.raises(TypeError, match="buffersize must be an integer or None"):
            executor.map(calls.double, [1], buffersize=wrong)


def settled(job_id: str, value: object) -> commands.Settlement:
    return commands.Settlement(job_id, encode_settled("done", codec.encode(value)), 60.0)


def failed_outcome(job_id: str) -> Any:
    error = describe_text("ZeroDivisionError", "by nothing", "Traceback")
    return commands.Settlement(job_id, encode_settled("failed", error), 60.0)
