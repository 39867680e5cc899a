"""What a task can say and ask about its own run, and where others see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
from consumer_kit import go, lines

from conveyor.inspector import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


def test_a_task_knows_its_id_its_attempt_and_its_token(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    first, second = queue.submit(jobs.facts), queue.submit(jobs.facts)
    (name, attempt, token), (other, _, later) = first.result(30), second.result(30)
    assert (name, other, attempt) == (first.id, second.id, 1)
    assert later > token > 0


def test_progress_and_log_lines_are_seen_while_the_job_runs(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.tell_progress, str(path))
    progress = eventually(job.progress)
    assert (progress.done, progress.total, progress.message) == (3, 4, "three of four")
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert details.lines == ["first line", "second line"]
    assert details.state == "running"
    assert details.worker == f"{running.name}/1"
    assert details.progress == progress
    worker = eventually(lambda: [one for one in running.report().workers if one.job == job.id])[0]
    assert (worker.task, worker.queue, worker.state) == ("consumer_jobs.tell_progress", queue.name, "busy")
    assert (worker.done, worker.total, worker.message) == (3, 4, "three of four")
    go(path)
    job.result(30)
    eventually(lambda: running.report().workers[0].state == "idle")


def test_progress_of_a_job_is_not_that_of_the_one_before(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    first = queue.submit(jobs.tell_progress, str(path))
    eventually(first.progress)
    go(path)
    first.result(30)
    other = path.with_name("other")
    second = queue.submit(jobs.hold, str(other))
    worker = eventually(lambda: [one for one in running.report().workers if one.job == second.id])[0]
    assert (worker.done, worker.total, worker.message) == (0, 0, "")
    assert second.progress() is None
    go(other)
    second.result(30)


def test_a_task_that_cannot_be_interrupted_can_ask_whether_it_is_cancelled(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    before = running.workers()
    job = queue.submit(jobs.ask_whether, str(path))
    eventually(lambda: lines(path))
    assert job.cancel()
    eventually(job.cancelled)
    assert lines(path)[1:] == ["noticed"]
    assert running.workers() == before
