"""Cancellation: immediate for a waiting job, by an exception in a running task, by force if that does not help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import JobCancelled, Queue, task
from conveyor.monitor import Inspector

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

nothing = task(name="consumer_jobs.nothing")(jobs.nothing)
CANCEL = """
import sys
from conveyor import Job
from conveyor.store import connect
print(Job(sys.argv[3], sys.argv[2], client=connect(sys.argv[1])).cancel("from elsewhere"))
"""


def is_cancelled(job: Any) -> bool:
    with pytest.raises(JobCancelled):
        job.result(30)
    return bool(job.cancelled())


def balanced(queue: Queue) -> bool:
    count = queue.count()
    return (count.live, count.dead, count.imbalance) == (0, 0, 0)


def test_waiting_and_delayed_jobs_are_cancelled_without_running(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    waiting = queue.submit(jobs.mark, str(path), "ran")
    delayed = queue.submit(nothing.options(delay=3600))
    assert waiting.cancel()
    assert delayed.cancel()
    assert is_cancelled(waiting)
    assert is_cancelled(delayed)
    consume()
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert not path.exists()
    assert balanced(queue)


@pytest.mark.parametrize("name", ["clean_up_and_return", "clean_up_and_return_async", "notice_and_return"])
def test_cancelled_job_that_returns_a_result_keeps_it(
    name: str, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume()
    job = queue.submit(getattr(jobs, name), str(path))
    eventually(lambda: lines(path))
    job.cancel()
    assert job.result(30) == "half"


@pytest.mark.parametrize("name", ["hold", "sleep_for_ever", "wait_for_ever"])
def test_running_job_is_cancelled_by_exception_and_worker_stays(
    name: str, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    before = running.workers()
    job = queue.submit(getattr(jobs, name), str(path))
    eventually(lambda: lines(path))
    assert job.cancel()
    assert is_cancelled(job)
    assert lines(path)[1:] == (["cleaned"] if name == "wait_for_ever" else [])
    assert queue.submit(jobs.later, 1).result(30) == 1
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() == before
    assert balanced(queue)


def test_cancel_is_repeated_if_its_signal_is_missed(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(grace=60.0)
    before = running.workers()
    job = queue.submit(jobs.miss_the_signal, str(path))
    eventually(lambda: lines(path))
    assert job.cancel()
    eventually(lambda: running.report().workers[0].cancelling)
    go(path)
    assert is_cancelled(job)
    assert running.workers() == before
    assert balanced(queue)


@pytest.mark.parametrize("name", ["ignore_for_ever", "count_for_ever"])
def test_task_that_ignores_cancellation_is_killed_and_cancelled(
    name: str,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    running = consume(grace=0.3)
    before = running.workers()
    job = queue.submit(getattr(jobs, name), str(path))
    eventually(lambda: lines(path))
    assert job.cancel("too slow")
    assert is_cancelled(job)
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details is not None
    assert details.settled is not None
    assert details.settled.was_killed
    assert (details.cancelled_by, details.cancel_reason) == ("", "too slow")
    assert lines(path)[1:] == (["ignored"] if name == "ignore_for_ever" else [])
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() != before
    assert balanced(queue)
    told = capfd.readouterr().err
    assert f"/1 was killed: job {job.id} did not end within 0.3 s of its cancellation" in told
    assert "died" not in told


def test_task_that_translates_the_cancellation_is_cancelled(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume()
    job = queue.submit(jobs.translate, str(path))
    eventually(lambda: lines(path))
    assert job.cancel()
    assert is_cancelled(job)
    assert balanced(queue)


def test_job_is_cancelled_by_its_id_from_another_process(
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    consume()
    job = queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    told, _ = start_python(CANCEL, queue.client.url, queue.name, job.id).communicate(timeout=20)
    assert told == "True\n"
    assert is_cancelled(job)


def test_cancel_spares_a_job_of_the_same_id_in_another_queue(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    other = Queue(f"{queue.name}-other", store=queue.client)
    hold, paths = (
        task(name="consumer_jobs.hold")(jobs.hold).options(id="photo-7"),
        [path, path.with_name("b")],
    )
    consume((queue.name, other.name), workers=2)
    job = queue.submit(hold, str(paths[0]))
    eventually(lambda: lines(paths[0]))
    namesake = other.submit(hold, str(paths[1]), "unharmed")
    eventually(lambda: lines(paths[1]))
    assert job.cancel()
    assert is_cancelled(job)
    go(paths[1])
    assert namesake.result(30) == "unharmed"


def test_finished_job_cannot_be_cancelled(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    job = queue.submit(jobs.add, 1, 1)
    assert job.result(30) == 2
    assert not job.cancel()
    assert job.status() == "done"


def test_job_behind_short_ones_in_a_batch_is_cancelled(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any], short_lease: float
) -> None:
    handles = queue.submit_many(jobs.brief, [(0,)] * 100)
    job = queue.submit(jobs.sleep_for_ever, str(path))
    consume()
    for one in handles:
        one.result(30)
    eventually(lambda: lines(path))
    assert job.cancel()
    assert is_cancelled(job)
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert balanced(queue)


def test_cancel_request_does_not_affect_the_next_job(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(grace=0.3)
    job = queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    job.cancel()
    assert is_cancelled(job)
    before = running.workers()
    next_path = path.with_name("next")
    following = queue.submit(jobs.hold, str(next_path), "unharmed")
    eventually(lambda: lines(next_path))
    with pytest.raises(TimeoutError):
        following.result(1.0)  # longer than the grace, which was for the job before
    go(next_path)
    assert following.result(30) == "unharmed"
    assert running.workers() == before
