"""Middleware: code of users around each submit and each run, as generator functions with one `yield`.

What comes before the `yield` runs before the put or the run, what comes after it runs afterwards, and an exception of
the put or the run is raised at the `yield`. The first that was registered is the outermost.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from conveyor.errors import BadCall, ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from conveyor.context import CurrentJob

    AroundSubmit = TypeVar("AroundSubmit", bound=Callable[["SubmittedCall"], Iterator[Any]])
    AroundRun = TypeVar("AroundRun", bound=Callable[["CurrentJob"], Iterator[Any]])

S = TypeVar("S")


class SubmittedCall:
    """A call on its way to the queue, as middleware around its submit sees it."""

    def __init__(
        self, task: str, queue: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], headers: dict[str, str]
    ) -> None:
        self.task = task
        """The name of the task."""
        self.queue = queue
        """The name of the queue."""
        self.args = args
        self.kwargs = kwargs
        """The arguments. They travel as they are: changes have no effect."""
        self.headers = headers
        """Strings that travel with the job. Changes up to the `yield` count."""


class SubmittedCalls:
    """All calls of one submit, as middleware around the whole of it sees them: that of telemetry."""

    def __init__(self, task: str, queue: str, headers: dict[str, str], *, is_batch: bool) -> None:
        self.task = task
        self.queue = queue
        self.headers = headers
        """Strings that travel with each job. Changes up to the `yield` count."""
        self.is_batch = is_batch
        """True if there may be several calls."""
        self.job_id = ""
        """The id of the job, known after the `yield`; empty if there may be several."""
        self.accepted = 0
        """Jobs that were put, known after the `yield`."""


def around_submit(function: AroundSubmit) -> AroundSubmit:
    """Register middleware around each submit of this process: a generator function that takes a `SubmittedCall`.

    It runs in the producer, once for each job. Raises BadCall if it is another kind of function.
    """
    submits.add(function)
    return function


def around_run(function: AroundRun) -> AroundRun:
    """Register middleware around each run of a job: a generator function that takes the current job.

    It runs in workers that import its module, in the thread or coroutine of the task and in its context. What it raises
    is the outcome of the run. Raises BadCall if it is another kind of function.
    """
    runs.add(function)
    return function


class Middleware(Generic[S]):
    """The registered functions for one occasion, in order."""

    def __init__(self, occasion: str) -> None:
        self.occasion = occasion
        self.functions: tuple[Callable[[S], Iterator[Any]], ...] = ()

    def add(self, function: Callable[[S], Iterator[Any]]) -> None:
        """Register a function. It takes the place of one of the same name: its module was read again."""
        name = _name(function)
        if not inspect.isgeneratorfunction(function):
            is_async = inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function)
            raise BadCall(
                f"{name} cannot be middleware around a {self.occasion}: "
                f"it is {'asynchronous' if is_async else 'not a generator function'}",
                hint="write it with def, not async def, and one yield",
            )
        try:
            inspect.signature(function).bind(None)
        except TypeError as error:
            subject = "call" if self.occasion == "submit" else "job"
            raise BadCall(
                f"{name} cannot be middleware around a {self.occasion}: it does not take one argument",
                hint=f"write def {function.__name__}({subject})",
            ) from error
        self.functions = tuple({**{_name(one): one for one in self.functions}, name: function}.values())

    def enter(self, subject: S) -> contextlib.ExitStack:
        """Run all functions up to their `yield`, and return what runs the rest. Raises what a function raises."""
        with contextlib.ExitStack() as stack:
            for function in self.functions:
                stack.enter_context(_Entered(function, subject, self.occasion))
            return stack.pop_all()


class _Entered(Generic[S]):
    """One function around one submit or run. It may replace an exception, and cannot swallow it."""

    def __init__(self, function: Callable[[S], Iterator[Any]], subject: S, occasion: str) -> None:
        self._generator: Any = function(subject)
        self._title = f"the middleware {_name(function)} around a {occasion}"

    def __enter__(self) -> None:
        try:
            next(self._generator)
        except StopIteration:
            raise self._wrong("did not yield") from None
        except BaseException as error:
            self._sign(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                next(self._generator)
            else:
                self._generator.throw(error)
        except StopIteration:
            pass
        except BaseException as raised:
            # A generator cannot let a StopIteration pass: Python makes it the cause of a RuntimeError.
            if raised is error or (isinstance(error, StopIteration) and raised.__cause__ is error):
                error.__traceback__ = traceback  # without the frames of the middleware
                return
            self._sign(raised)
            raise
        else:
            self._generator.close()
            raise self._wrong("yielded twice")

    def _wrong(self, what: str) -> BadCall:
        return BadCall(f"{self._title} {what}", hint="it needs exactly one yield")

    def _sign(self, error: BaseException) -> None:
        error.add_note(f"raised by {self._title}")


class Submits:
    """The middleware around one submit, and around its jobs: entered as these are encoded, left as they are accepted.

    A context manager, at whose end the jobs that were not accepted are left with its exception. Each job has a context
    of its own, since many of them are on their way at a time.
    """

    def __init__(self, calls: SubmittedCalls) -> None:
        self.calls = calls
        self._whole = contextlib.ExitStack()
        self._entered: deque[tuple[contextvars.Context, contextlib.ExitStack]] = deque()
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Enter the middleware around the whole submit. Raises what a function raises."""
        self._whole = whole_submits.enter(self.calls)

    @contextlib.contextmanager
    def entered(
        self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    ) -> Iterator[list[SubmittedCall]]:
        """Enter the middleware around some more calls; the block encodes them. If that fails, they are left again."""
        made: list[SubmittedCall] = []
        whole = self.calls
        some = Submits(whole)
        with some:
            for args, kwargs in calls:
                call = SubmittedCall(whole.task, whole.queue, args, kwargs, dict(whole.headers))
                context = contextvars.copy_context()
                some._entered.append((context, context.run(submits.enter, call)))
                made.append(call)
            yield made
            self._entered += some._entered
            some._entered.clear()

    @contextlib.contextmanager
    def left_on_error(self) -> Iterator[None]:
        """Leave all middleware if the block raises; otherwise it stays entered."""
        with contextlib.ExitStack() as stack:
            stack.push(self.__exit__)
            yield
            stack.pop_all()

    def accepted(self, count: int) -> None:
        """Leave the middleware around the first jobs, which were put. What it raises is raised at the end."""
        self.calls.accepted += count
        for _ in range(min(count, len(self._entered))):
            self._leave(None)

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._entered:
            self._leave(error)
        self._whole.__exit__(kind, error, traceback)
        if self._error is not None and self._error is not error:
            if isinstance(error, ConveyorError) and isinstance(self._error, ConveyorError):
                self._error.accepted, self._error.ids = error.accepted, error.ids
            raise self._error

    def _leave(self, error: BaseException | None) -> None:
        context, stack = self._entered.popleft()
        try:
            details = (None, None, None) if error is None else (type(error), error, error.__traceback__)
            context.run(stack.__exit__, *details)
        except BaseException as raised:  # noqa: BLE001 - raised at the end, after those of other jobs
            self._error = self._error or raised


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"


#: Around each job of a submit, around the whole of it, and around each run.
submits: Middleware[SubmittedCall] = Middleware("submit")
whole_submits: Middleware[SubmittedCalls] = Middleware("submit")
runs: Middleware[CurrentJob] = Middleware("run")
