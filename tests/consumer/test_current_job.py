"""A task's view of its own run, and where others see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import current_job
from conveyor.consumer import shared_status
from conveyor.consumer.process_state import ProcessState
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.shared_status import SharedStatus
from conveyor.consumer.worker_process import WorkerProcess
from conveyor.monitor import Inspector
from conveyor.tasks import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


def test_task_knows_its_id_attempt_and_token(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    first, second = queue.submit(jobs.facts), queue.submit(jobs.facts)
    (name, attempt, token), (other, _, later) = first.result(30), second.result(30)
    assert (name, other, attempt) == (first.id, second.id, 1)
    assert later > token > 0


def test_progress_and_log_lines_are_visible_during_the_run(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.tell_progress, str(path))
    progress = eventually(job.progress)
    assert (progress.done, progress.total, progress.message) == (3, 4, "three of four")
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert [line.text for line in details.lines] == ["first line", "second line"]
    assert details.state == "running"
    assert details.worker == f"{running.name}/1"
    assert details.progress == progress
    worker = eventually(lambda: [one for one in running.report().workers if one.job == job.id])[0]
    assert (worker.task, worker.queue, worker.state) == ("consumer_jobs.tell_progress", queue.name, "busy")
    assert (worker.done, worker.total, worker.message) == (3, 4, "three of four")
    go(path)
    job.result(30)
    eventually(lambda: running.report().workers[0].state == "idle")


@pytest.mark.parametrize("task", [jobs.add_elsewhere, jobs.await_elsewhere])
def test_wait_for_an_untaken_job_of_the_queue_is_reported(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any], capfd: Any, task: Any
) -> None:
    consume()
    job = queue.submit(task, 1, 2)

    def logged() -> list[str]:
        details = Inspector(queue.client).job(job.id, queue.name)
        return [line.text for line in details.lines] if details else []

    (line,) = eventually(logged)
    (inner,) = Inspector(queue.client).jobs(queue.name)
    assert line.startswith(f"job {job.id} has waited 3 s for job {inner.id} of the same queue")
    assert f"conveyor: {line}\n" in capfd.readouterr().err
    consume()
    assert job.result(30) == 3


def test_progress_does_not_carry_over_to_the_next_job(
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


def test_uninterruptible_task_can_poll_for_cancellation(
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


@pytest.mark.parametrize("cancelled", [0, 1])
def test_current_job_belongs_to_its_own_run(queue: Queue, cancelled: int) -> None:
    status, registry, runs = SharedStatus(), Registry(), []

    def run(number: int) -> tuple[bool, tuple[int, float, float, str]]:
        runs.append(current_job())
        if number == cancelled:
            status.request(number + 1, 0, shared_status.REQUEST_CANCEL)
        runs[0].progress(number, 9.0)
        return runs[0].cancelled, status.progress()

    noted = jobs.task(name="run")(run)
    registry.add(noted)
    worker = WorkerProcess("host/1", ConsumerSettings((queue.name,)), status, queue.client, registry)
    worker.process_state = ProcessState()
    handles = queue.submit_many(noted, [(0,), (1,)])
    for _ in handles:
        worker._run_batch(*worker._claim())
    queue.client.run_all(worker.settler.commands())
    own = cancelled == 0
    assert [job.result(30) for job in handles] == [(own, (1, 0.0, 9.0, "")), (own, (0, 0.0, 0.0, ""))]
    assert [one.cancelled for one in runs] == [own, not own]
