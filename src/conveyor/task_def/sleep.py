"""The task `sleep`, which is the easiest way to watch a queue at work."""

import math
import time
from dataclasses import dataclass
from typing import Annotated

from conveyor.context import current_job
from conveyor.errors import BadInput
from conveyor.tasks import task

#: Jobs of one order at most.
MAX_TIMES = 100_000
#: Seconds between two checks for a cancellation.
STEP = 0.05


@dataclass(frozen=True, slots=True)
class Slept:
    """The result of an order."""

    times: int
    seconds: float
    """Seconds slept by all jobs together."""


@task(name="sleep", queue="queue_zero")
def sleep(seconds: float = 10.0) -> float:
    """Sleep for some seconds, and return the actual time.

    Raises BadInput for a negative or infinite time.
    """
    _check_seconds(seconds)
    start = time.monotonic()
    pause(seconds, report=True)
    return time.monotonic() - start


@sleep.checks
def check(seconds: float = 10.0) -> None:
    """Refuse a negative or infinite time."""
    _check_seconds(seconds)


@sleep.splits
def split(
    seconds: Annotated[float, "seconds that each job sleeps"] = 10.0,
    times: Annotated[int, "number of jobs"] = 5,
) -> list[dict[str, object]]:
    """Return `times` jobs that sleep `seconds` each."""
    _check_seconds(seconds)
    if not 1 <= times <= MAX_TIMES:
        raise BadInput(f"times must be between 1 and {MAX_TIMES:,}, got {times}", hint="try times=5")
    return [{"seconds": seconds} for _ in range(times)]


@sleep.joins
def join(parts: list[float], /, **_: object) -> Slept:
    """Add up the times."""
    return Slept(len(parts), math.fsum(parts))


def pause(seconds: float, *, report: bool = False) -> None:
    """Wait for `seconds`, to the millisecond; with `report`, report the progress.

    Raises JobCancelled within 0.05 seconds of a cancellation of the job.
    """
    job = current_job()
    deadline = time.monotonic() + seconds
    job.check()
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, STEP))
        job.check()
        if report:
            job.progress(max(0.0, min(seconds, seconds - (deadline - time.monotonic()))), seconds, "sleeping")


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise BadInput(f"seconds must be finite and 0 or more, got {seconds}", hint="try seconds=10")
