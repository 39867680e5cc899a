"""Batch tasks: functions that take the arguments of several jobs at once, and return the result of each."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from conveyor.errors import BadCall
from conveyor.wire import hints
from conveyor.wire.checks import check_seconds
from conveyor.wire.signature import FROM_WORKER, check_items

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Jobs of one call.
MAX_BATCH = 1000


class BatchFunction:
    """A function that takes up to `size` jobs: one list for each parameter, and one result for each job.

    A worker waits up to `wait` seconds for more jobs before it calls the function. Raises BadCall if the function
    cannot be called so.
    """

    def __init__(self, function: Callable[..., Any], size: int, wait: float) -> None:
        self.function = function
        self.size = size
        self.wait = wait
        self.name = getattr(function, "__qualname__", repr(function))
        if type(size) is not int or not 1 <= size <= MAX_BATCH:
            raise BadCall(f"batch must be a whole number between 1 and {MAX_BATCH}, got {size!r:.80}")
        check_seconds("wait", wait)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise BadCall(
                f"{self.name}() yields, and the items of a batch task would belong to no single job",
                hint="return a list with a result for each job, or leave out batch",
            )
        self.is_async = inspect.iscoroutinefunction(function)
        parameters = inspect.signature(function).parameters.values()
        self.items = tuple(one.name for one in parameters if one.default is not FROM_WORKER)
        """The parameters that take a list."""
        check_items(self.name, [one for one in parameters if one.name in self.items], hints.resolve(function))

    def arguments(self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[list[Any]]:
        """Return the list for each parameter that takes one, from the arguments of several jobs."""
        return [
            [args[place] if place < len(args) else kwargs[name] for args, kwargs in calls]
            for place, name in enumerate(self.items)
        ]

    def results(self, returned: object, count: int) -> Sequence[Any]:
        """Return the result of each of `count` jobs; an exception is that of its job.

        If the function returns None, all jobs succeed, without results. Raises BadCall for another number of results.
        """
        if returned is None:
            return [None] * count
        if not isinstance(returned, list | tuple) or len(returned) != count:
            is_list = isinstance(returned, list | tuple)
            got = f"a list of {len(returned)}" if is_list else f"`{type(returned).__name__}`"  # type: ignore[arg-type]
            raise BadCall(
                f"{self.name}() must return a list with a result for each of its {count} jobs, got {got}",
                hint="put an exception in the place of a job that failed",
            )
        return returned

    def for_one(self) -> Callable[..., Any]:
        """Return the function that takes and returns what a single job does: a batch of one."""

        def lists(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[list[Any]], dict[str, Any]]:
            given = {name: value for name, value in kwargs.items() if name not in self.items}
            try:
                return self.arguments([(args, kwargs)]), given
            except KeyError:
                raise BadCall(f"{self.name}() takes {', '.join(self.items)}, one value each") from None

        def result(returned: object) -> Any:
            (value,) = self.results(returned, 1)
            if isinstance(value, BaseException):
                raise value
            return value

        @functools.wraps(self.function)
        def call(*args: Any, **kwargs: Any) -> Any:
            positional, named = lists(args, kwargs)
            return result(self.function(*positional, **named))

        @functools.wraps(self.function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            positional, named = lists(args, kwargs)
            return result(await self.function(*positional, **named))

        made: Any = call_async if self.is_async else call
        made.takes_items = True  # for its signature
        return made  # type: ignore[no-any-return]
