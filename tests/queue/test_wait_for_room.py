"""The option `wait` limits how long a submit waits for room, whichever way the calls are put."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Full, Queue, Task, clock
from conveyor.order import Order
from conveyor.store import records, waiting
from conveyor.tasks import registry, task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Bench


def triple(number: int) -> int:
    return 3 * number


Triple = Task[[int], int]


@pytest.fixture
def triples(bench_of_each: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Triple]:
    """Return a task whose queue has room for three jobs."""
    bench_of_each.queue.resize(3)
    monkeypatch.setenv("CONVEYOR_URL", bench_of_each.server.url)
    yield task(queue=bench_of_each.queue.name)(triple)
    registry.tasks.pop(f"{__name__}.triple")


WAYS: dict[str, Callable[[Queue, Triple], object]] = {
    "Task.submit_many": lambda _, task: task.submit_many((n,) for n in range(5)),
    "Queue.submit_many": lambda queue, task: queue.submit_many(task, [(n,) for n in range(5)]),
    "Queue.submit_parts": lambda queue, task: queue.submit_parts(task, [{"number": n} for n in range(5)]),
    "Queue.map": lambda queue, task: queue.map(task, range(5)),
}


def ready(bench: Bench) -> list[str]:
    return [job for job, _ in bench.client.run(records.page(bench.queue.name, "ready", 0, 99))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wait", [0, 0.1, timedelta(seconds=0.1)], ids=str)
def test_full_names_the_jobs_that_were_put(
    bench_of_each: Bench, triples: Triple, way: str, wait: Any
) -> None:
    with pytest.raises(Full) as refusal:
        WAYS[way](bench_of_each.queue, triples.options(wait=wait))
    assert (refusal.value.accepted, refusal.value.ids) == (3, ready(bench_of_each))
    assert bench_of_each.queue.count().blocked == 0


def test_single_call_is_refused_without_waiting(
    bench_of_each: Bench, triples: Triple, monkeypatch: pytest.MonkeyPatch
) -> None:
    triples.submit_many([(1,), (2,), (3,)])
    before = ready(bench_of_each)
    monkeypatch.setattr(waiting.commands, "await_wake", lambda *_: pytest.fail("it waits for room"))
    hasty = triples.options(wait=0)
    for submit in (hasty.submit, lambda number: bench_of_each.queue.submit(hasty, number)):
        with pytest.raises(Full) as refusal:
            submit(4)
        assert (refusal.value.accepted, list(refusal.value.ids)) == (0, [])
    assert ready(bench_of_each) == before


def test_call_waits_for_its_seconds_and_no_longer(bench_of_each: Bench, triples: Triple) -> None:
    triples.submit_many([(1,), (2,), (3,)])
    before = time.monotonic()
    with pytest.raises(Full):
        triples.options(wait=0.3).submit(4)
    assert 0.3 <= time.monotonic() - before < 5.0


@pytest.mark.parametrize("wait", [None, 60, timedelta(minutes=1)], ids=str)
def test_call_is_put_once_there_is_room(bench_of_each: Bench, triples: Triple, wait: Any) -> None:
    triples.submit_many([(1,), (2,), (3,)])
    with ThreadPoolExecutor() as threads:
        put = threads.submit(triples.options(wait=wait).submit, 4)
        bench_of_each.eventually(lambda: bench_of_each.queue.count().blocked == 1)
        bench_of_each.claim()
        assert put.result(30).id in ready(bench_of_each)


def test_order_names_the_jobs_of_its_earlier_slices(
    bench_of_each: Bench, triples: Triple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.order.SLICE", 2)
    with pytest.raises(Full) as refusal:
        Order.place(triples.options(wait=0), {"number": 5}, store=bench_of_each.client, count=7)
    assert (refusal.value.accepted, refusal.value.ids) == (3, ready(bench_of_each))


def test_blocked_call_is_due_at_its_time(
    bench_of_each: Bench, triples: Triple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for room for half an hour, by this host's clock, of the hour until then."""
    triples.submit_many([(1,), (2,), (3,)])
    due = datetime.now(UTC) + timedelta(hours=1)
    with ThreadPoolExecutor() as threads:
        put = threads.submit(triples.options(delay=due).submit, 4)
        bench_of_each.eventually(lambda: bench_of_each.queue.count().blocked == 1)
        monkeypatch.setattr(clock, "wall", lambda: time.time() + 1800.0)
        bench_of_each.claim()
        job = put.result(30)
    key = f"conveyor:{{{bench_of_each.queue.name}}}:delayed"
    seconds, _ = bench_of_each.server.raw.time()
    assert bench_of_each.server.raw.zscore(key, job.id) / 1000 - seconds == pytest.approx(1800.0, abs=60.0)
