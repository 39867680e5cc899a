"""Middleware around a run, in workers of the three kinds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from consumer_kit import lines

from conveyor import JobCancelled, JobFailed, Queue, middleware

_before = middleware.runs.functions
import around_jobs as jobs  # noqa: E402 - what it registers is for its workers only

middleware.runs.functions = _before

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def named(name: str, style: str) -> Any:
    return getattr(jobs, name + style)


@pytest.fixture
def start(
    consume: Callable[..., Any], kind: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""
    monkeypatch.setenv("AROUND_NOTES", str(path))

    def consume_so(workers: int = 2, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("around_jobs",), **changes)

    return consume_so


def test_task_sees_what_middleware_has_set(start: Any, style: str, queue: Queue) -> None:
    start(3)
    whose = named("whose", style)
    submitted = [
        queue.submit(whose.options(headers={"tenant": str(number), "name": "x"})) for number in range(30)
    ]
    found = [one.result(60) for one in submitted]
    assert found == [(str(number), whose.name, "x") for number in range(30)]
    assert queue.submit(whose).result(60)[0] == "anybody"


def test_middleware_surrounds_a_stream_until_its_end(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    start(1)
    job = queue.submit(named("stream", style).options(headers={"tenant": "7", "name": "a"}))
    assert list(job.stream()) == ["7", "7", "7"]
    job.result(60)
    assert lines(path) == [f"a outer begins stream{style} 1 True True", "a outer ends"]


def test_failure_is_raised_at_the_yield_and_passes(start: Any, style: str, queue: Queue, path: Path) -> None:
    start(1)
    for more in ({}, {"swallow": "1"}):
        job = queue.submit(named("fail", style).options(headers={"name": "a", **more}))
        with pytest.raises(JobFailed, match="ValueError: as always") as failed:
            job.result(60)
        assert "around_jobs.py" in failed.value.traceback
        assert "middleware.py" not in failed.value.traceback
    assert lines(path)[1::2] == ["a outer raised ValueError"] * 2


@pytest.mark.parametrize(
    ("say", "task", "error"),
    [
        ("refuse", "whose", "LookupError: no such tenant"),
        ("late", "whose", "LookupError: too late"),
        ("translate", "fail", "OSError: translated"),
        ("nothing", "whose", "BadCall: .*use_tenant around a run did not yield"),
        ("twice", "whose", "BadCall: .*use_tenant around a run yielded twice"),
    ],
)
def test_error_of_middleware_fails_the_run_and_names_it(  # noqa: PLR0913, PLR0917
    start: Any, style: str, queue: Queue, path: Path, say: str, task: str, error: str
) -> None:
    start(1)
    job = queue.submit(named(task, style).options(headers={"name": "a", "say": say}))
    with pytest.raises(JobFailed, match=error) as failed:
        job.result(60)
    assert re.search(r"around_jobs\.use_tenant around a run", failed.value.traceback)
    assert lines(path)[-1] == f"a outer raised {error.partition(':')[0]}"
    assert queue.submit(named("whose", style)).result(60)[0] == "anybody"


def test_headers_outlive_a_retry(start: Any, style: str, queue: Queue, path: Path) -> None:
    start(1)
    headers = {"name": "a", "say": "refuse once", "tenant": "7"}
    task = named("whose", style).options(headers=headers, retries=1, first_delay=0.01)
    assert queue.submit(task).result(60)[0] == "7"
    assert [line.split()[-3] for line in lines(path)[::2]] == ["1", "2"]


def test_cancellation_passes_through_middleware(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start(1)
    job = queue.submit(named("hold", style).options(headers={"name": "a"}))
    eventually(lambda: "holding" in lines(path))
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(60)
    eventually(lambda: lines(path)[-1] in {"a outer raised JobCancelled", "a outer raised CancelledError"})


def test_time_limit_passes_through_middleware(start: Any, style: str, queue: Queue) -> None:
    start(1)
    job = queue.submit(named("hold", style).options(headers={"swallow": "1"}, timeout=0.3))
    with pytest.raises(JobFailed, match="TimeLimit"):
        job.result(60)
