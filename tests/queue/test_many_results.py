"""Many results: `map`, lazily if it has a buffer size, and `as_completed`."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Queue, WaitTimeout, as_completed
from conveyor.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench


def double(number: int) -> int:
    return 2 * number


def scripts_run(bench: Bench) -> int:
    """Return how many scripts the server has run; a read-only one does not count."""
    return sum(
        bench.server.raw.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"]
        for name in ("eval", "evalsha")
    )


def settle_in_turn(bench: Bench, count: int) -> threading.Thread:
    """End so many jobs in another thread, each with its place as its result, as soon as they are there."""

    def settle() -> None:
        for place in range(count):
            bench.eventually(lambda: bench.queue.count().ready > 0)
            bench.settle(1, value=place)

    thread = threading.Thread(target=settle)
    thread.start()
    return thread


def test_many_jobs_are_put_in_few_round_trips(bench: Bench) -> None:
    bench.queue.submit(double, 0)  # so that the script is known
    before = scripts_run(bench)
    bench.queue.submit_many(double, [(number,) for number in range(1000)])
    assert bench.queue.qsize() == 1001
    assert scripts_run(bench) - before <= 5


def test_map_yields_results_in_order(bench: Bench) -> None:
    results = bench.queue.map(double, range(5))
    assert bench.queue.qsize() == 5
    bench.settle(5, value="same")
    assert list(results) == ["same"] * 5


@pytest.mark.parametrize("buffersize", [1, 2, 3, 10])
def test_map_with_a_buffer_size_takes_items_as_results_are(bench: Bench, buffersize: int) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = bench.queue.map(double, numbers(), buffersize=buffersize)
    assert len(taken) == bench.queue.qsize() == buffersize
    settling = settle_in_turn(bench, 12)
    for place in range(12):
        assert next(results) == place
        assert len(taken) <= place + 1 + buffersize
    settling.join()


def test_map_with_a_buffer_size_ends_with_its_items(bench: Bench) -> None:
    settling = settle_in_turn(bench, 7)
    assert list(bench.queue.map(double, range(7), buffersize=3)) == [*range(7)]
    settling.join()
    assert bench.queue.count().accepted == 7


@pytest.mark.parametrize("buffersize", [0, -1, 1.5, True, "10"])
def test_invalid_buffer_size_is_refused(bench: Bench, buffersize: Any) -> None:
    with pytest.raises(BadCall, match="buffersize"):
        bench.queue.map(double, [1], buffersize=buffersize)
    assert bench.queue.count().accepted == 0


def test_jobs_are_yielded_as_they_finish(bench: Bench) -> None:
    first, second = bench.queue.submit(double, 1), bench.queue.submit(double, 2)
    other = bench.make()
    third = other.submit(double, 3)
    bench.settle(1, queue=other)
    completed = as_completed([first, second, third, first])
    assert next(completed) is third
    bench.settle(2)
    assert {next(completed), next(completed)} == {first, second}
    assert list(completed) == []


def test_unfinished_jobs_are_counted_at_the_timeout(bench: Bench) -> None:
    jobs = bench.queue.submit_many(double, zip(range(3)))
    bench.settle(1)
    completed = as_completed(jobs, timeout=0.2)
    with pytest.raises(WaitTimeout, match=r"^2 of 3 jobs have not finished after 0.2 s$"):
        list(completed)


@pytest.mark.timeout(400)  # a hundred thousand jobs take long on a busy machine
def test_outstanding_jobs_cost_two_connections(bench: Bench) -> None:
    queue = Queue(bench.queue.name, store=Client(bench.server.url, name="outstanding"))
    jobs = queue.submit_many(double, zip(range(100_000)))
    completed = as_completed(jobs)
    settling = threading.Thread(target=bench.settle, args=(100_000,))
    settling.start()
    next(completed)
    named = [one for one in bench.server.raw.client_list() if one["name"] == "outstanding"]
    assert len(named) <= 2  # for commands, and for results
    assert sum(1 for _ in completed) == 99_999
    settling.join()
