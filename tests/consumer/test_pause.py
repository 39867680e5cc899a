"""Pausing workers: running jobs finish, no other is taken, and a resume continues."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import unruly_jobs
from consumer_kit import go, lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


def test_paused_idle_worker_takes_no_jobs_until_resumed(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = consume()
    pause = running.command("pause", 1)
    assert running.answers(pause, 2) == [("/1", "acknowledged"), ("/1", "done")]
    (worker,) = eventually(lambda: [one for one in running.report().workers if one.state == "paused"])
    assert worker.paused
    job = queue.submit(jobs.add, 1, 1)
    time.sleep(2.5)  # longer than a worker ever waits without a poll of the queue
    assert job.status() == "waiting"
    resume = running.command("resume", 1)
    assert job.result(30) == 2
    assert running.answers(resume, 2) == [("/1", "acknowledged"), ("/1", "done")]
    eventually(lambda: running.report().workers[0].state == "idle" and not running.report().workers[0].paused)


def test_busy_worker_finishes_its_job_before_it_pauses(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    other = queue.submit(jobs.add, 1, 1)
    pause = running.command("pause", 1)
    assert running.answers(pause, 1) == [("/1", "acknowledged")]
    (worker,) = eventually(lambda: [one for one in running.report().workers if one.paused])
    assert (worker.state, worker.job) == ("busy", job.id)
    go(path)
    assert job.result(30) == "it", "what it had run is told although it claims nothing more"
    assert running.answers(pause, 1) == [("/1", "done")]
    assert other.status() == "waiting"
    running.command("resume", 1)
    assert other.result(30) == 2
    assert queue.count().imbalance == 0


def test_paused_worker_releases_prefetched_jobs_during_a_burst(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = consume()
    queue.submit_many(jobs.add, [(number, 1) for number in range(30_000)])
    eventually(lambda: queue.count().qsize < 29_000)
    running.answers(running.command("pause", 1), 2)
    left = queue.count()
    assert left.qsize > 0
    assert left.leased == 0
    running.command("resume", 1)
    eventually(lambda: queue.count().qsize == 0 and queue.count().leased == 0)
    assert queue.count().imbalance == 0


def test_whole_consumer_reports_its_pause_and_resume(queue: Queue, consume: Callable[..., Any]) -> None:
    running = consume(workers=2)
    for verb in ("pause", "resume"):
        answers = running.answers(running.command(verb), 6)
        assert answers[0] == ("", "acknowledged")
        assert answers[-1] == ("", "done")
        for target in ("/1", "/2"):
            assert [state for one, state in answers if one == target] == ["acknowledged", "done"]
    assert queue.submit(jobs.add, 1, 1).result(30) == 2


def test_paused_worker_leaves_jobs_to_the_other_workers(queue: Queue, consume: Callable[..., Any]) -> None:
    running = consume(workers=2, modules=("unruly_jobs",))
    running.answers(running.command("pause", 1), 2)
    pids = {one.name: one.pid for one in running.report().workers}
    found = {queue.submit(unruly_jobs.process_id).result(30) for _ in range(20)}
    assert found == {pids[f"{running.name}/2"]}


def test_replacement_of_a_crashed_paused_worker_is_paused(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = consume()
    running.answers(running.command("pause", 1), 2)
    before = running.workers()[0]
    before.kill()
    eventually(lambda: [one for one in running.workers() if one.pid != before.pid])
    eventually(
        lambda: [one for one in running.report().workers if one.pid != before.pid and one.state == "paused"]
    )
    job = queue.submit(jobs.add, 1, 1)
    time.sleep(1.0)
    assert job.status() == "waiting"
    running.answers(running.command("resume", 1), 2)
    assert job.result(30) == 2


def test_paused_worker_can_be_stopped(consume: Callable[..., Any], eventually: Callable[..., Any]) -> None:
    running = consume()
    running.answers(running.command("pause", 1), 2)
    assert running.answers(running.command("stop", 1), 2) == [("/1", "acknowledged"), ("/1", "done")]
    eventually(running.has_left)
    assert running.status == 0


def test_resume_before_the_pause_takes_effect_completes_both(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    pause = running.command("pause", 1)
    running.answers(pause, 1)
    assert running.answers(running.command("resume", 1), 2)[-1] == ("/1", "done")
    assert running.answers(pause, 1) == [("/1", "done")]
    go(path)
    job.result(30)
    assert queue.submit(jobs.add, 1, 1).result(30) == 2


def test_pause_of_a_worker_killed_before_it_reports_gone(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    (busy,) = eventually(lambda: [one for one in running.report().workers if one.job])
    number = int(busy.name.rpartition("/")[2])
    pause = running.command("pause", number)
    assert running.answers(pause, 1) == [(f"/{number}", "acknowledged")]
    running.command("kill", number)
    assert running.answers(pause, 1) == [(f"/{number}", "gone")]
    go(path)


def test_crash_before_a_pause_leaves_it_to_the_replacement(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    pause = running.command("pause", 1)
    assert running.answers(pause, 1) == [("/1", "acknowledged")]
    before = running.workers()[0]
    before.kill()
    assert running.answers(pause, 1) == [("/1", "done")]
    assert eventually(running.workers)[0].pid != before.pid, "who says so is there"
    go(path)
    running.answers(running.command("resume", 1), 2)


def test_pause_of_a_consumer_killed_before_it_reports_gone(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    pause = running.command("pause")
    assert running.answers(pause, 2) == [("", "acknowledged"), ("/1", "acknowledged")]
    running.command("kill")
    assert running.answers(pause, 2) == [("/1", "gone"), ("", "gone")]
    eventually(running.has_left)


def test_pause_of_an_absent_worker_is_reported_as_unknown(consume: Callable[..., Any]) -> None:
    running = consume()
    assert running.answers(running.command("pause", 7), 1) == [("/7", "unknown")]


def test_until_empty_consumer_does_not_wait_for_paused_workers(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    first = queue.submit(jobs.hold, str(path))
    running = consume(workers=2, until_empty=True)
    eventually(lambda: lines(path))
    eventually(lambda: sorted(one.state for one in running.report().workers) == ["busy", "idle"])
    (idle,) = [one for one in running.report().workers if one.state == "idle"]
    running.answers(running.command("pause", int(idle.name.rpartition("/")[2])), 2)
    go(path)
    first.result(30)
    eventually(running.has_left)
    assert running.status == 0
