"""Which errors of a task are retried, and when: the options of `@task` that stay with its code and do not travel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from conveyor.errors import (
    BadCall,
    BadInput,
    ResourceUnavailable,
    Retry,
    TimeLimit,
    TooLarge,
    UnknownTask,
)
from conveyor.wire.call import as_seconds
from conveyor.wire.checks import MAX_SECONDS, check_seconds
from conveyor.wire.outcome import delay_before

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Classes of exceptions, as after `except`.
ErrorKinds: TypeAlias = type[BaseException] | Iterable[type[BaseException]]
#: Seconds before each retry: of its number, from 1, and what the run raised; or a list, of which the last one repeats.
Backoff: TypeAlias = Callable[[int, Any], float | timedelta] | Sequence[float | timedelta]

#: Retried whatever else is: the task asks for it, or its worker was the cause.
_ALWAYS = (Retry, ResourceUnavailable)
#: Not retried, whatever else is: the same input causes them again.
_NEVER = (BadInput, BadCall, TooLarge, UnknownTask)


class RetryPolicy(NamedTuple):
    """Which errors are retried, while a job has retries left, and after how long."""

    retry_on: tuple[type[BaseException], ...] | None = None
    """None: all that `give_up_on` does not name."""
    give_up_on: tuple[type[BaseException], ...] = ()
    backoff: Callable[[int, Any], float | timedelta] | tuple[float, ...] | None = None
    """None: doubling from the job's `first_delay`."""

    def retries(self, error: BaseException) -> bool:
        """Return True if a run that raised this may be retried. The most specific class that is named decides.

        A group whose class is not named is retried if each of its exceptions is.
        """
        kinds = type(error).__mro__
        if isinstance(error, BaseExceptionGroup):
            named = self._named(kind for kind in kinds if issubclass(kind, BaseExceptionGroup))
            return all(map(self.retries, error.exceptions)) if named is None else named
        named = self._named(kinds)
        return self.retry_on is None if named is None else named

    def _named(self, kinds: Iterable[type]) -> bool | None:
        """Return what the options say about the first of these classes that they name, or None if they name none."""
        for kind in kinds:
            if kind in (self.retry_on or ()):
                return True
            if kind in self.give_up_on:
                return False
            if kind in _ALWAYS or kind in _NEVER:
                return kind in _ALWAYS
        return None

    def delay(self, retry: int, error: BaseException, first_delay: float) -> float:
        """Return the seconds before the `retry`th retry (1, 2, …).

        Raises what a `backoff` of the task raises, and BadCall for what it should not return.
        """
        asked = [one.after for one in _exceptions(error) if isinstance(one, Retry) and one.after is not None]
        if asked:
            return min(max(asked), MAX_SECONDS)
        if callable(self.backoff):
            seconds: float = as_seconds(self.backoff(retry, error))
            check_seconds("the delay that backoff returns", seconds)
            return seconds
        return self._fixed_delay(retry, first_delay)

    def delay_after_limit(self, retry: int, first_delay: float) -> float | None:
        """Return the seconds before the retry of a run that reached its time limit; None: it is not retried.

        Runs no code of the task: in place of a function that computes delays, the usual delay counts.
        """
        return self._fixed_delay(retry, first_delay) if self.retries(TimeLimit()) else None

    def _fixed_delay(self, retry: int, first_delay: float) -> float:
        if isinstance(self.backoff, tuple):
            return self.backoff[min(retry, len(self.backoff)) - 1]
        return delay_before(retry, first_delay)


#: That of a task without such options.
DEFAULT = RetryPolicy()


def make_policy(
    retry_on: ErrorKinds | None, give_up_on: ErrorKinds, backoff: Backoff | None, retries: int
) -> RetryPolicy:
    """Return the policy of a task with so many `retries`. Raises BadCall for options that are invalid or do nothing."""
    if retry_on is None and give_up_on == () and backoff is None:
        return DEFAULT
    retried = None if retry_on is None else _kinds("retry_on", retry_on)
    refused = _kinds("give_up_on", give_up_on)
    if retried is not None and not retried:
        raise BadCall("retry_on names no class", hint="name one, or leave it out and set retries=0")
    if both := [kind.__name__ for kind in retried or () if kind in refused]:
        raise BadCall(
            f"retry_on and give_up_on both name {', '.join(both)}", hint="remove it from one of them"
        )
    for name, option in (("retry_on", retry_on), ("backoff", backoff)):
        if option is not None and not retries:
            raise BadCall(f"{name} does nothing without retries", hint="add their max number: retries=5")
    return RetryPolicy(retried, refused, None if backoff is None else _checked_backoff(backoff))


def _kinds(name: str, value: Any) -> tuple[type[BaseException], ...]:
    try:
        kinds = (value,) if isinstance(value, type) else tuple(value)
    except TypeError:
        kinds = (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise BadCall(
                f"{name} takes classes of exceptions, got {kind!r:.80}",
                hint=f"pass one, or several in a tuple: {name}=(ConnectionError, TimeoutError)",
            )
    return kinds


def _checked_backoff(backoff: Any) -> Callable[[int, Any], float | timedelta] | tuple[float, ...]:
    if callable(backoff):
        _check_callable(backoff)
        return backoff  # type: ignore[no-any-return]
    if isinstance(backoff, str | bytes) or not isinstance(backoff, Sequence) or not backoff:
        raise BadCall(
            f"backoff must be a function or a list of seconds, got {backoff!r:.80}", hint="pass [1, 10, 60]"
        )
    delays = tuple(map(as_seconds, backoff))
    for delay in delays:
        check_seconds("each delay in backoff", delay)
    return delays


def _check_callable(backoff: Callable[..., Any]) -> None:
    hint = "define it as `def backoff(retry, error): return 10 * retry`"
    if inspect.iscoroutinefunction(backoff):
        raise BadCall("backoff must be a plain function, got a coroutine function", hint=hint)
    try:
        inspect.signature(backoff).bind(1, ConnectionError())
    except TypeError as error:
        raise BadCall(
            f"backoff must take the number of the retry and the exception: {error}", hint=hint
        ) from None
    except ValueError:  # a built-in one without a signature
        pass


def _exceptions(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, or all of a group."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _exceptions(one)
    else:
        yield error
