"""RQ. Each job is a function that the worker imports by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis
from rq import Queue

from benchmarks.contestants.jobs import SETTINGS, URL

if TYPE_CHECKING:
    from collections.abc import Sequence

_queue = Queue("bench", connection=Redis.from_url(URL))
_options = {} if SETTINGS.get("results") else SETTINGS.get("job", {})


def put(name: str, number: int) -> Any:
    """Enqueue a job."""
    return _queue.enqueue(f"benchmarks.contestants.jobs.{name}", number, **_options)


def put_many(name: str, numbers: Sequence[int]) -> None:
    """Enqueue jobs, 1,000 at a time."""
    function = f"benchmarks.contestants.jobs.{name}"
    for first in range(0, len(numbers), 1000):
        some = numbers[first : first + 1000]
        _queue.enqueue_many([Queue.prepare_data(function, (number,), **_options) for number in some])


def result(job: Any) -> Any:
    """Wait for the result."""
    return job.latest_result(timeout=10).return_value
