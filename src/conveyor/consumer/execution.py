"""One run of one job, as named steps that end in an outcome. No server, no slate: what happens to user code is here."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.context import running
from conveyor.errors import BadCall, BadInput, JobCancelled, UnknownTask
from conveyor.wire import call, codec
from conveyor.wire.outcome import (
    Cancel,
    Fail,
    Outcome,
    Retry,
    describe_error,
    describe_text,
    describe_undecodable,
    result_bytes,
)
from conveyor.wire.redaction import Labels, preview, secret_texts
from conveyor.wire.retry import delay_before
from conveyor.wire.signature import Signature, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.context import CurrentJob
    from conveyor.tasks import Registry

#: Seconds in which what a coroutine has left in its event loop must end once it is cancelled.
_ENDING = 1.0
#: Errors that the same input gives again; trying once more would be a waste.
_HOPELESS = (BadInput, BadCall, UnknownTask)


class Runnable(NamedTuple):
    """A task as a worker needs it."""

    function: Callable[..., Any]
    signature: Signature
    is_coroutine: bool
    labels: Labels


class Executor:
    """Runs jobs, one at a time, in the thread that calls it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._known: dict[str, Runnable] = {}
        self._runner: asyncio.Runner | None = None
        self._awaited: asyncio.Task[Any] | None = None
        self._wakeup: tuple[int, int, int] | None = None  # the file by which the event loop wakes itself
        self._abandoned: list[asyncio.Runner] = []
        self._is_finding = False

    def decode(self, data: bytes) -> call.Call | Fail:
        """Read a job's bytes; bytes that are no job are a failure, and stay as they are."""
        try:
            return call.decode_call(data)
        except (msgspec.MsgspecError, ValueError) as error:
            return Fail(describe_undecodable(error))

    def run(
        self,
        job: call.Call,
        current: CurrentJob,
        retries_used: int,
        found: Callable[[], None] | None = None,
    ) -> Outcome:
        """Find the task, decode the arguments, run, and return the outcome; never raises what user code raises.

        Calls `found`, if it is given, when the task is known, which may take the import of its module.
        """
        try:
            if found is not None:
                self._find_whole(job.task)
                found()
                if current.cancelled:
                    return Cancel()
            runnable = self._find(job.task)
            args, kwargs = runnable.signature.decode(job.args, job.kwargs)
            mark = running.set(current)
            try:
                value = runnable.function(*args, **kwargs)
                if runnable.is_coroutine or isinstance(value, CoroutineType):
                    value = self._await(value)
            finally:
                running.reset(mark)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is the job's outcome
            if (
                current.cancelled
            ):  # else even a cancellation is an error: of something that the task waited for
                return Cancel()
            return _judged(error, job.options, retries_used, self.secrets(job))
        return _carried(value, runnable.signature)

    def preview(self, job: call.Call) -> str | None:
        """Return the arguments as one line for people; None before the task is found, for its secrets are not known.

        It imports nothing: any thread may call it, at any time, and an import belongs to the run.
        """
        known = self._known.get(job.task)
        try:
            return None if known is None else preview(job, known.labels)
        except BaseException:  # noqa: BLE001 - formatters of users may raise anything; the run reports it
            return ""

    def knows(self, name: str) -> bool:
        """Return True if the task has been found before."""
        return name in self._known

    def secrets(self, job: call.Call) -> list[str]:
        """Return the texts of its arguments that must be readable in nothing that the task writes."""
        known = self._known.get(job.task)
        try:
            return secret_texts(job) if known is None else secret_texts(job, known.labels)
        except JobCancelled:
            raise
        except BaseException:  # noqa: BLE001 - formatters of users may raise anything
            return []

    def interrupt(self) -> None:
        """Stop the running task where it is; called by a signal handler, in the thread that runs it."""
        if self._is_finding:  # an import that is cut short would stay half done for the jobs after this one
            return
        if self._awaited is not None:
            self._awaited.get_loop().call_soon_threadsafe(self._awaited.cancel)
            return
        message = "the job was cancelled"
        raise JobCancelled(message)

    def _find_whole(self, name: str) -> None:
        """Find a task, which may take the import of its module; an interruption waits for the end of that."""
        self._is_finding = True
        try:
            self._find(name)
        finally:
            self._is_finding = False

    def _find(self, name: str) -> Runnable:
        known = self._known.get(name)
        if known is None:
            if name == call.ITEM:
                message = "an item that was put with Queue.put names no task"
                raise UnknownTask(message, hint="take items with Queue.get, and put work with submit")
            task = self.registry.find(name)
            function, signature = task.function, signature_of(task)
            is_coroutine = inspect.iscoroutinefunction(function)
            known = Runnable(function, signature, is_coroutine, signature.labels(task.redact))
            self._known[name] = known
        return known

    def _await(self, coroutine: Any) -> Any:
        if self._runner is not None and self._wakeup != _wakeup_of(self._runner):
            # A task has closed the loop or its files. Closing it would close others that have their numbers by now.
            self._abandoned.append(self._runner)
            self._runner = None
        if self._runner is None:
            self._runner = asyncio.Runner()
            self._wakeup = _wakeup_of(self._runner)

        is_over = False

        async def watched() -> Any:
            nonlocal is_over
            self._awaited = asyncio.current_task()
            try:
                return await coroutine
            finally:
                is_over = await _end_others()

        try:
            # A context of its own: the runner would go on with the one of the first job, and its current_job().
            return self._runner.run(watched(), context=contextvars.copy_context())
        finally:
            self._awaited = None
            if not is_over:
                # It was stopped in the middle, or something in it does not end: the next job gets another.
                with contextlib.suppress(OSError, RuntimeError):
                    self._runner.get_loop().close()
                self._runner = None


async def _end_others() -> bool:
    """Cancel what else runs in the event loop, as `asyncio.run` does; return False if that does not end in a moment."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    return not others or not (await asyncio.wait(others, timeout=_ENDING))[1]


def _wakeup_of(runner: asyncio.Runner) -> tuple[int, int, int] | None:
    """Return which file wakes an event loop: its number and identity. Return None if it is closed."""
    loop = runner.get_loop()
    wakeup = getattr(loop, "_ssock", None)
    if loop.is_closed():
        return None
    if wakeup is None:  # a loop of another library; nothing is known of it
        return (0, 0, 0)
    try:
        found = os.fstat(wakeup.fileno())
    except OSError:
        return None
    return wakeup.fileno(), found.st_dev, found.st_ino


def _carried(value: Any, signature: Signature) -> Outcome:
    try:
        return result_bytes(value, typed=signature.gives_objects)
    except JobCancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - objects of own classes run user code when they are read
        kind, message, traceback = codec.decode(describe_error(error))
        text = f"the result cannot be carried: {kind}: {message}"
        return Fail(describe_text("BadCall", text, traceback))


def _judged(
    error: BaseException, options: call.RunOptions, retries_used: int, secrets: Sequence[str]
) -> Outcome:
    data = describe_error(error, secrets)
    if retries_used < options.retries and not isinstance(error, _HOPELESS):
        return Retry(data, delay_before(retries_used + 1, options.first_delay))
    return Fail(data)
