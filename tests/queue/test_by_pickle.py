"""A queue with `serializer="pickle"`: functions without a name, models and closures travel, signed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Executor, JobFailed, LifoQueue, PriorityQueue, Queue, Untrusted, aio, task
from conveyor.store import commands
from conveyor.tasks import registry
from conveyor.wire import call, signed
from conveyor.wire.redaction import preview

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Server

KEY = "a key of more than thirty-two characters"


class Model:
    """Not data, and the fields of its objects are not known."""

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.predict = lambda value: value * factor


@task(queue="models", serializer="pickle")
def scaled(model: Any) -> Any:
    return Model(model.factor * 2)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "_folders", [])
    monkeypatch.setenv(signed.KEY_VARIABLE, KEY)


@pytest.fixture
def pool(one_server: Server) -> Iterator[Executor]:
    with Executor(max_workers=2, serializer="pickle", store=one_server.client) as made:
        yield made


def test_lambdas_closures_methods_and_classes_run_in_workers(pool: Executor) -> None:
    factor = 3
    assert list(pool.map(lambda value: value * factor, range(100))) == [3 * value for value in range(100)]
    assert pool.submit(Model(4).predict, 6).result(60) == 24
    made = pool.submit(Model, 5).result(60)
    assert (type(made), made.factor, made.predict(2)) == (Model, 5, 10)

    def inner(value: int) -> Any:
        return value if value == 0 else inner(value - 1)

    assert pool.submit(inner, 5).result(60) == 0


SESSION = """
from conveyor import Executor, Queue

def double(number): return 2 * number

with Executor("session", 1, serializer="pickle") as pool:
    print(pool.submit(double, 3).result(60), Queue("session", serializer="pickle").submit(double, 4).result(60))

"""


@pytest.mark.parametrize("option", ["-", "-i"])
def test_functions_of_a_session_travel(one_server: Server, option: str) -> None:
    done = subprocess.run(
        [sys.executable, option],
        input=SESSION,
        env={**os.environ, "CONVEYOR_URL": one_server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "6 8\n", done.stderr


class ExitWhenRead:
    """Ends the thread that reads its pickle."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


def test_exit_of_reading_a_result_is_the_error_of_its_future(pool: Executor) -> None:
    with pytest.raises(ValueError, match="cannot be read: SystemExit"):
        pool.submit(ExitWhenRead).result(60)
    assert pool.submit(lambda: 5).result(60) == 5


def test_initializer_may_be_a_closure(one_server: Server) -> None:
    value = "set by the initializer"
    with Executor(
        max_workers=1,
        serializer="pickle",
        store=one_server.client,
        initializer=lambda word: os.environ.__setitem__(word, value),
        initargs=("CONVEYOR_TEST_WORD",),
    ) as pool:
        assert pool.submit(lambda: os.environ["CONVEYOR_TEST_WORD"]).result(60) == value


def test_errors_of_a_call_are_those_of_the_function(pool: Executor) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        pool.submit(lambda value: value).result(60)
    with pytest.raises(JobFailed, match="the result cannot be serialized: it cannot be pickled"):
        pool.submit(threading.Lock).result(60)


class Remote:
    """A proxy that has every attribute."""

    def __init__(self, path: str = "") -> None:
        self.path = path

    def __getattr__(self, name: str) -> Remote:
        if name.startswith("__"):
            raise AttributeError(name)
        return Remote(f"{self.path}.{name}")

    def __call__(self, number: int) -> str:
        return f"{self.path}({number})"


def test_proxies_and_local_tasks_travel(pool: Executor) -> None:
    @task(name="local", redact=("pin",))
    def local(pin: str) -> None:
        raise ValueError(pin)

    assert pool.submit(Remote().math.square, 5).result(60) == ".math.square(5)"
    with pytest.raises(ValueError, match=r"^•••$"):
        pool.submit(local, "31415926").result(60)


def test_object_that_cannot_be_called_is_refused(pool: Executor) -> None:
    with pytest.raises(BadCall, match="'Model' objects cannot be called"):
        pool.submit(Model(3))  # type: ignore[arg-type]
    with pytest.raises(BadCall, match="'int' objects cannot be called"):
        pool.queue.submit(5)  # type: ignore[arg-type]


def test_coroutines_and_generators_travel_too(pool: Executor) -> None:
    async def soon(value: int) -> Model:
        await asyncio.sleep(0)
        return Model(value)

    def stream(count: int) -> Any:
        for number in range(count):
            yield Model(number) if number % 2 else number

    assert pool.submit(soon, 5).result(60).predict(2) == 10
    job = pool.submit(stream, 500).job
    items = [one if isinstance(one, int) else one.factor for one in job.stream()]
    assert items == list(range(500))


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
def test_items_travel(kind: type[Queue[Any]], one_server: Server) -> None:
    queue = kind("models", serializer="pickle", store=one_server.client)
    with pytest.raises(BadCall, match="cannot be serialized"):
        kind("models", store=one_server.client).put((1, Model(3)))
    queue.put((1, Model(3)))
    number, model = kind("models", store=one_server.client).get()
    assert (number, model.predict(2)) == (1, 6)


def test_items_and_calls_travel_in_asyncio(one_server: Server) -> None:
    async def work() -> None:
        queue: aio.Queue[Any] = aio.Queue("soon", serializer="pickle", store=one_server.client)
        await queue.put(Model(3))
        assert (await queue.get()).predict(2) == 6
        await queue.task_done()
        with Executor("soon", 1, store=one_server.client) as pool:
            pool.submit(len, "abc").result(60)
            assert await (await queue.submit(lambda: 5)) == 5
            assert [one async for one in queue.map(lambda value: -value, range(5))] == [0, -1, -2, -3, -4]

    asyncio.run(work())


def test_task_chooses_for_itself(one_server: Server) -> None:
    queue = Queue("chosen", store=one_server.client)
    with Executor("chosen", 1, store=one_server.client) as pool:
        assert pool.submit(scaled, Model(3)).result(60).factor == 6
    with pytest.raises(BadCall, match="a Model cannot be serialized"):
        queue.submit(scaled.options(serializer="msgpack"), Model(3))
    with pytest.raises(BadCall, match='"msgpack" or "pickle"'):
        Queue("chosen", serializer="json")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "reason"),
    [("another" * 10, "fits no key of this process, so it was not read"), ("short", "less")],
)
def test_item_of_another_key_returns_to_the_queue(
    one_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
    other: str,
    reason: str,
) -> None:
    queue = Queue("models", serializer="pickle", store=one_server.client)
    queue.put(Model(3))
    monkeypatch.setenv(signed.KEY_VARIABLE, other)
    with pytest.raises(Untrusted, match=reason):
        queue.get()
    eventually(lambda: queue.count().ready == 1)
    monkeypatch.setenv(signed.KEY_VARIABLE, KEY)
    assert queue.get().predict(2) == 6


def test_worker_with_another_key_fails_the_job(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with Executor("keys", 1, serializer="pickle", store=one_server.client) as pool:
        assert pool.submit(lambda: 1).result(60) == 1
        monkeypatch.setenv(signed.KEY_VARIABLE, "another" * 10)
        with pytest.raises(JobFailed, match="Untrusted: a pickled value arrived whose signature fits no key"):
            pool.submit(lambda: 2).result(60)


def test_job_without_a_signature_calls_no_function(one_server: Server) -> None:
    with Executor("forged", 1, serializer="pickle", store=one_server.client) as pool:
        good = pool.submit(lambda value: value, 1)
        assert good.result(60) == 1
        client = one_server.client
        queue = Queue("forged", store=client)
        with pytest.raises(BadCall, match="Expected `PickledFunction`"):
            queue.submit(signed.call_function, "os.getpid")
        # The same call with another argument, by somebody who may write to the server but has no key.
        client.run(commands.pause("forged"))
        waiting = pool.submit(lambda value: value, 2)
        data = one_server.raw.hget("conveyor:{forged}:jobs", waiting.job.id)
        arguments = bytes(call.decode_call(data).args)
        assert arguments.endswith(b"\x02")
        forged = data.replace(arguments, arguments[:-1] + b"\x03")
        one_server.raw.hset("conveyor:{forged}:jobs", waiting.job.id, forged)
        client.run(commands.resume("forged"))
        with pytest.raises(JobFailed, match="Untrusted"):
            waiting.result(60)


def test_secrets_of_pickled_functions_are_hidden_by_position(one_server: Server) -> None:
    def log_in(user: str, password: str, *tokens: str) -> None:
        raise ValueError(f"{user} used {password} and {tokens[0]}")

    queue = Queue("secrets", serializer="pickle", store=one_server.client)
    job = queue.submit(log_in, "ada", "sesame22", "t0ken-99")
    data = call.decode_call(one_server.raw.hget("conveyor:{secrets}:jobs", job.id))
    assert preview(data, registry.labels(data.task), 300).endswith(", user='ada', password=•••, •••")
    with Executor("secrets", 1, store=one_server.client) as pool:
        pool.submit(len, "abc").result(60)
        with pytest.raises(JobFailed, match="ada used ••• and •••"):
            job.result(60)


def test_server_without_a_key_is_refused_before_anything_is_put(
    one_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(signed.KEY_VARIABLE)
    queue = Queue("models", serializer="pickle", store=one_server.client)
    for put in (lambda: queue.put(Model(3)), lambda: queue.submit(lambda: 1)):
        with pytest.raises(BadCall, match="needs a key, which signs what is pickled") as caught:
            put()
        assert "openssl rand" in caught.value.hint
    assert queue.qsize() == 0
    queue.put({"data": [1, 2]})  # needs no pickle
    assert queue.get() == {"data": [1, 2]}
