"""The task `sleep`: does nothing for a while, which is the best way to see a queue work."""

import math
import time
from dataclasses import dataclass
from typing import Annotated

from conveyor.errors import BadInput
from conveyor.task_def.pausing import pause
from conveyor.tasks import task

#: Most jobs of one order.
MOST_TIMES = 100_000


@dataclass(frozen=True, slots=True)
class Slept:
    """What an order of sleep comes to."""

    times: int
    seconds: float
    """Seconds slept, all jobs together."""


@task(name="sleep", queue="queue_zero")
def sleep(seconds: float = 10.0) -> float:
    """Sleep for some seconds.

    Gives the seconds it really took. Raises BadInput for a negative or endless time.
    """
    _check_seconds(seconds)
    start = time.monotonic()
    pause(seconds, report=True)
    return time.monotonic() - start


@sleep.checks
def check(seconds: float = 10.0) -> None:
    """Refuse a negative or endless time."""
    _check_seconds(seconds)


@sleep.splits
def split(
    seconds: Annotated[float, "seconds that each job sleeps"] = 10.0,
    times: Annotated[int, "number of jobs"] = 5,
) -> list[dict[str, object]]:
    """Give `times` jobs that sleep `seconds` each."""
    _check_seconds(seconds)
    if not 1 <= times <= MOST_TIMES:
        message = f"times={times}: the number of jobs is 1 to {MOST_TIMES:,}"
        raise BadInput(message, hint="try times=5")
    return [{"seconds": seconds} for _ in range(times)]


@sleep.joins
def join(parts: list[float], /, **_: object) -> Slept:
    """Add up what was slept."""
    return Slept(len(parts), math.fsum(parts))


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        message = f"seconds={seconds}: nobody can sleep that long"
        raise BadInput(message, hint="give 0 or more seconds")
