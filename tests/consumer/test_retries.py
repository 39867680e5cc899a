"""Retries by options of the task, for workers of each kind: which errors, when, and what ends them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import retry_jobs as jobs
from consumer_kit import lines

from conveyor import JobFailed, Queue
from conveyor.monitor import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def named(name: str, style: str) -> Any:
    return getattr(jobs, name + style)


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int = 2, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("retry_jobs",), **changes)

    return consume_so


def times(path: Path) -> list[float]:
    """Return when each attempt began."""
    return [float(line.split()[1]) for line in lines(path)]


def gaps(path: Path) -> list[float]:
    began = times(path)
    return [later - earlier for earlier, later in itertools.pairwise(began)]


def failure(job: Any) -> JobFailed:
    with pytest.raises(JobFailed) as caught:
        job.result(60)
    return caught.value


@pytest.mark.parametrize(
    ("name", "error", "failure_kind"),
    [
        ("only_some", "refused", ""),
        ("only_some", "alike", ""),
        ("only_some", "value", "ValueError"),
        ("only_some", "exit", "SystemExit"),
        ("only_some", "group", "ExceptionGroup"),
        ("only_some", "asked", ""),
        ("specific", "unicode", ""),
        ("specific", "value", "ValueError"),
        ("specific", "refused", "ConnectionRefusedError"),
        ("specific", "asked", ""),
    ],
)
def test_named_classes_decide_which_errors_are_retried(  # noqa: PLR0913, PLR0917 - fixtures
    start: Any, style: str, queue: Queue, path: Path, name: str, error: str, failure_kind: str
) -> None:
    start()
    job = queue.submit(named(name, style), str(path), error)
    if failure_kind:
        assert failure(job).kind == failure_kind
        assert len(lines(path)) == 1
    else:
        assert job.result(60) == 3
    count = queue.count()
    assert (count.dead, count.live, count.imbalance) == (bool(failure_kind), 0, 0)


def test_retry_comes_after_the_time_asked_for(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    assert queue.submit(named("asking", style), str(path), 0.3, 2).result(60) == 3
    assert all(0.3 <= gap < 30 for gap in gaps(path))


def test_retry_asked_for_is_within_the_retries(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    error = failure(queue.submit(named("asking", style), str(path), 0, 9))
    assert len(lines(path)) == 3
    assert "come back later" in error.traceback
    if not style:
        reason = "no retry is left (retries=2): ConnectionError: come back later"
        assert (error.kind, error.reason) == ("Retry", reason)


def test_reason_of_a_retry_and_its_time_are_shown(
    start: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start()
    job = queue.submit(jobs.asking, str(path), 600, 1)
    eventually(lambda: job.status() == "delayed")
    record = Inspector(queue.client).job(job.id, queue.name)
    assert record is not None
    assert record.due_in is not None
    assert 500 < record.due_in <= 600
    (attempt,) = record.attempts
    assert (attempt.state, attempt.kind, attempt.message) == (
        "retried",
        "Retry",
        "ConnectionError: come back later",
    )


@pytest.mark.parametrize(("name", "least"), [("listed", [0, 0.3]), ("computed", [0.2, 0.4])])
def test_own_backoff_sets_the_delays(
    start: Any, style: str, queue: Queue, path: Path, name: str, least: list[float]
) -> None:
    start()
    assert queue.submit(named(name, style), str(path), "refused").result(60) == 3
    assert all(0 <= gap - delay < 30 for gap, delay in zip(gaps(path), least, strict=True))


def test_wrong_backoff_costs_no_job_and_is_logged(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    job = queue.submit(named("misled", style), str(path), "refused")
    assert job.result(60) == 3
    record = Inspector(queue.client).job(job.id, queue.name)
    assert record is not None
    first, second = [line for line in record.lines if line.level == "ERROR"]
    assert first.text.startswith("backoff failed, so the retry comes in 0.01")
    assert "SystemExit: 7" in first.text
    assert "BadCall: the delay that backoff returns must be a number of seconds, got 'soon'" in second.text


@pytest.mark.parametrize("name", ["limited", "soft_limited"])
def test_time_limits_are_retried_by_their_class(
    start: Any, style: str, queue: Queue, path: Path, name: str
) -> None:
    start(grace=0.2)
    assert queue.submit(named(name, style), str(path)).result(60) == 3


def test_time_limit_is_not_retried_if_its_class_is_given_up_on(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    start(grace=0.2)
    assert failure(queue.submit(named("limited_once", style), str(path))).kind == "TimeLimit"
    assert len(lines(path)) == 1


def test_crash_is_no_error_of_the_task(start: Any, queue: Queue, path: Path) -> None:
    start()
    assert queue.submit(jobs.crashing, str(path)).result(60) == 2
