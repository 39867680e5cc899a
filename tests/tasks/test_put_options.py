"""When a job may run and when it expires, as options: seconds, timedeltas or times."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest

from conveyor import BadCall, Queue, task
from conveyor.queue import encoded_calls
from conveyor.wire.call import decode_call
from conveyor.wire.checks import MAX_SECONDS

NAIVE = dt.datetime(2030, 1, 1)  # noqa: DTZ001 - it is refused


@task(expires=dt.timedelta(minutes=1))
def brief(number: int) -> int:
    return number


def expiry(**options: Any) -> float | None:
    """Return the expiry as it travels: seconds after the put."""
    calls = encoded_calls(Queue("work"), brief.options(**options), [((1,), {})])
    return decode_call(calls.jobs[0][1]).options.expires


def later(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(time.time() + seconds, dt.UTC)


def test_expiry_travels_in_seconds_from_the_put() -> None:
    assert expiry() == 60
    assert expiry(expires=5) == 5
    assert expiry(expires=None) is None
    assert expiry(expires=5, delay=60) == 65
    assert expiry(expires=later(100)) == pytest.approx(100, abs=5)
    assert expiry(expires=later(100), delay=60) == pytest.approx(100, abs=5)
    assert expiry(expires=60, eta=later(100)) == pytest.approx(160, abs=5)
    assert expiry(expires=later(-5)) == 0


def test_eta_is_a_delay_until_a_time() -> None:
    assert brief.options(eta=later(60)).put.seconds_left() == pytest.approx(60, abs=5)
    assert brief.options(eta=later(-60)).put.seconds_left() == 0
    assert brief.options(eta=later(60)).options(delay=5).put.seconds_left() == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expires": 0}, "expires must be more than 0 seconds"),
        ({"expires": -1}, "expires must be between 0"),
        ({"expires": float("nan")}, "expires must be between 0"),
        ({"expires": MAX_SECONDS, "delay": 5}, "expires must be between 0"),
        ({"expires": "60"}, "expires must be a number of seconds"),
        ({"expires": NAIVE}, "expires must be a number of seconds or a time with a time zone"),
        ({"eta": NAIVE}, "with a time zone"),
        ({"eta": 60}, "eta must be a datetime, got 60"),
        ({"eta": None}, "eta must be a datetime, got None"),
        ({"eta": dt.datetime(2030, 1, 1, tzinfo=dt.UTC), "delay": 5}, "eta and delay exclude each other"),
    ],
)
def test_invalid_times_are_refused(options: Any, message: str) -> None:
    with pytest.raises(BadCall, match=message):
        brief.options(**options)


def test_eta_is_for_single_calls() -> None:
    with pytest.raises(BadCall, match="eta cannot be set for all calls"):
        task(eta=later(60))(later)  # type: ignore[call-overload]


def test_jobs_without_an_expiry_are_as_long_as_before() -> None:
    calls = encoded_calls(Queue("work"), brief.options(expires=None), [((1,), {})])
    assert calls.jobs[0][1][0] == 0x94
