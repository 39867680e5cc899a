"""Which errors are retried, and when: the options as they are given, and what follows from them."""

from __future__ import annotations

import asyncio
import pickle
from datetime import timedelta
from typing import Any

import pytest

from conveyor import (
    BadCall,
    BadInput,
    ResourceUnavailable,
    Retry,
    SoftTimeout,
    StoreUnavailable,
    TimeLimit,
    UnknownTask,
    task,
)
from conveyor.retry_policy import DEFAULT, RetryPolicy, make_policy
from conveyor.wire.checks import MAX_SECONDS

NETWORK = (ConnectionError, TimeoutError)


def policy(retry_on: Any = None, give_up_on: Any = (), backoff: Any = None) -> RetryPolicy:
    return make_policy(retry_on, give_up_on, backoff, 5)


@pytest.mark.parametrize(
    ("made", "error", "retried"),
    [
        (DEFAULT, ValueError(), True),
        (DEFAULT, KeyboardInterrupt(), True),
        (DEFAULT, BadInput(), False),
        (DEFAULT, BadCall(), False),
        (DEFAULT, UnknownTask(), False),
        (DEFAULT, TimeLimit(), True),
        (DEFAULT, ExceptionGroup("", [ValueError(), BadInput()]), False),
        (policy(NETWORK), ConnectionResetError(), True),
        (policy(NETWORK), StoreUnavailable(), True),
        (policy(NETWORK), TimeLimit(), True),
        (policy(NETWORK), SoftTimeout(), False),
        (policy(NETWORK), OSError(), False),
        (policy(NETWORK), asyncio.CancelledError(), False),
        (policy(NETWORK), Retry(), True),
        (policy(NETWORK), ResourceUnavailable(), True),
        (policy(ConnectionError), ConnectionError(), True),
        (policy(None, ValueError), UnicodeError(), False),
        (policy(None, ValueError), KeyError(), True),
        (policy(OSError, ConnectionError), ConnectionResetError(), False),
        (policy(OSError, ConnectionError), TimeoutError(), True),
        (policy(ConnectionResetError, [OSError]), ConnectionResetError(), True),
        (policy(ConnectionResetError, [OSError]), ConnectionError(), False),
        (policy(ValueError), BadInput(), False),
        (policy(BadInput), BadInput(), True),
        (policy(None, Exception), Retry(), True),
        (policy(None, Retry), Retry(), False),
        (policy(None, ResourceUnavailable), ResourceUnavailable(), False),
        (policy(NETWORK), ExceptionGroup("", [ConnectionError(), TimeoutError()]), True),
        (policy(NETWORK), ExceptionGroup("", [ConnectionError(), ValueError()]), False),
        (policy(NETWORK), ExceptionGroup("", [ExceptionGroup("", [ConnectionError()])]), True),
        (policy(NETWORK), ExceptionGroup("", [Retry()]), True),
        (policy(ExceptionGroup), ExceptionGroup("", [ValueError()]), True),
        (policy(Exception), ExceptionGroup("", [BadInput()]), False),
        (policy(None, BaseExceptionGroup), ExceptionGroup("", [ValueError()]), False),
    ],
)
def test_most_specific_named_class_decides(made: RetryPolicy, error: BaseException, retried: object) -> None:
    assert made.retries(error) is retried


def test_delay_is_what_the_task_asks_for_or_its_backoff_says() -> None:
    assert 8 <= DEFAULT.delay(3, ValueError(), 2.0) <= 10
    assert DEFAULT.delay(3, Retry(after=30), 2.0) == 30
    assert DEFAULT.delay(3, Retry(timedelta(minutes=1)), 2.0) == 60
    assert DEFAULT.delay(3, Retry(1e300), 2.0) == MAX_SECONDS
    assert 8 <= DEFAULT.delay(3, Retry(), 2.0) <= 10
    assert DEFAULT.delay(1, ExceptionGroup("", [Retry(5), ValueError(), Retry(7)]), 2.0) == 7
    delays = [
        policy(backoff=[1, timedelta(minutes=1)]).delay(retry, ValueError(), 5.0) for retry in (1, 2, 9)
    ]
    assert delays == [1, 60, 60]
    made = policy(backoff=lambda retry, error: retry * len(str(error)))
    assert made.delay(3, ValueError("ab"), 5.0) == 6
    assert made.delay(3, Retry(after=30), 5.0) == 30


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), None, "1", 1e300, timedelta(-1)])
def test_wrong_value_of_a_backoff_is_refused(wrong: Any) -> None:
    with pytest.raises(BadCall, match="the delay that backoff returns"):
        policy(backoff=lambda retry, error: wrong).delay(1, ValueError(), 1.0)


def test_delay_after_a_time_limit_runs_no_code_of_the_task() -> None:
    def forbidden(retry: int, error: BaseException) -> float:
        raise AssertionError

    assert DEFAULT.delay_after_limit(1, 0.0) == 0.0
    assert policy(ConnectionError).delay_after_limit(1, 0.0) is None
    assert policy(backoff=[5, 7]).delay_after_limit(2, 0.0) == 7
    assert policy(backoff=forbidden).delay_after_limit(1, 0.0) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry_on": "ValueError"}, "retry_on takes classes of exceptions, got 'V'"),
        ({"retry_on": 5}, "retry_on takes classes of exceptions, got 5"),
        ({"give_up_on": (ValueError, int)}, "give_up_on takes classes of exceptions, got <class 'int'>"),
        ({"give_up_on": ValueError("no")}, "give_up_on takes classes of exceptions, got ValueError"),
        ({"retry_on": ()}, "retry_on names no class"),
        ({"retry_on": [KeyError, OSError], "give_up_on": OSError}, "both name OSError"),
        ({"retry_on": KeyError, "retries": 0}, "retry_on does nothing without retries"),
        ({"backoff": [1], "retries": 0}, "backoff does nothing without retries"),
        ({"backoff": []}, "backoff must be a function or a list of seconds"),
        ({"backoff": 5}, "backoff must be a function or a list of seconds"),
        ({"backoff": "15"}, "backoff must be a function or a list of seconds"),
        ({"backoff": [1, -1]}, "each delay in backoff must be between"),
        ({"backoff": lambda retry: retry}, "backoff must take the number of the retry and the exception"),
        ({"backoff": asyncio.sleep}, "got a coroutine function"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadCall, match=message):
        task(**{"retries": 3, **options})(policy)


def test_single_calls_cannot_change_the_policy() -> None:
    made = task(retries=3, retry_on=KeyError)(policy)
    assert made.options(priority=3).retry_policy == policy(KeyError)
    with pytest.raises(BadCall, match="retry_on cannot be set for single calls"):
        made.options(retry_on=ValueError)  # type: ignore[call-arg]


@pytest.mark.parametrize("after", [-1, float("inf"), float("nan"), "5", timedelta(-1)])
def test_retry_refuses_a_time_that_is_none(after: Any) -> None:
    with pytest.raises(BadCall, match="after must be a finite number of seconds"):
        Retry(after=after)


def test_retry_shows_its_reason_and_can_be_pickled() -> None:
    assert str(Retry(5)) == "the task asked to be run again"
    assert str(Retry(5, "busy")) == "busy"
    error = Retry(after=5)
    error.__cause__ = ConnectionError("refused")
    assert str(error) == "ConnectionError: refused"
    assert pickle.loads(pickle.dumps(Retry(5, "busy"))).after == 5
