"""The type hint of a parameter chooses its resource, and the parameter does not travel."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import TYPE_CHECKING, Any, Generic, NewType, TypeVar

import pytest

from conveyor import BadCall, ResourceUnavailable, events, from_worker, resource, resources, task
from conveyor.monitor import typed_input
from conveyor.resources import Resources, needs_of
from conveyor.tasks import registry
from conveyor.wire import call
from conveyor.wire.signature import FROM_WORKER, signature_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from decimal import Decimal

T = TypeVar("T")


class Engine: ...


class PostgresEngine(Engine): ...


class Maker(Generic[T]): ...


Primary = NewType("Primary", Engine)


@pytest.fixture(autouse=True)
def only_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove other resources, and those of the test at its end."""
    monkeypatch.setattr(resources.registered, "resources", ())
    monkeypatch.setattr(registry, "tasks", dict(registry.tasks))


def names_of(function: Any) -> dict[str, str]:
    return {name: one.name.rpartition(".")[2] for name, one in needs_of(function).items()}


def test_exact_type_comes_before_a_subclass() -> None:
    @resource
    def postgres() -> PostgresEngine:
        return PostgresEngine()

    def run(engine: Engine = from_worker()) -> None: ...

    assert names_of(run) == {"engine": "postgres"}

    @resource
    def base() -> Iterator[Engine]:
        yield Engine()

    assert names_of(run) == {"engine": "base"}


def test_types_of_all_kinds_of_functions_are_known() -> None:
    @resource
    def plain() -> int:
        return 1

    @resource
    def yielding() -> Generator[str, None, None]:
        yield "a"

    @resource
    async def coroutine() -> bytes:
        return b""

    @resource
    async def yielding_async() -> AsyncIterator[float]:
        yield 1.0

    @resource
    def generic() -> Maker[Engine]:
        return Maker()

    @resource
    def named() -> Primary:
        return Primary(Engine())

    @resource
    def code() -> Iterator[None]:
        yield

    def run(
        a: int = from_worker(),
        b: str = from_worker(),
        c: bytes = from_worker(),
        d: float = from_worker(),
        e: Maker[Engine] = from_worker(),
        f: Primary = from_worker(),
    ) -> None: ...

    assert list(names_of(run).values()) == [
        *("plain", "yielding", "coroutine", "yielding_async", "generic", "named")
    ]
    resources.check_needs([run])

    def run_maker(maker: Maker = from_worker()) -> None: ...  # type: ignore[type-arg]

    assert names_of(run_maker) == {"maker": "generic"}


def test_absence_and_ambiguity_are_clear_errors() -> None:
    def run(engine: Engine = from_worker()) -> None: ...

    with pytest.raises(BadCall, match="engine: no resource of the worker has the type Engine") as absent:
        needs_of(run)
    assert "@conveyor.resource" in absent.value.hint

    @resource
    def first() -> Engine:
        return Engine()

    @resource
    def second() -> Engine:
        return Engine()

    with pytest.raises(
        BadCall, match=r"several resources .* have the type Engine: .*first, .*second"
    ) as several:
        needs_of(run)
    assert "NewType" in several.value.hint


def test_unknown_types_are_clear_errors() -> None:
    @resource
    def nothing():  # type: ignore[no-untyped-def] # noqa: ANN202
        yield 1

    with pytest.raises(BadCall, match=r"nothing has no return type"):
        resources.check_needs([])

    def run(value: Decimal = from_worker()) -> None: ...

    with pytest.raises(BadCall, match="value comes from the worker and has no type"):
        needs_of(run)


def test_yield_under_a_plain_return_type_is_a_clear_error() -> None:
    @resource
    def pool() -> Engine:  # type: ignore[misc]
        yield Engine()

    with pytest.raises(BadCall, match="pool yields, but its return type is Engine") as refused:
        resources.check_needs([])
    assert refused.value.hint == "write -> Iterator[Engine]"


def test_from_worker_without_parentheses_is_refused() -> None:
    def run(number: int, engine: Engine = from_worker) -> None: ...  # type: ignore[assignment]

    with pytest.raises(BadCall, match="the default of engine is the function from_worker") as refused:
        signature_of(run)
    assert refused.value.hint == "write engine: … = from_worker(), with parentheses"


def test_parameter_does_not_travel() -> None:
    @task(name="resources.fetch")
    def fetch(url: str, depth: int = 2, *, engine: Engine = from_worker()) -> None: ...

    signature = signature_of(fetch)
    assert [one.name for one in signature.parameters] == ["url", "depth"]
    assert signature.from_worker == {"engine": Engine}
    assert [one.name for one in typed_input.parameters_of(fetch)] == ["url", "depth"]
    assert "engine" not in typed_input.usage(fetch)
    (data,) = call.encode_calls(fetch, fetch.name, [(("a",), {"depth": 3})])
    job = call.decode_call(data)
    assert (job.positional(), job.named()) == (["a", 3], {})
    for wrong in [(("a",), {"engine": Engine()}), (("a",), {"engine": "text", "depth": 1})]:
        with pytest.raises(BadCall, match=r"gets engine from its worker"):
            call.encode_calls(fetch, fetch.name, [wrong])
    with pytest.raises(BadCall) as refused:
        call.encode_calls(fetch, fetch.name, [((), {})])
    assert "engine" not in f"{refused.value} {refused.value.hint}"


def test_parameter_must_come_last() -> None:
    def first(engine: Engine = from_worker(), url: str = "") -> None: ...
    def before_rest(engine: Engine = from_worker(), *urls: str) -> None: ...
    def positional(engine: Engine = from_worker(), /) -> None: ...
    def right(url: str, engine: Engine = from_worker(), *, depth: int = 1, **more: int) -> None: ...
    def right_too(*urls: str, engine: Engine = from_worker()) -> None: ...

    for wrong in (first, before_rest, positional):
        with pytest.raises(BadCall, match=r"engine = from_worker\(\) must come after"):
            signature_of(wrong)
    assert [one.name for one in signature_of(right).parameters] == ["url", "depth", "more"]
    assert [one.name for one in signature_of(right_too).parameters] == ["urls"]


def test_direct_call_takes_a_value_and_needs_one() -> None:
    @task(name="resources.double")
    def double(number: int, engine: Engine = from_worker()) -> tuple[int, Engine]:
        return 2 * number, engine

    @task(name="resources.nothing")
    def nothing(number: int) -> int:
        return number

    engine = Engine()
    assert double(1, engine) == double(1, engine=engine) == (2, engine)
    with pytest.raises(BadCall, match="gets engine only from a worker") as refused:
        double(1)
    assert refused.value.hint == "in a direct call pass it: double(…, engine=…)"
    assert (double.takes_resources, nothing.takes_resources) == (True, False)


def test_marker_says_what_is_missing() -> None:
    marker = from_worker()
    assert marker is FROM_WORKER is copy.deepcopy(marker) is pickle.loads(pickle.dumps(marker))
    assert repr(marker) == "from_worker()"
    with pytest.raises(AttributeError, match="comes from the worker; in a direct call, pass one"):
        marker.connect()


def test_function_stays_as_it_is() -> None:
    def engine() -> Iterator[Engine]:
        yield Engine()

    assert resource(engine) is engine
    assert inspect.isgeneratorfunction(engine)


def test_module_that_is_read_again_registers_once() -> None:
    for _ in range(2):

        @resource
        def engine() -> Engine:
            return Engine()

    assert [one.function for one in resources.registered.resources] == [engine]


def test_resources_may_need_each_other_but_not_in_a_circle() -> None:
    opened = []

    @resource
    def session(engine: Engine = from_worker()) -> Iterator[Maker[Engine]]:
        opened.append("session")
        yield Maker()
        opened.append("session closed")

    @resource
    def engine() -> Iterator[Engine]:
        opened.append("engine")
        yield Engine()
        opened.append("engine closed")

    with Resources(None):
        assert opened == ["engine", "session"]
    assert opened[2:] == ["session closed", "engine closed"]

    @resource
    def first(second: int = from_worker()) -> str:
        return ""

    @resource
    def second(first: str = from_worker()) -> int:
        return 1

    del opened[:]
    with pytest.raises(BadCall, match=r"resources need each other: .*first → .*second → .*first"):
        Resources(None).__enter__()
    assert opened == ["engine", "session", "session closed", "engine closed"]


def test_plain_resource_cannot_take_an_asynchronous_one() -> None:
    @resource
    async def engine() -> Engine:
        return Engine()

    @resource
    def session(engine: Engine = from_worker()) -> str:
        return ""

    with pytest.raises(BadCall, match=r"session cannot take .*engine, which is asynchronous"):
        resources.check_needs([])


def test_resource_takes_only_resources() -> None:
    @resource
    def engine(url: str) -> Engine:
        return Engine()

    with pytest.raises(BadCall, match="engine takes url, which is not a resource"):
        resources.check_needs([])


def test_failure_to_open_closes_the_others_and_hides_passwords() -> None:
    closed = []

    @resource
    def first() -> Iterator[int]:
        yield 1
        closed.append("first")

    @resource
    def second() -> Iterator[str]:
        raise ConnectionError("no\n  reply from postgres://ada:hunter2@db")
        yield ""

    with pytest.raises(ResourceUnavailable) as refused:
        Resources(None).__enter__()
    assert str(refused.value).endswith(
        "second cannot be opened: ConnectionError: no reply from postgres://ada:•••@db"
    )
    assert closed == ["first"]


def test_wrong_number_of_yields_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(events, "emit", lambda event: said.append(str(event)))

    @resource
    def twice() -> Iterator[int]:
        yield 1
        yield 2

    with Resources(None):
        pass
    assert "twice was not closed in order: BadCall: " in said[0]

    @resource
    def none() -> Iterator[str]:
        if not said:
            yield ""

    with pytest.raises(ResourceUnavailable, match="none did not yield"):
        Resources(None).__enter__()
