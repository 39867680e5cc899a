"""Tasks: the functions that workers may run, by name, and how orders are split into jobs and joined."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
import threading
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from msgspec import structs

from conveyor.errors import BadCall, UnknownTask
from conveyor.queue import Queue
from conveyor.task_loading import load_script, main_name
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.redaction import Labels
from conveyor.wire.signature import name_of, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conveyor.job import Job

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="Callable[..., Any]")


class Task(Generic[P, R]):
    """A registered function. A call runs here; `submit` runs it in a worker."""

    def __init__(self, function: Callable[P, R], name: str, put: PutOptions, run: RunOptions) -> None:
        self.function = function
        self.name = name
        self.put = put
        self.run = run
        self.split: Callable[..., list[dict[str, Any]]] | None = None
        self.join: Callable[..., Any] | None = None
        self.check: Callable[..., object] | None = None
        self.redact: tuple[str, ...] = ()
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__qualname__ = getattr(function, "__qualname__", name)
        self.__module__ = function.__module__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function in this process."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name} on {self.put.queue}>"

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Put a call on the task's queue and return its handle. Waits for room while the queue is full.

        Raises BadCall before anything is put if the arguments do not fit, and ShutDown if the queue is shut down.
        """
        return Queue(self.put.queue).submit(self, *args, **kwargs)

    def submit_many(self, calls: Iterable[tuple[Any, ...]]) -> list[Job[R]]:
        """Put a call for each tuple of positional arguments, several hundred per round trip, and return the handles."""
        return Queue(self.put.queue).submit_many(self, calls)

    def options(self, **changes: Any) -> Task[P, R]:
        """Return the task with other options.

        The options are queue, priority, delay, id, durability, retries, first_delay, timeout and keep.
        """
        known_put = {name: changes.pop(name) for name in PutOptions.__struct_fields__ if name in changes}
        known_run = {name: changes.pop(name) for name in RunOptions.__struct_fields__ if name in changes}
        if changes:
            known = ", ".join(PutOptions.__struct_fields__ + RunOptions.__struct_fields__)
            raise BadCall(f"unknown options: {', '.join(changes)}", hint=f"use {known}")
        other = copy.copy(self)
        other.put = structs.replace(self.put, **known_put)
        other.run = structs.replace(self.run, **known_run)
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

        It runs in the producer, with the list of results and then the order's keyword arguments.
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


class Registry:
    """The tasks of this process by name; no other function runs."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task[..., Any]] = {}
        self.lazy: dict[str, str] = {}
        self.modules: set[str] = set()
        self._script: tuple[str, str] | None = None
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
        self._script = (file, name)

    def find(self, name: str) -> Task[..., Any]:
        """Return a task by name. Raises UnknownTask, and what the import of its module or script raises."""
        if name not in self.tasks:
            if name in self.lazy:
                importlib.import_module(self.lazy[name])
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
        return sorted({*self.tasks, *self.lazy})

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
        """Find a function that a loaded module defines itself; never one that it imported."""
        function = self._own_function(name)
        if function is not None:
            task: Task[..., Any] = Task(function, name, PutOptions(), RunOptions())
            self.tasks[name] = task
            return task
        raise UnknownTask(
            f"unknown task {name!r}", hint="start the consumer with --tasks MODULE, or correct the name"
        )

    def _own_function(self, name: str) -> Callable[..., Any] | None:
        module, _, function_name = name.rpartition(".")
        if module not in self.modules:
            return None
        loaded = sys.modules.get("__main__" if module == main_name() else module)
        function: Callable[..., Any] | None = getattr(loaded, function_name, None)
        own = loaded is not None and getattr(function, "__module__", None) == loaded.__name__
        return function if own and callable(function) and not isinstance(function, type) else None


#: The registry that `@task` fills and workers search.
registry = Registry()


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    queue: str = "default",
    priority: int = 0,
    retries: int = 0,
    durability: str | None = None,
    redact: Iterable[str] = (),
    **run: float | None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(  # noqa: PLR0913 - one for each option, by keyword
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    queue: str = "default",
    priority: int = 0,
    retries: int = 0,
    durability: str | None = None,
    redact: Iterable[str] = (),
    **run: Any,
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Register a function as a task.

    The options are `queue`, `priority` from 0 to 255 (higher first), `retries` after it raised, `first_delay` in
    seconds before the first retry (doubling), `timeout` in seconds for one run (None: no limit), `keep` of the outcome
    in seconds, `durability` that a submit waits for (memory, written, fsync, replicated:N; None: that of the `Queue`
    object), and `redact`, further parameters and mapping keys that are secret. The default `name` is that of the module
    and the function.
    """

    def register(function: Callable[P, R]) -> Task[P, R]:
        made = Task(
            function,
            name or name_of(function),
            PutOptions(queue=queue, priority=priority, durability=durability),
            RunOptions(retries, **run),
        )
        made.redact = tuple(redact)
        registry.add(made)
        return made

    return register if function is None else register(function)
