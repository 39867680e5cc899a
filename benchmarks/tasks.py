"""What the measured jobs do."""

from __future__ import annotations

import os
import time

from conveyor import current_job


def echo(number: int) -> int:
    """Give the number back: the smallest job there is."""
    return number


def now() -> float:
    """Give the time it is started at, on a clock that all processes of a machine share."""
    return time.monotonic()


def nap(seconds: float) -> tuple[float, float, int]:
    """Sleep, and give start, end and the worker's process."""
    start = time.monotonic()
    time.sleep(seconds)
    return start, time.monotonic(), os.getpid()


def refuse(number: int) -> None:
    """Fail, each in its own words."""
    message = f"number {number} is refused"
    raise ValueError(message)


def tell(seconds: float) -> None:
    """Log a line ten times a second."""
    job = current_job()
    for number in range(int(10 * seconds)):
        job.check()
        job.log(f"line {number}")
        time.sleep(0.1)
