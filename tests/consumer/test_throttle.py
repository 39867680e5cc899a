"""A task can let its queue rest, or the jobs with the same limit, as after an HTTP 429."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import flow_jobs as jobs
import pytest

from conveyor import BadCall, Limit, Queue, Throttle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def start(consume: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a consumer of the tasks."""
    return lambda *args, **changes: consume(*args, modules=("flow_jobs",), **changes)


def test_queue_rests(start: Any, kind: str, queue: Queue, path: Path) -> None:
    made = queue.submit_many(jobs.throttle, [(str(path), "a", number) for number in range(5)])
    start(workers=1, kind=kind)
    times = [one.result(60) for one in made]
    assert times[0] == min(times)
    assert min(times[1:]) - times[0] >= 0.9
    assert sorted(times[1:]) == times[1:], "the job returns to its place"
    assert queue.count().imbalance == 0


def test_jobs_with_the_same_limit_rest_and_no_others(start: Any, kind: str, queue: Queue, path: Path) -> None:
    task = jobs.throttle.options(limit=Limit(by="key"))
    calls = [(str(path), key, number) for number in (1, 2) for key in ("a", "b")]
    (path.parent / f"{path.name}.b").touch()  # these ask for no rest
    made = dict(zip(calls, queue.submit_many(task, calls), strict=True))
    start(workers=1, kind=kind)
    times = {call[1:]: job.result(60) for call, job in made.items()}
    assert min(times["a", 1], times["a", 2]) - max(times["b", 1], times["b", 2]) >= 0.5


def test_throttled_run_uses_up_no_retry(start: Any, queue: Queue, path: Path) -> None:
    job = queue.submit(jobs.throttle.options(retries=0), str(path), "a", 1)
    start(workers=1)
    assert job.result(60)
    assert job.status() == "done"


@pytest.mark.parametrize("seconds", [0, -1, 100_000, timedelta(days=2)])
def test_impossible_rests_are_refused(seconds: Any) -> None:
    with pytest.raises(BadCall, match="a rest lasts"):
        Throttle(seconds)


def test_throttle_takes_durations() -> None:
    assert Throttle(timedelta(minutes=1)).seconds == 60
    assert str(Throttle(2)) == "a task asked for a rest of 2 s"
