"""What tasks log through Python's `logging`, and by choice print, is kept with their jobs, in workers of each kind."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import logging_jobs as jobs
import pytest
from consumer_kit import go

from conveyor import BadCall, Consumer, JobCancelled, Queue
from conveyor.monitor import Inspector
from conveyor.monitor.job_record import log_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Job
    from conveyor.monitor.job_record import LogLine


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int = 1, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("logging_jobs",), **changes)

    return consume_so


def named(name: str, style: str) -> Any:
    return getattr(jobs, name + style)


def logged(job: Job[Any]) -> list[LogLine]:
    """Return the lines of a job: those there are now."""
    return log_after(job.queue_name, job.id).ask(job._submission.client)


def texts(job: Job[Any]) -> list[str]:
    return [line.text for line in logged(job)]


def test_log_records_are_kept_with_level_time_and_number(start: Any, style: str, queue: Queue) -> None:
    start()
    job = queue.submit(named("log_levels", style), "a")
    job.result(30)
    lines = logged(job)
    assert [(line.level, line.text.splitlines()[0]) for line in lines] == [
        ("INFO", "info a"),
        ("WARNING", "warning a"),
        ("ERROR", "error a"),
        ("INFO", "%d [TypeError: %d format: a real number is required, not str]"),
        ("INFO", "%s [ValueError: no text]"),
        ("INFO", "formatting"),
        ("INFO", "noisy"),
        ("INFO", "own a"),
    ]
    trace = lines[2].text.splitlines()
    assert trace[1] == "Traceback (most recent call last):"
    assert trace[-1] == "ValueError: a"
    assert [line.number for line in lines] == list(range(1, 9))
    assert {line.attempt for line in lines} == {1}
    (run,) = Inspector(queue.client).job(job.id, queue.name).attempts  # type: ignore[union-attr]
    late = 20.0  # seconds that a line and an outcome may be under way on a busy machine, which both times contain
    assert all(run.started - late <= line.at <= run.started + run.elapsed + late for line in lines)


def test_lines_go_to_the_job_of_their_context(start: Any, style: str, queue: Queue, path: Path) -> None:
    start(1 if start is None else 3)
    found = [queue.submit(named("log_beside", style), text, str(path), 3) for text in "abc"]
    for text, job in zip("abc", found, strict=True):
        job.result(60)
        lines = texts(job)
        assert sorted(lines) == sorted(
            f"{text} {word}{number}" for word in ("", "thread ") for number in range(20)
        )


def test_last_lines_are_there_when_the_outcome_is(start: Any, style: str, queue: Queue) -> None:
    start()
    for count in (1, 3, 40, 5000):
        job = queue.submit(named("log_many", style), count)
        job.result(30)
        lines = logged(job)
        while len(lines) % 500 == 0 and lines[-1].number < count:
            lines += log_after(queue.name, job.id, lines[-1].id).ask(queue.client)
        assert lines[-1].text == f"line {count}"
        assert [line.number for line in lines] == list(range(count + 1 - len(lines), count + 1))
        assert min(count, 1000) <= len(lines) < 1200


def test_lines_of_short_jobs_are_there_when_their_outcomes_are(start: Any, queue: Queue) -> None:
    start()
    found = queue.submit_many(jobs.log_many, [(1,)] * 600)
    for job in found:
        job.result(60)
        assert texts(job) == ["line 1"]


def test_lines_are_seen_while_the_job_runs_and_after_a_kill(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start()
    job = queue.submit(named("log_and_hold", style), str(path))
    eventually(lambda: texts(job) == ["before"])
    (worker,) = running.workers()
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: len(logged(job)) == 2)
    go(path)
    job.result(30)
    assert [(line.text, line.attempt, line.number) for line in logged(job)] == [
        ("before", 1, 1),
        ("before", 2, 1),
    ]


def test_lines_know_their_attempt(start: Any, style: str, queue: Queue) -> None:
    start()
    job = queue.submit(named("log_attempts", style).options(retries=1, first_delay=0.01))
    assert job.result(30) == "done"
    assert [(line.text, line.attempt) for line in logged(job)] == [("attempt 1", 1), ("attempt 2", 2)]


@pytest.mark.parametrize(
    ("level", "first"),
    [("debug", "debug a"), ("info", "info a"), ("warning", "warning a"), ("error", "error a")],
)
def test_log_level_decides_what_is_kept(start: Any, queue: Queue, level: str, first: str) -> None:
    start(log_level=level)
    job = queue.submit(jobs.log_levels, "a")
    job.result(30)
    lines = texts(job)
    assert lines[0].splitlines()[0] == first
    assert lines[-1] == "own a", "what is logged by hand is always kept"


def test_warnings_still_reach_standard_error_and_infos_do_not(
    start: Any, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    start()
    queue.submit(jobs.log_levels, "a").result(30)
    err = capfd.readouterr().err
    assert err.count("warning a") == 1
    assert err.count("error a") == 1
    assert "info a" not in err
    assert "Logging error" not in err


def test_basic_config_of_a_program_works_as_without_us(
    start: Any, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    start()
    assert queue.submit(jobs.configure, "").result(30) == []
    assert queue.submit(jobs.configure, "basic").result(30) == ["StreamHandler"]
    job = queue.submit(jobs.log_levels, "a")
    job.result(30)
    err = capfd.readouterr().err
    assert err.count("basic WARNING warning a") == err.count("warning a") == 1
    assert "info a" not in err
    assert "info a" in texts(job)


def test_dict_config_of_a_program_works_and_loses_no_line(
    start: Any, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    start()
    assert queue.submit(jobs.configure, "dict").result(30) == ["StreamHandler"]
    job = queue.submit(jobs.log_levels, "a")
    job.result(30)
    err = capfd.readouterr().err
    assert err.count("dict DEBUG debug a") == err.count("dict INFO info a") == 1
    assert texts(job)[:2] == ["info a", "warning a"]


def test_level_that_a_program_sets_is_respected(start: Any, queue: Queue) -> None:
    start()
    queue.submit(jobs.configure, "level").result(30)
    job = queue.submit(jobs.log_levels, "a")
    job.result(30)
    assert texts(job)[0] == "warning a"


def test_prints_are_kept_by_choice(
    start: Any, style: str, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    start(prints=True)
    job = queue.submit(named("print_lines", style), "a")
    job.result(30)
    assert [(line.level, line.text) for line in logged(job)] == [
        ("out", "out a"),
        ("err", "err a"),
        ("out", "100%"),
        ("out", "windows"),
        ("WARNING", "logged a"),
        ("out", "no line break"),
    ]
    out, err = capfd.readouterr()
    assert "out a\n" in out
    assert "err a\n" in err
    assert err.count("logged a") == 1


def test_prints_are_kept_after_a_task_has_closed_its_output(start: Any, queue: Queue) -> None:
    start(prints=True)
    queue.submit(jobs.close_output).result(30)
    job = queue.submit(jobs.print_lines, "a")
    job.result(30)
    assert texts(job)[:2] == ["out a", "err a"]


def test_prints_are_not_kept_without_the_option(start: Any, queue: Queue) -> None:
    start()
    job = queue.submit(jobs.print_lines, "a")
    job.result(30)
    assert texts(job) == ["logged a"]


def test_line_of_a_forked_process_is_kept(start: Any, style: str, queue: Queue) -> None:
    start()
    job = queue.submit(named("log_in_child", style))
    assert job.result(30) == 0
    assert sorted(texts(job)) == ["child", "parent"]


def test_signal_handler_that_logs_blocks_nothing(consume: Callable[..., Any], queue: Queue) -> None:
    consume(modules=("logging_jobs",))
    job = queue.submit(jobs.log_in_handler, 200)
    assert job.result(60) >= 200
    assert {line.text for line in logged(job)} == {"handler", "task"}


def test_cancellation_within_a_handler_ends_the_job(
    consume: Callable[..., Any], queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(modules=("logging_jobs",))
    before = running.workers()
    job = queue.submit(jobs.log_slowly, str(path))
    eventually(path.exists)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(9)  # sooner than the kill
    assert running.workers() == before


def test_secrets_are_hidden_although_a_formatter_logs(start: Any, queue: Queue) -> None:
    start()
    job = queue.submit(jobs.log_secret, "x", password="hunter2")
    job.result(30)
    lines = texts(job)
    assert lines[-1] == "the password is •••, not x"
    assert "hunter2" not in str(lines)


def test_thread_that_outlives_its_run_logs_to_its_own_job(
    start: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start()
    job = queue.submit(jobs.outlive, str(path))
    job.result(30)
    other = queue.submit(jobs.log_and_hold, str(path))
    eventually(lambda: texts(other) == ["before"])
    go(path)
    other.result(30)
    eventually(lambda: texts(job) == ["in time", "late"])
    assert texts(other) == ["before"]


def test_unknown_level_is_refused() -> None:
    with pytest.raises(BadCall, match="log_level must be debug, info, warning or error, got 'loud'"):
        Consumer("sums", log_level="LOUD")  # type: ignore[arg-type]
    assert Consumer("sums", log_level="WARNING").settings.log_level == "warning"
