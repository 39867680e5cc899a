"""Resources: values that a worker opens once and hands to its tasks by type hint, such as a database pool.

A resource is a function that returns the value or, to close it as well, a generator function that yields it. Workers
open all of them in the order of registration, before they take jobs, and close them in the reverse order.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import signal
import threading
import types
import typing
from collections import abc
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from conveyor import events
from conveyor.errors import BadCall, ResourceUnavailable
from conveyor.wire import hints
from conveyor.wire.redaction import redacted_text
from conveyor.wire.signature import FROM_WORKER, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

#: Seconds that the closing of one resource may take, and seconds that an asynchronous one then has to end.
CLOSE_WITHIN, ENDING = 5.0, 1.0
#: Max characters of the reason why one cannot be opened.
MAX_REASON = 500
#: The types of generator functions; the value of the resource is what they yield.
_YIELDING = (
    *(abc.Iterator, abc.Iterable, abc.Generator),
    *(abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator),
)
_DEFINE = "define one with @conveyor.resource in a module that the worker loads"


def resource(function: F) -> F:
    """Register a resource of workers: a function with a return type, by which tasks ask for its value.

    It returns the value, or yields it once: what follows the `yield` closes it. Each worker process opens it once, at
    its start; `async def` is opened in the event loop of the tasks. One that yields None is code for the start and the
    end of workers. Its parameters can be other resources, with `from_worker()`. The function itself is unchanged.
    """
    registered.add(Resource(function))
    return function


def from_worker() -> Any:
    """Return the default of a parameter that the worker fills in, with the resource of the parameter's type.

    The parameter does not travel with the job, and nobody is asked for it. In a direct call, pass a value.
    """
    return FROM_WORKER


class Resource:
    """One registered function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.yields = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

    @functools.cached_property
    def type(self) -> Any:
        """The type of its value. Raises BadCall if it is unknown."""
        hint = hints.resolve(self.function).get("return") or self._return_type()
        kind = "AsyncIterator" if self.is_async else "Iterator"
        if self.yields and hint is not None:
            known = typing.get_args(hint) if typing.get_origin(hint) in _YIELDING else ()
            if not known and hint not in (*_YIELDING, Any, type(None)):
                name = getattr(hint, "__qualname__", str(hint))
                raise BadCall(
                    f"the resource {self.name} yields, but its return type is {name}",
                    hint=f"write -> {kind}[{name}]",
                )
            hint = (known[0] or type(None)) if known else None
        if hint is None or hint is Any:
            example = f"-> {kind}[Pool]" if self.yields else "-> Pool"
            raise BadCall(
                f"the resource {self.name} has no return type that is known when it runs",
                hint=f"write one, as in {example}, and import it outside of TYPE_CHECKING",
            )
        return hint

    def _return_type(self) -> Any:
        """Return its return type even if only type checkers have imported `Iterator`, or None if it is unknown."""
        known = {one.__name__: one for one in _YIELDING}
        own = types.SimpleNamespace(__annotations__={"return": self.function.__annotations__.get("return")})
        with contextlib.suppress(Exception):
            return typing.get_type_hints(own, self.function.__globals__, known).get("return")
        return None

    @functools.cached_property
    def needs(self) -> dict[str, Resource]:
        """The resources that it takes, by parameter. Raises BadCall."""
        signature = signature_of(self.function)
        if others := [one.name for one in signature.parameters if one.default is one.empty]:
            raise BadCall(
                f"the resource {self.name} takes {others[0]}, which is not a resource",
                hint=f"write {others[0]}: … = from_worker(), or give it another default",
            )
        needs = needs_of(self.function)
        wrong = next((one for one in needs.values() if one.is_async and not self.is_async), None)
        if wrong is not None:
            raise BadCall(
                f"the resource {self.name} cannot take {wrong.name}, which is asynchronous",
                hint=f"write {self.name} with async def as well",
            )
        return needs


class Registered:
    """The resources of this process, in order."""

    def __init__(self) -> None:
        self.resources: tuple[Resource, ...] = ()

    def add(self, made: Resource) -> None:
        """Add a resource. It takes the place of one of the same name: its module was read again."""
        self.resources = tuple({**{one.name: one for one in self.resources}, made.name: made}.values())

    def find(self, hint: Any, asker: str) -> Resource:
        """Return the resource of this type or, if there is none, of a subclass. Raises BadCall unless it is one."""
        found = [one for one in self.resources if one.type == hint]
        found = found or [one for one in self.resources if _is_subclass(one.type, hint)]
        if len(found) == 1:
            return found[0]
        wanted = getattr(hint, "__qualname__", str(hint))
        if not found:
            raise BadCall(f"{asker}: no resource of the worker has the type {wanted}", hint=_DEFINE)
        names = ", ".join(one.name for one in found)
        raise BadCall(
            f"{asker}: several resources of the worker have the type {wanted}: {names}",
            hint="give each a type of its own, such as a NewType",
        )


#: What `@resource` fills.
registered = Registered()
#: Values that tests put in the place of resources, by name.
overrides: dict[str, Any] = {}


def needs_of(function: Any) -> dict[str, Resource]:
    """Return the resources that a function or a task takes, by parameter. Raises BadCall if one cannot be found."""
    signature = signature_of(function)
    found = {}
    for name, hint in signature.from_worker.items():
        asker = f"{signature.name}(): {name}"
        if hint is Any:
            raise BadCall(
                f"{asker} comes from the worker and has no type that is known when it runs",
                hint="write a type hint, and import its type outside of TYPE_CHECKING",
            )
        found[name] = registered.find(hint, asker)
    return found


def check_needs(functions: Iterable[Any]) -> None:
    """Raise BadCall if a resource is invalid, or one of these functions takes one that cannot be found."""
    for one in registered.resources:
        _ = one.type, one.needs
    for function in functions:
        needs_of(function)


class _Opened(NamedTuple):
    """An open resource."""

    resource: Resource
    value: Any
    close: Callable[[float | None], Any]
    """Closes it; of an asynchronous one it returns a coroutine, which takes at most the given seconds."""


def _report_unclosed(name: str, error: BaseException) -> None:
    events.emit(events.ResourceUnclosed(name, f"{type(error).__name__}: {error}"))


class Resources:
    """The open resources of a process: a context manager, in which all are open.

    `run` runs a coroutine in the event loop of the tasks, for asynchronous resources; without it there are none here.
    With `outer`, only asynchronous ones are here, and the others there. Thread-safe.
    """

    def __init__(
        self, run: Callable[[Coroutine[Any, Any, Any]], Any] | None, outer: Resources | None = None
    ) -> None:
        self._run = run
        self._outer = outer
        self.opened: dict[str, _Opened] = {}
        self._opening: list[str] = []
        self._lock = threading.RLock()
        self._seen: tuple[Resource, ...] = ()
        self._is_entering = self._is_unwanted = False

    def __enter__(self) -> None:
        """Open all, unless `interrupt` has been called, or is meanwhile. Raises ResourceUnavailable, with none open."""
        try:
            self._is_entering = True
            if not self._is_unwanted:
                self.open()
        except _InterruptedError:
            pass
        except BaseException:
            self._is_entering = False
            self.close(within=CLOSE_WITHIN)
            raise
        finally:
            self._is_entering = False

    def __exit__(self, *_: object) -> None:
        self.close(within=CLOSE_WITHIN)

    def interrupt(self) -> None:
        """Open nothing at the start, or stop that; called by a signal handler, in the thread that opens."""
        self._is_unwanted = True
        if self._is_entering:
            self._is_entering = False
            raise _InterruptedError

    def open(self) -> None:
        """Open what has been registered since the last call. Raises ResourceUnavailable, or BadCall.

        The asynchronous ones of one of several event loops are opened when they are needed.
        """
        if self._outer is not None:
            self._outer.open()
            return
        if self._seen is registered.resources:
            return
        with self._lock:
            seen = registered.resources
            for one in seen:
                if self._is_here(one):
                    self._value(one)
            self._seen = seen

    def are_open(self, wanted: Mapping[str, Resource]) -> bool:
        """Return True if all of these are open."""
        return all(one.name in overrides or one.name in self._place_of(one).opened for one in wanted.values())

    def values(self, wanted: Mapping[str, Resource]) -> dict[str, Any]:
        """Return the values of resources, and open those that are not. Raises ResourceUnavailable, or BadCall."""
        return {name: self._value(one) for name, one in wanted.items()}

    def has_async(self) -> bool:
        """Return True if an asynchronous one is open here."""
        return any(one.resource.is_async for one in self.opened.values())

    def forget_async(self) -> None:
        """Forget the asynchronous ones, whose event loop is gone; they are opened again when they are needed."""
        with self._lock:
            self.opened = {name: one for name, one in self.opened.items() if not one.resource.is_async}

    def close(
        self,
        within: float | None = None,
        report: Callable[[str, BaseException], object] = _report_unclosed,
    ) -> None:
        """Close what is open, the last one first, each in the given seconds. What goes wrong is reported."""
        if not self._lock.acquire(timeout=-1 if within is None else within):
            report("that is being opened", TimeoutError("it does not end"))
            return
        try:
            self._seen = ()
            while self.opened:
                name, opened = self.opened.popitem()
                try:
                    if opened.resource.is_async:
                        with _at_most(within and within + 2 * ENDING):
                            self._run_in_loop(opened.close(within))
                    else:
                        with _at_most(within):
                            opened.close(within)
                except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - the others must be closed
                    report(name, error)
        finally:
            self._lock.release()

    def _is_here(self, one: Resource) -> bool:
        return self._run is not None if one.is_async else self._outer is None

    def _place_of(self, one: Resource) -> Resources:
        return self if self._is_here(one) or self._outer is None else self._outer

    def _value(self, one: Resource) -> Any:
        if one.name in overrides:
            return overrides[one.name]
        place = self._place_of(one)
        opened = place.opened.get(one.name)
        return place.open_one(one) if opened is None else opened.value

    def open_one(self, one: Resource) -> Any:
        """Open a resource, and what it needs before, unless another thread has just done so. Return its value."""
        with self._lock:
            if one.name not in self.opened:
                if one.name in self._opening:
                    circle = " → ".join([*self._opening[self._opening.index(one.name) :], one.name])
                    raise BadCall(f"resources need each other: {circle}", hint="open them in one resource")
                self._opening.append(one.name)
                try:
                    needed = {name: self._value(other) for name, other in one.needs.items()}
                    self.opened[one.name] = self._made(one, needed)
                finally:
                    self._opening.remove(one.name)
            return self.opened[one.name].value

    def _made(self, one: Resource, needed: dict[str, Any]) -> _Opened:
        try:
            return self._open_async(one, needed) if one.is_async else _open_plain(one, needed)
        except (Exception, SystemExit) as error:
            why = " ".join(redacted_text(f"{type(error).__name__}: {error}").split())[:MAX_REASON]
            message = f"the resource {one.name} cannot be opened: {why}"
            raise ResourceUnavailable(message, hint="check what it connects to") from error

    def _open_async(self, one: Resource, needed: dict[str, Any]) -> _Opened:
        if not one.yields:
            return _Opened(one, self._run_in_loop(one.function(**needed)), _nothing)
        hosted = _Hosted(one, one.function(**needed))
        return _Opened(one, self._run_in_loop(hosted.open()), hosted.close)

    def _run_in_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        assert self._run is not None
        return self._run(coroutine)


class _InterruptedError(BaseException):
    """Raised in the thread that opens resources if the worker is to stop."""


class _Hosted:
    """An asynchronous resource in a task of its own: it must be closed in the task that opened it."""

    def __init__(self, one: Resource, generator: Any) -> None:
        self._resource = one
        self._generator = generator
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> Any:
        """Return its value."""
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task = self._task = asyncio.create_task(self._live(opened))
        try:
            await asyncio.wait({task, opened}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not opened.done():
            await task  # raises why
        return opened.result()

    async def close(self, within: float | None) -> None:
        """Close it. Raises TimeoutError if that takes too long, and what it raises."""
        assert self._task is not None
        self._closing.set()
        if not (await asyncio.wait({self._task}, timeout=within))[0]:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=ENDING)
            raise TimeoutError(f"it took more than {within:g} s")
        await self._task

    async def _live(self, opened: asyncio.Future[Any]) -> None:
        try:
            value = await anext(self._generator)
        except StopAsyncIteration:
            raise _wrong(self._resource, "did not yield") from None
        opened.set_result(value)
        await self._closing.wait()
        try:
            await anext(self._generator)
        except StopAsyncIteration:
            return
        await self._generator.aclose()
        raise _wrong(self._resource, "yielded twice")


def _open_plain(one: Resource, needed: dict[str, Any]) -> _Opened:
    made = one.function(**needed)
    if not one.yields:
        return _Opened(one, made, lambda _: None)
    try:
        value = next(made)
    except StopIteration:
        raise _wrong(one, "did not yield") from None

    def close(_: float | None) -> None:
        try:
            next(made)
        except StopIteration:
            return
        made.close()
        raise _wrong(one, "yielded twice")

    return _Opened(one, value, close)


async def _nothing(_: float | None) -> None:
    """Close what has nothing to close."""


@contextlib.contextmanager
def _at_most(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in the block after a time; only in the main thread, since signals interrupt no other."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, ENDING)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


def _wrong(one: Resource, what: str) -> BadCall:
    return BadCall(f"the resource {one.name} {what}", hint="a generator function needs exactly one yield")


def _is_subclass(declared: Any, hint: Any) -> bool:
    """Return True if values of a declared type are instances of a hint without parameters."""
    kind = typing.get_origin(declared) or declared
    return isinstance(kind, type) and isinstance(hint, type) and issubclass(kind, hint)
