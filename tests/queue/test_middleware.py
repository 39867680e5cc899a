"""Middleware around a submit runs once for each job, whichever way it is put, and gives it headers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import (
    BadCall,
    Executor,
    Full,
    Queue,
    ShutDown,
    StoreUnavailable,
    SubmittedCall,
    Task,
    aio,
    around_run,
    around_submit,
    middleware,
    task,
)
from conveyor.order import Order
from conveyor.store import commands, records
from conveyor.testing import inline
from conveyor.wire.call import decode_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Bench

tenant: ContextVar[str] = ContextVar("tenant", default="")
events: list[str] = []


def triple(number: int) -> int:
    return 3 * number


@pytest.fixture(autouse=True)
def only_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove other middleware during the test."""
    monkeypatch.setattr(middleware.submits, "functions", ())
    monkeypatch.setattr(middleware.runs, "functions", ())
    events.clear()


@pytest.fixture
def triples(one_server: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Task[[int], int]:
    """Return a task on the queue of the bench."""
    monkeypatch.setenv("CONVEYOR_URL", one_server.url)
    return Task(triple, f"{__name__}.triple", task(triple).put, task(triple).run).options(
        queue=bench.queue.name
    )


def waiting(queue: Queue) -> list[dict[str, str]]:
    """Return the headers of the waiting jobs, in order."""
    found = queue.client.run(records.page(queue.name, "ready", 0, 999))
    states = [queue.client.run(commands.state(queue.name, job)) for job, _ in found]
    return [dict(decode_call(one.data).headers) for one in states]


def number_and_tell() -> None:
    """Register middleware that numbers the jobs, and tells how each put ended."""
    numbers = itertools.count()

    @around_submit
    def number(call: SubmittedCall) -> Iterator[None]:
        call.headers["number"] = str(next(numbers))
        try:
            yield
        except BaseException as error:
            events.append(f"{call.headers['number']} {type(error).__name__}")
            raise
        events.append(f"{call.headers['number']} put")


def in_asyncio(queue: Queue, function: Any, way: str) -> None:
    async def run() -> None:
        target: aio.Queue[Any] = aio.Queue(queue.name, store=queue.client.url)
        if way == "submit":
            for number in range(3):
                await target.submit(function, number)
        else:
            await target.submit_many(function, [(number,) for number in range(3)])

    asyncio.run(run())


def by_executor(queue: Queue, function: Any, way: str) -> None:
    executor = Executor(queue)
    futures = [executor.submit(function, one) for one in range(3)] if way == "submit" else []
    if way == "map":
        executor.map(function, range(3))
    for one in futures:
        assert not one.done()


WAYS: dict[str, Callable[[Queue, Any], object]] = {
    "Task.submit": lambda _, task: [task.submit(number) for number in range(3)],
    "Task.submit_many": lambda _, task: task.submit_many((number,) for number in range(3)),
    "Queue.submit": lambda queue, task: [queue.submit(task, number) for number in range(3)],
    "Queue.submit_many": lambda queue, task: queue.submit_many(task, [(number,) for number in range(3)]),
    "Queue.submit_parts": lambda queue, task: queue.submit_parts(task, [{"number": n} for n in range(3)]),
    "Queue.map": lambda queue, task: queue.map(task, range(3)),
    "Queue.map, buffered": lambda queue, task: queue.map(task, range(3), buffersize=3),
    "Order": lambda queue, task: Order.place(task, {"number": 1}, store=queue.client, count=3),
    "aio.Queue.submit": lambda queue, task: in_asyncio(queue, task, "submit"),
    "aio.Queue.submit_many": lambda queue, task: in_asyncio(queue, task, "submit_many"),
    "Executor.submit": lambda queue, task: by_executor(queue, task, "submit"),
    "Executor.map": lambda queue, task: by_executor(queue, task, "map"),
}


@pytest.mark.parametrize("way", WAYS)
def test_middleware_surrounds_each_job_once(bench: Bench, triples: Any, way: str) -> None:
    number_and_tell()
    WAYS[way](bench.queue, triples)
    assert waiting(bench.queue) == [{"number": str(number)} for number in range(3)]
    assert events == [f"{number} put" for number in range(3)]
    bench.queue.clear()


def test_submit_async_is_surrounded(bench: Bench, triples: Any) -> None:
    number_and_tell()
    asyncio.run(triples.submit_async(1))
    assert waiting(bench.queue) == [{"number": "0"}]
    assert events == ["0 put"]
    bench.queue.clear()


def test_first_registered_is_outermost_and_sees_the_call(bench: Bench, triples: Any) -> None:
    @around_submit
    def outer(call: SubmittedCall) -> Iterator[None]:
        events.append(f"outer {call.task} {call.queue} {call.args} {call.kwargs} {call.headers}")
        call.headers["tenant"] = "7"
        yield
        events.append("outer end")

    @around_submit
    def inner(call: SubmittedCall) -> Iterator[None]:
        events.append(f"inner {call.headers}")
        yield
        events.append("inner end")

    triples.options(headers={"trace": "a"}).submit(number=4)
    name = f"{__name__}.triple"
    assert events == [
        f"outer {name} {bench.queue.name} () {{'number': 4}} {{'trace': 'a'}}",
        "inner {'trace': 'a', 'tenant': '7'}",
        "inner end",
        "outer end",
    ]
    assert waiting(bench.queue) == [{"trace": "a", "tenant": "7"}]
    bench.queue.clear()


def test_context_of_one_job_does_not_reach_the_next(bench: Bench, triples: Any) -> None:
    @around_submit
    def mark(call: SubmittedCall) -> Iterator[None]:
        call.headers["before"] = tenant.get()
        token = tenant.set(str(call.args[0]))
        yield
        tenant.reset(token)

    tenant.set("caller")
    triples.submit_many((number,) for number in range(3))
    assert tenant.get() == "caller"
    assert waiting(bench.queue) == [{"before": "caller"}] * 3
    bench.queue.clear()


def test_refusal_of_the_server_is_raised_at_the_yield(bench: Bench, triples: Any) -> None:
    number_and_tell()
    bench.queue.resize(2)
    with pytest.raises(Full) as refusal:
        triples.options(wait=0).submit_many((number,) for number in range(4))
    assert refusal.value.accepted == 2
    assert events == ["0 put", "1 put", "2 Full", "3 Full"]
    bench.queue.clear()
    bench.queue.resize(0)
    events.clear()
    bench.queue.shutdown()
    with pytest.raises(ShutDown):
        triples.submit(1)
    assert events == ["4 ShutDown"]


def test_refused_arguments_are_raised_at_the_yield(bench: Bench, triples: Any) -> None:
    number_and_tell()
    with pytest.raises(BadCall, match="number"):
        triples.submit("three")
    assert events == ["0 BadCall"]
    events.clear()
    # The jobs of the part before are put, with their own end.
    with pytest.raises(BadCall) as refusal:
        triples.submit_many([(1,)] * 600 + [("three",)])
    put = refusal.value.accepted
    assert events.count("601 BadCall") == 1
    assert sum(one.endswith("put") for one in events) == put == bench.queue.qsize()
    assert len(events) == 601
    bench.queue.clear()


def test_unreachable_server_is_raised_at_the_yield() -> None:
    number_and_tell()
    with pytest.raises(StoreUnavailable):
        Queue("work", store="redis://127.0.0.1:1/0").submit(triple, 1)
    assert events == ["0 StoreUnavailable"]


def test_error_of_the_middleware_is_raised_by_submit(bench: Bench, triples: Any) -> None:
    number_and_tell()

    @around_submit
    def refuse(call: SubmittedCall) -> Iterator[None]:
        if call.args == (13,):
            raise LookupError("no tenant")
        try:
            yield
        except Full:
            raise RuntimeError("come back later") from None
        if call.args == (14,):
            raise OSError("cannot note it")

    with pytest.raises(LookupError, match="no tenant") as refusal:
        triples.submit(13)
    assert refusal.value.__notes__ == [
        f"raised by the middleware {refuse.__module__}.{refuse.__qualname__} around a submit"
    ]
    assert (events, bench.queue.qsize()) == (["0 LookupError"], 0)
    with pytest.raises(OSError, match="cannot note it"):
        triples.submit_many([(14,), (1,)])
    assert (events[1:], bench.queue.qsize()) == (["1 OSError", "2 put"], 2)
    bench.queue.resize(2)
    with pytest.raises(RuntimeError, match="come back later"):
        triples.options(wait=0).submit(1)
    assert events[3:] == ["3 RuntimeError"]
    bench.queue.clear()
    bench.queue.resize(0)


def test_middleware_cannot_hide_a_refusal(bench: Bench, triples: Any) -> None:
    @around_submit
    def hide(_: SubmittedCall) -> Iterator[None]:
        try:
            yield
        except BadCall:
            events.append("seen")

    with pytest.raises(BadCall) as refusal:
        triples.submit("three")
    assert events == ["seen"]
    assert not getattr(refusal.value, "__notes__", None)
    bench.queue.clear()


@pytest.mark.parametrize("headers", [{"a": 1}, {"a": "b" * 10_000}], ids=["type", "size"])
def test_invalid_headers_of_middleware_are_refused(bench: Bench, triples: Any, headers: Any) -> None:
    @around_submit
    def send(call: SubmittedCall) -> Iterator[None]:
        call.headers.update(headers)
        yield

    with pytest.raises(BadCall, match="header"):
        triples.submit(1)
    assert bench.queue.qsize() == 0


def test_generator_with_another_number_of_yields_is_refused(bench: Bench, triples: Any) -> None:
    @around_submit
    def none(call: SubmittedCall) -> Iterator[None]:
        if call.args == (2,):
            yield
            yield

    with pytest.raises(BadCall, match=r"none around a submit did not yield"):
        triples.submit(1)
    with pytest.raises(BadCall, match=r"none around a submit yielded twice"):
        triples.submit(2)
    bench.queue.clear()


def test_anything_but_a_generator_function_is_refused() -> None:
    with pytest.raises(BadCall, match="not a generator function"):
        around_submit(lambda _: iter(()))
    with pytest.raises(BadCall, match="not a generator function"):
        around_run(triple)  # type: ignore[arg-type]

    async def waits(_: object) -> Any:
        yield

    def takes_nothing() -> Any:
        yield

    with pytest.raises(BadCall, match="waits cannot be middleware around a run: it is asynchronous"):
        around_run(waits)  # type: ignore[arg-type]
    with pytest.raises(BadCall, match=r"takes_nothing .* does not take one argument") as refused:
        around_submit(takes_nothing)  # type: ignore[arg-type]
    assert refused.value.hint == "write def takes_nothing(call)"


def test_module_that_is_read_again_registers_once() -> None:
    for _ in range(2):
        number_and_tell()
    assert len(middleware.submits.functions) == 1


def test_submit_many_stays_lazy_and_bounded(bench: Bench, triples: Any) -> None:
    open_calls: weakref.WeakSet[SubmittedCall] = weakref.WeakSet()
    most = 0

    @around_submit
    def watch(call: SubmittedCall) -> Iterator[None]:
        nonlocal most
        open_calls.add(call)
        most = max(most, len(open_calls))
        yield

    gc.disable()  # nothing may need it
    try:
        assert len(triples.submit_many((number,) for number in range(20_000))) == 20_000
    finally:
        gc.enable()
    assert len(open_calls) <= 1
    assert most < 3000
    bench.queue.clear()


def test_inline_jobs_are_surrounded_one_by_one(bench: Bench, triples: Any) -> None:
    number_and_tell()

    @around_run
    def run(job: Any) -> Iterator[None]:
        events.append(f"run {job.headers['number']}")
        yield

    with inline():
        jobs = triples.submit_many((number,) for number in range(3))
    assert [one.result(10) for one in jobs] == [0, 3, 6]
    assert events == ["0 put", "run 0", "1 put", "run 1", "2 put", "run 2"]


def test_pickled_function_is_surrounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVEYOR_KEY", "k" * 40)
    number_and_tell()
    queue = Queue(bench.queue.name, store=bench.client, serializer="pickle")
    queue.submit(lambda: 1)
    assert waiting(queue) == [{"number": "0"}]
    assert events == ["0 put"]
    queue.clear()
