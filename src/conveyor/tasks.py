"""Tasks: the functions that workers may run, by name, and how orders are split into jobs and joined."""

from __future__ import annotations

import contextlib
import copy
import copyreg
import functools
import importlib
import inspect
import operator
import sys
import threading
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from msgspec import structs

from conveyor.batch_tasks import BatchFunction
from conveyor.errors import BadCall, UnknownTask
from conveyor.job import references_of
from conveyor.queue import Queue
from conveyor.retry_policy import DEFAULT, make_policy
from conveyor.task_loading import load_script, main_name
from conveyor.wire import hints
from conveyor.wire.call import FUNCTION, JOIN, PutOptions, RunOptions, as_seconds, header_pairs
from conveyor.wire.redaction import Labels
from conveyor.wire.schedule import Schedule
from conveyor.wire.signature import FROM_WORKER, name_of, signature_of
from conveyor.wire.signed import call_function
from conveyor.wire.terms import Hook, Limit, Unique, When

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from datetime import timedelta

    from conveyor.job import Job
    from conveyor.retry_policy import Backoff, ErrorKinds

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
A_contra = TypeVar("A_contra", contravariant=True)
B_contra = TypeVar("B_contra", contravariant=True)
C = TypeVar("C")
F = TypeVar("F", bound="Callable[..., Any]")
#: Options that belong to the task's code, in the worker.
_OF_TASK = frozenset({"retry_on", "give_up_on", "backoff"})


class TaskOptions(TypedDict, total=False):
    """The options of `@task` that `Task.options` can change."""

    queue: str
    priority: int
    retries: int
    first_delay: float | timedelta
    timeout: float | timedelta | None
    soft_timeout: float | timedelta | None
    serializer: Literal["msgpack", "pickle"] | None
    keep: float | timedelta
    durability: str | None
    wait: float | timedelta | None
    headers: Mapping[str, str]
    limit: Limit | None
    unique: Unique | bool | None
    on_success: Callable[..., object] | Hook | None
    on_failure: Callable[..., object] | Hook | None
    expires: float | timedelta | datetime | None


class DecoratorOptions(TaskOptions, total=False):
    """The options of `@task` that only it has: those of a schedule."""

    cron: str
    every: float | timedelta
    timezone: str
    jitter: float | timedelta
    missed: Literal["skip", "one", "all"]
    overlap: Literal["allow", "skip", "queue"]
    schedule: Schedule | Iterable[Schedule]


#: Options of `@task` that make a schedule.
_TIMING = ("cron", "every", "timezone", "jitter", "missed", "overlap")


class CallOptions(TaskOptions, total=False):
    """The options of `Task.options`."""

    delay: float | timedelta | datetime
    eta: datetime
    id: str | None
    after: Iterable[Job[Any]]
    when: When


class _Takes0(Protocol[R_co]):
    """A function that can be called without arguments; it and those below type the rows of `submit_many`."""

    def __call__(self) -> R_co: ...


class _Takes1(Protocol[A_contra, R_co]):
    def __call__(self, first: A_contra, /) -> R_co: ...


class _Takes2OrMore(Protocol[A_contra, B_contra, R_co]):
    """The types of more than two arguments are checked only by the call itself."""

    def __call__(self, first: A_contra, second: B_contra, /, *rest: Any, **options: Any) -> R_co: ...


#: What an `async def` returns, and what a batch task returns.
_Later: TypeAlias = "Coroutine[Any, Any, R]"
_Results: TypeAlias = "Sequence[R | Exception]"


class _BatchDecorator(Protocol):
    """Makes a batch task, typed as the task of one job: with an item of each list, and the result for it."""

    @overload
    def __call__(self, function: Callable[[list[A]], None], /) -> Task[[A], None]: ...
    @overload
    def __call__(self, function: Callable[[list[A]], _Later[None]], /) -> Task[[A], _Later[None]]: ...
    @overload
    def __call__(self, function: Callable[[list[A]], _Later[_Results[R]]], /) -> Task[[A], _Later[R]]: ...
    @overload
    def __call__(self, function: Callable[[list[A]], _Results[R]], /) -> Task[[A], R]: ...
    @overload
    def __call__(self, function: Callable[[list[A], list[B]], None], /) -> Task[[A, B], None]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B]], _Later[None]], /
    ) -> Task[[A, B], _Later[None]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B]], _Later[_Results[R]]], /
    ) -> Task[[A, B], _Later[R]]: ...
    @overload
    def __call__(self, function: Callable[[list[A], list[B]], _Results[R]], /) -> Task[[A, B], R]: ...
    @overload
    def __call__(self, function: Callable[[list[A], list[B], list[C]], None], /) -> Task[[A, B, C], None]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B], list[C]], _Later[None]], /
    ) -> Task[[A, B, C], _Later[None]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B], list[C]], _Later[_Results[R]]], /
    ) -> Task[[A, B, C], _Later[R]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B], list[C]], _Results[R]], /
    ) -> Task[[A, B, C], R]: ...


class Task(Generic[P, R_co]):
    """A registered function. A call runs here; `submit` runs it in a worker."""

    def __init__(self, function: Callable[P, R_co], name: str, put: PutOptions, run: RunOptions) -> None:
        self.function = function
        self.name = name
        self.put = put
        self.run = run
        self.split: Callable[..., list[dict[str, Any]]] | None = None
        self.join: Callable[..., Any] | None = None
        self.check: Callable[..., object] | None = None
        self.redact: tuple[str, ...] = ()
        self.batch: BatchFunction | None = None
        """What takes the arguments of several jobs, if this is a batch task; then `function` is for one job."""
        self.retry_policy = DEFAULT
        """Which errors are retried, and when. It does not travel: that of the worker's code counts."""
        self.schedules: tuple[Schedule, ...] = ()
        """When consumers of its queue put it."""
        self.takes_resources = _takes_resources(function)
        """True if the worker fills in some of its parameters."""
        self.__name__ = self.__qualname__ = name
        self.__module__ = ""  # a method of a built-in class has none
        # So that signature, type hints, source and doctests are those of the function.
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function in this process. Raises BadCall without a value for what only a worker fills in."""
        if self.takes_resources:
            _check_given(self.function, args, kwargs)
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name} on {self.put.queue}>"

    def __copy__(self) -> Task[P, R_co]:
        other = Task.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle the module-level name, as that of a function, or the name and other options."""
        named = _find(self.__module__, self.__qualname__)
        if named is self:
            return self.__qualname__
        if isinstance(named, Task) and named.function is self.function:
            return _with_options, (named, self.put, self.run)
        return copyreg.__newobj__, (type(self),), vars(self)  # type: ignore[attr-defined]

    @overload
    def submit(self: Task[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]: ...
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """Put a call on the task's queue and return its handle. While the queue is full, wait for room.

        Raises BadCall before anything is put if the arguments do not fit, ShutDown if the queue is shut down, and Full
        if there was no room within the seconds of the option `wait`.
        """
        return _queue(self.put.queue).submit(self, *args, **kwargs)

    @overload
    def submit_many(self: _Takes0[Coroutine[Any, Any, R]], calls: Iterable[tuple[()]]) -> list[Job[R]]: ...
    @overload
    def submit_many(self: _Takes0[R], calls: Iterable[tuple[()]]) -> list[Job[R]]: ...
    @overload
    def submit_many(self: _Takes1[A, Coroutine[Any, Any, R]], calls: Iterable[tuple[A]]) -> list[Job[R]]: ...
    @overload
    def submit_many(self: _Takes1[A, R], calls: Iterable[tuple[A]]) -> list[Job[R]]: ...
    @overload
    def submit_many(
        self: _Takes2OrMore[A, B, Coroutine[Any, Any, R]],
        calls: Iterable[tuple[A, B, *tuple[Any, ...]]],
    ) -> list[Job[R]]: ...
    @overload
    def submit_many(
        self: _Takes2OrMore[A, B, R], calls: Iterable[tuple[A, B, *tuple[Any, ...]]]
    ) -> list[Job[R]]: ...
    def submit_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[Any]]:
        """Put a call for each tuple of positional arguments, several hundred per round trip, and return the handles.

        On an error, such as Full, `accepted` is how many were put, and `ids` are their ids.
        """
        return _queue(self.put.queue).submit_many(self, calls)

    @overload
    async def submit_async(
        self: Task[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    @overload
    async def submit_async(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]: ...
    async def submit_async(self, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """Put a call in asyncio, as `submit` does, without blocking the event loop. The handle can be awaited."""
        from conveyor.aio import queue_named  # noqa: PLC0415 - a caller in asyncio has imported that already

        return await queue_named(self.put.queue).submit(self, *args, **kwargs)

    def options(self, **changes: Unpack[CallOptions]) -> Task[P, R_co]:
        """Return the task with other options: those of `@task` for calls, and five for single ones.

        `delay` is the time before the job may run, in seconds or as a timedelta. `eta` is the datetime from which it
        may, which needs a time zone and is compared with this host's clock; `delay` takes one, too. `id` is the job's
        own id; a second job with it is refused. `after` are jobs that must have ended before, and `when` how: "done",
        "ended" or "failed".
        """
        given = {name: as_seconds(value) for name, value in changes.items()}
        if "eta" in given:
            given["delay"] = _checked_eta(given)
        if "headers" in given:
            given["headers"] = header_pairs(given["headers"])
        if "after" in given:
            given["after"] = references_of(given["after"])
        if isinstance(given.get("unique"), bool):
            given["unique"] = Unique() if given["unique"] else None
        for name in given.keys() & {"on_success", "on_failure"}:
            given[name] = given[name] and Hook.of(given[name])
        put = {name: given.pop(name) for name in PutOptions.__struct_fields__ if name in given}
        run = {name: given.pop(name) for name in RunOptions.__struct_fields__ if name in given}
        if given:
            if of_task := given.keys() & _OF_TASK:
                raise BadCall(
                    f"{' and '.join(sorted(of_task))} cannot be set for single calls: the task's code decides",
                    hint="set it with @task",
                )
            known = ", ".join(CallOptions.__annotations__)
            raise BadCall(f"unknown options: {', '.join(given)}", hint=f"use {known}")
        other = _with_options(self, structs.replace(self.put, **put), structs.replace(self.run, **run))
        for option in put.keys() & {"limit", "unique"}:
            _check_by(other, option)
        return other

    def checks(self, function: F) -> F:
        """Decorate the function that refuses arguments which fit their types but are invalid.

        It takes the task's arguments, runs in the producer before a job is put, and raises BadInput.
        """
        self.check = function
        return function

    def splits(self, function: F) -> F:
        """Decorate the function that splits an order into keyword arguments for several jobs.

        Users are asked for its parameters, with their defaults. It runs in the producer and raises BadInput for
        invalid input before anything is put.
        """
        self.split = function
        return function

    def joins(self, function: F) -> F:
        """Decorate the function that joins the jobs' results, in the order of the parts, to one result.

        It runs as a job behind them, with the list of results and then the order's keyword arguments.
        """
        self.join = function
        return function

    @property
    def order_function(self) -> Callable[..., Any]:
        """The function whose parameters describe an order: the split if there is one, or else the task itself."""
        return self.split or self.function

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


def _checked_eta(given: dict[str, Any]) -> datetime:
    """Take the option `eta` from those given, and return it. Raises BadCall if it is not a datetime, or not alone."""
    eta = given.pop("eta")
    if not isinstance(eta, datetime):
        raise BadCall(
            f"eta must be a datetime, got {eta!r:.80}", hint="for a number of seconds pass delay=60"
        )
    if "delay" in given:
        raise BadCall("eta and delay exclude each other", hint="use one of them")
    return eta


def _takes_resources(function: Callable[..., Any]) -> bool:
    """Return True if the function has a parameter that the worker fills in; without its hints, which may come later."""
    function = inspect.unwrap(function)
    defaults = getattr(function, "__defaults__", None) or ()
    named = getattr(function, "__kwdefaults__", None) or {}
    return any(one is FROM_WORKER for one in (*defaults, *named.values()))


def _check_by(task: Task[..., Any], option: str) -> None:
    """Raise BadCall if the `by` of an option names no parameter of the task."""
    has: Limit | Unique | None = getattr(task.put, option)
    by = None if has is None or callable(has.by) else has.by
    names = (by,) if isinstance(by, str) else by or ()
    parameters = _parameters(task.function) if names else None
    if parameters is not None and (unknown := [name for name in names if name not in parameters]):
        raise BadCall(
            f"{option}: the task {task.name} has no parameter {unknown[0]!r:.80}",
            hint=f"its parameters are {', '.join(parameters)}" if parameters else "leave out `by`",
        )


def check_scheduled(task: str, put: PutOptions) -> None:
    """Raise BadCall if a task has options that the jobs of a schedule cannot have."""
    unfit = [one for one in ("limit", "unique", "on_success", "on_failure", "expires") if getattr(put, one)]
    if unfit:
        raise BadCall(
            f"the jobs of a schedule cannot have {' or '.join(unfit)}, which {task} has",
            hint="let a small scheduled task submit it; overlap= bounds how many run at once",
        )


def _check_arguments(task: Task[..., Any], schedule: Schedule) -> None:
    """Raise BadCall if a schedule lacks arguments of the task, or has other ones."""
    parameters = _parameters(task.function)
    if parameters is None:
        return
    try:
        inspect.Signature(list(parameters.values())).bind(*schedule.args, **schedule.kwargs)
    except TypeError as error:
        raise BadCall(
            f"a schedule of the task {task.name}: {error}",
            hint="give the parameter a default, or pass its value: schedule=Schedule(every=60, kwargs={…})",
        ) from None


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters that calls fill in, without hints, which may come later; None if they are unknown."""
    try:
        known = hints.signature(function).parameters
    except (TypeError, ValueError):  # some functions in C have none
        return None
    return {name: one for name, one in known.items() if one.default is not FROM_WORKER}


def _check_given(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    missing = [name for name, value in bound.arguments.items() if value is FROM_WORKER]
    if missing:
        name = function.__name__
        raise BadCall(
            f"{name}() gets {', '.join(missing)} only from a worker",
            hint=f"in a direct call pass it: {name}(…, {missing[0]}=…)",
        )


@functools.lru_cache(maxsize=1024)
def _queue(name: str) -> Queue:
    """Return the queue of a name on the usual server, made once."""
    return Queue(name)


def _with_options(task: Task[P, R], put: PutOptions, run: RunOptions) -> Task[P, R]:
    other = copy.copy(task)
    other.put, other.run = put, run
    return other


def _find(module: str, name: str) -> object:
    """Return what a loaded module has under a name, or None."""
    try:
        return operator.attrgetter(name)(sys.modules[module])
    except (KeyError, AttributeError):
        return None


#: Tasks that only a hook names, and where they live.
_OWN_MODULES = {"conveyor.webhook": "conveyor.task_def.webhook"}


class Registry:
    """The tasks of this process by name; no other function runs."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task[..., Any]] = {}
        self.lazy: dict[str, str] = {}
        self.modules: set[str] = set()
        self._script: tuple[str, str] | None = None
        self._script_name = ""
        self._allowed: Callable[[str], Any] = lambda _: None
        self._reading = threading.RLock()  # a script may look for a task of its own

    def add(self, task: Task[..., Any]) -> None:
        """Register a task under its name."""
        self.tasks[task.name] = task

    def load(self, module: str) -> None:
        """Import a module, which registers its tasks; its own plain functions may run by name as well."""
        importlib.import_module(module)
        self.modules.add(module)

    def promise(self, names: dict[str, str]) -> None:
        """Register tasks (name to module) whose modules are imported on first use."""
        self.lazy.update(names)

    def promise_script(self, file: str, name: str) -> None:
        """Set the script that is read, for its tasks and functions only, if a task is unknown otherwise."""
        self._script, self._script_name = (file, name), name

    def read_script(self) -> None:
        """Read the script now, while this process has one thread. What it raises, the jobs that need it raise again."""
        with contextlib.suppress(BaseException):
            self._read_script("")

    def allow(self, find: Callable[[str], Any]) -> None:
        """Allow the further functions that `find` returns for their names; it returns None for others."""
        self._allowed = find

    def find(self, name: str) -> Task[..., Any]:
        """Return a task by name. Raises UnknownTask, and what the import of its module or script raises."""
        if name == FUNCTION:
            return _call_function
        if name == JOIN:
            return join_parts
        if name not in self.tasks:
            if module := self.lazy.get(name) or _OWN_MODULES.get(name):
                importlib.import_module(module)
            else:
                self._read_script(name)
        return self.tasks.get(name) or self._plain(name)

    def _read_script(self, name: str) -> None:
        """Read the script if it may hold this task, once: other threads wait for that."""
        with self._reading:
            if self._script is not None and name not in self.tasks and not self._is_own(name):
                load_script(*self._script)  # if it raises, it does so for the next job as well
                self.modules.add(self._script[1])
                self._script = None

    def names(self) -> list[str]:
        """Return the names of all registered tasks, without importing anything."""
        return sorted(name for name in {*self.tasks, *self.lazy} if name not in _OWN_MODULES)

    def labels(self, name: str) -> Labels:
        """Return the labels of a task's arguments, without importing anything; empty for tasks that are not loaded."""
        known = self.tasks.get(name)
        if known is not None:
            return signature_of(known).labels(known.redact)
        function = self._own_function(name)
        return Labels() if function is None else signature_of(function).labels()

    def _is_own(self, name: str) -> bool:
        """Return True if the name belongs to a loaded module, so that nothing else must be searched."""
        return name.rpartition(".")[0] in self.modules

    def _plain(self, name: str) -> Task[..., Any]:
        """Find a function that a loaded module defines itself, or one that is allowed; never one that it imported."""
        function = self._own_function(name) or self._allowed(name)
        if isinstance(function, Task):
            return function
        if function is not None:
            task: Task[..., Any] = Task(function, name, PutOptions(), RunOptions())
            self.tasks[name] = task
            return task
        hint = "start the consumer with --tasks MODULE, or correct the name"
        if self._script_name and name.rpartition(".")[0] == self._script_name:
            hint = "define it above the script's first use of a queue or consumer, or in a module of its own"
        raise UnknownTask(f"unknown task {name!r}", hint=hint)

    def _own_function(self, name: str) -> Callable[..., Any] | None:
        module, _, function_name = name.rpartition(".")
        if module not in self.modules:
            return None
        loaded = sys.modules.get("__main__" if module == main_name() else module)
        function: Callable[..., Any] | None = getattr(loaded, function_name, None)
        own = loaded is not None and getattr(function, "__module__", None) == loaded.__name__
        return function if own and callable(function) and not isinstance(function, type) else None


#: Runs functions that travel with their calls. Only users of Python can name one, so it is not listed.
_call_function: Task[..., Any] = Task(call_function, FUNCTION, PutOptions(), RunOptions())
#: The registry that `@task` fills and workers search.
registry = Registry()


def _join(task: str, results: list[Any], arguments: dict[str, Any]) -> Any:
    """Join the results of an order's parts, as the task of this name does it."""
    join = registry.find(task).join
    return results if join is None else join(results, **arguments)


#: The join of an order, a job behind its parts.
join_parts: Task[..., Any] = Task(_join, JOIN, PutOptions(), RunOptions())


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    redact: Iterable[str] = (),
    retry_on: ErrorKinds | None = None,
    give_up_on: ErrorKinds = (),
    backoff: Backoff | None = None,
    **options: Unpack[DecoratorOptions],
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
@overload
def task(
    *,
    batch: int,
    name: str | None = None,
    redact: Iterable[str] = (),
    retry_on: ErrorKinds | None = None,
    give_up_on: ErrorKinds = (),
    backoff: Backoff | None = None,
    **options: Unpack[DecoratorOptions],
) -> _BatchDecorator: ...
def task(  # noqa: PLR0913 - each is an option of users
    function: Callable[..., Any] | None = None,
    /,
    *,
    batch: int | None = None,
    name: str | None = None,
    redact: Iterable[str] = (),
    retry_on: ErrorKinds | None = None,
    give_up_on: ErrorKinds = (),
    backoff: Backoff | None = None,
    **options: Any,
) -> Any:
    """Register a function as a task.

    The options are `queue`, `priority` from 0 to 255 (higher first), `retries` after it raised, `first_delay` before
    the first retry (doubling), `timeout` of one run (None: no limit), `soft_timeout` after which SoftTimeout is raised
    in it (None: never), `keep` of the outcome, `wait` for room in a full queue before a submit raises Full (None: no
    limit; 0: not at all), `durability` that a submit waits for (memory, written, fsync, replicated:N; None: that of the
    `Queue` object), `serializer` ("pickle" signs and sends pickles of what is not data; None: that of the `Queue`
    object), `expires` after which a job that was never started is not started (from when it may run, or a datetime;
    None: never), `limit`, a `Limit` of how many run at a time or start within a period (None: none), `unique`, so that
    there is one job at a time with the same arguments (True, or a `Unique`), `on_success` and `on_failure`, a task or
    function that is submitted when a job has ended (None: nothing), `headers` that travel beside the arguments for
    middleware (a dict of strings), and `redact`, further parameters and mapping keys that are secret. Durations are in
    seconds, or timedeltas. The default `name` is that of the module and the function.

    With `batch`, the function takes the arguments of up to so many jobs (1 to 1,000) at once: a list for each
    parameter. It returns a list with the result of each job, with an exception for one that failed, or None. Then
    `wait` is how long a worker waits for more jobs before it calls the function (0: not at all), and the limit of a
    submit to a full queue is set by `options`. Raises BadCall if the function cannot take lists, or yields.

    Three options belong to the task's code in the worker, so calls cannot change them: `retry_on`, the classes of
    exceptions that are retried (None: all), `give_up_on`, those that are not, and `backoff`, a function of the number
    of the retry and the exception that returns the seconds before it, or a list of these seconds.

    With `cron` or `every`, and `timezone`, `jitter`, `missed` and `overlap`, consumers run it again and again; see
    `Schedule`, of which `schedule` takes one or several.
    """
    if of_calls := options.keys() & {"delay", "eta", "id", "after", "when"}:
        raise BadCall(
            f"{' and '.join(sorted(of_calls))} cannot be set for all calls of a task",
            hint="set it for a single one: my_task.options(…).submit(…)",
        )

    policy = make_policy(retry_on, give_up_on, backoff, options.get("retries", 0))
    timing = {option: options.pop(option) for option in _TIMING if option in options}
    schedules = _schedules(options.pop("schedule", ()), timing)

    def register(function: Callable[..., Any]) -> Task[..., Any]:
        gathers = None
        if batch is not None:
            gathers = BatchFunction(function, batch, as_seconds(options.pop("wait", 0.0)))
            function = gathers.for_one()
        made = Task(function, name or name_of(function), PutOptions(), RunOptions()).options(**options)
        made.batch = gathers
        made.redact = tuple(redact)
        made.retry_policy = policy
        made.schedules = schedules
        for schedule in schedules:
            check_scheduled(made.name, made.put)
            _check_arguments(made, schedule)
        registry.add(made)
        return made

    return register if function is None else register(function)


def _schedules(given: Schedule | Iterable[Schedule], timing: dict[str, Any]) -> tuple[Schedule, ...]:
    """Return the schedules of a task. Raises BadCall if one is invalid."""
    found = [given] if isinstance(given, Schedule) else list(given)
    return (*found, *([Schedule(**timing)] if timing else []))
