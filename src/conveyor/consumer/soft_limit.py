"""SoftTimeout, raised in a running task: in its thread, or in its coroutine, and in nothing else.

A plain task gets it between two steps of Python, from a signal handler or from another thread. A coroutine gets it at
its `await`: it is driven by an object of ours, whose task is cancelled to wake it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from conveyor.consumer.interruption import await_raised, raise_in
from conveyor.errors import SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from conveyor.context import CurrentJob

T = TypeVar("T")


class SoftLimit:
    """The code of the task that one executor runs, while SoftTimeout may be raised in it."""

    def __init__(self) -> None:
        self._thread = 0
        self._lock = threading.Lock()
        self._coroutine: _LimitedCoroutine | None = None

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function in which SoftTimeout may be raised. What it returns counts, even if the limit passes then."""
        value: Any = None
        has_returned = False
        try:
            try:
                with self._lock:
                    self._thread = threading.get_ident()
                value = function(*args, **kwargs)
                has_returned = True
            finally:
                with self._lock:
                    self._thread = 0
                await_raised()
        except SoftTimeout:
            if not has_returned:
                raise
        finally:
            self._thread = 0
        return value  # type: ignore[no-any-return]

    async def drive(self, coroutine: Coroutine[Any, Any, T], current: CurrentJob) -> T:
        """Await a coroutine in which SoftTimeout may be raised, unless its job is cancelled."""
        self._coroutine = _LimitedCoroutine(coroutine, current)
        try:
            value: T = await self._coroutine
        except BaseException as error:
            # A task group wraps what is raised in its block; before Python 3.13 even its kind of cancellation.
            rest = error.split(_SoftCancelledError)[1] if isinstance(error, BaseExceptionGroup) else error
            if rest is None or isinstance(rest, _SoftCancelledError):
                raise SoftTimeout().with_traceback(error.__traceback__) from None
            raise
        finally:
            self._coroutine = None
        return value

    def is_in_thread(self) -> bool:
        """Return True if SoftTimeout may be raised in the calling thread now; for a signal handler in it."""
        return self._thread == threading.get_ident()

    def pass_to_thread(self) -> bool:
        """Raise it in the thread that `call` was called in. Return False if there is none. For other threads."""
        with self._lock:
            if not self._thread:
                return False
            raise_in(self._thread, SoftTimeout)
            return True

    def pass_to_coroutine(self) -> bool:
        """Raise it in the coroutine that `drive` awaits. Return False if there is none. Thread-safe."""
        coroutine = self._coroutine
        if coroutine is None:
            return False
        coroutine.loop.call_soon_threadsafe(coroutine.interrupt)
        return True


class _SoftCancelledError(SoftTimeout, asyncio.CancelledError):
    """SoftTimeout within a coroutine. It is a cancellation as well, so that what the coroutine awaits ends, too.

    A task group that gets another exception wraps it, and while it waits for its tasks, it would leave them running.
    """


class _LimitedCoroutine(Generator[Any, Any, Any]):
    """A coroutine as an awaitable that may raise SoftTimeout, once, at the `await` where the coroutine is."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], current: CurrentJob) -> None:
        self._current = current
        self.cr_await = coroutine
        """As of a coroutine, for those who read its stack."""
        self.loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._is_due = self._is_over = False

    def interrupt(self) -> None:
        """Raise SoftTimeout in the coroutine. Call it in the event loop."""
        if self._task is not None and not self._is_over:
            self._is_due = True
            self._task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def send(self, value: Any) -> Any:
        """Resume the coroutine. If what it awaited has swallowed the cancellation, it gets SoftTimeout all the same."""
        return self._resume(self._raise if self._takes_due() else self.cr_await.send, value)

    def throw(self, error: Any, *_: Any) -> Any:
        """Resume the coroutine with an error: SoftTimeout instead of the cancellation that was made for it."""
        is_ours = isinstance(error, asyncio.CancelledError) and self._takes_due()
        return self._resume(self._raise if is_ours else self.cr_await.throw, error)

    def close(self) -> None:
        """Close the coroutine."""
        self._is_over = True
        self.cr_await.close()

    def _resume(self, how: Callable[[Any], Any], value: Any) -> Any:
        try:
            return how(value)
        except BaseException:
            self._is_over = True
            raise

    def _takes_due(self) -> bool:
        """Return True, once, if SoftTimeout is due. The cancellation of the job comes first."""
        if not self._is_due or self._task is None:
            return False
        self._is_due = False
        self._task.uncancel()
        return not self._current.cancelled

    def _raise(self, _: Any) -> Any:
        return self.cr_await.throw(_SoftCancelledError())
