"""Crashed workers and supervisors: their jobs run again promptly, and a job that kills workers is given up."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import psutil
import pytest
from consumer_kit import go, lines, runs

from conveyor import JobLost
from conveyor.consumer.settings import LEASE
from conveyor.consumer.worker_handle import GroupWatcher
from conveyor.monitor import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


def test_job_of_killed_worker_runs_again_before_lease_expires(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume()
    job = queue.submit(jobs.hold, str(path), "it")
    pid = int(eventually(lambda: lines(path))[0].split()[1])
    psutil.Process(pid).kill()
    eventually(lambda: len(lines(path)) == 2, LEASE - 2.0)
    go(path)
    assert job.result(30) == "it"
    (_, first_pid, first_attempt, first_token), (_, second_pid, attempt, token) = map(str.split, lines(path))
    assert first_pid != second_pid
    assert (first_attempt, attempt) == ("1", "2")
    assert int(token) > int(first_token)
    count = queue.count()
    assert (count.finished, count.live, count.dead, count.imbalance) == (1, 0, 0, 0)


def test_job_of_killed_worker_starts_again_within_a_second(
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
    quickest: Callable[..., float],
) -> None:
    consume(workers=2)
    numbers = itertools.count()

    def seconds() -> float:
        place = path.with_name(f"{path.name}{next(numbers)}")
        job = queue.submit(jobs.hold, str(place), "it")
        pid = int(eventually(lambda: lines(place))[0].split()[1])
        began = time.monotonic()
        psutil.Process(pid).kill()
        eventually(lambda: len(lines(place)) == 2)
        elapsed = time.monotonic() - began
        go(place)
        assert job.result(30) == "it"
        return elapsed

    assert quickest(seconds, 1.0) < 1.0


def test_killed_idle_worker_is_replaced(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    before = running.workers()
    before[0].kill()
    eventually(lambda: len(running.workers()) == 2 and before[0] not in running.workers())
    assert before[1] in running.workers()
    assert queue.submit(jobs.add, 1, 1).result(30) == 2


@pytest.mark.parametrize(
    ("how", "told"),
    [("exit3", "exit code 3"), ("exit0", "exit code 0"), ("SIGKILL",) * 2, ("segfault", "SIGSEGV")],
)
def test_job_that_crashes_three_workers_is_lost_with_a_reason(
    how: str,
    told: str,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    consume()
    job = queue.submit(jobs.end_process, str(path), how)
    with pytest.raises(JobLost, match=f"its worker ended by {told} while it ran consumer_jobs.end_process"):
        job.result(30)
    assert [line.split()[1] for line in lines(path)] == ["1", "2", "3"]
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert details.state == "lost"
    assert queue.count().dead == 1
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert f"crashed ({told}) while it ran consumer_jobs.end_process {job.id}" in capfd.readouterr().err


def test_prefetched_jobs_are_not_blamed_for_a_crash(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    handles = queue.submit_many(jobs.brief, [(0,)] * 50)
    poison = queue.submit(jobs.crash_once, str(path))
    handles += queue.submit_many(jobs.facts, [()] * 50)
    consume()
    assert poison.result(30) == 2
    results = [job.result(30) for job in handles]
    assert {attempt for _, attempt, _ in results[50:]} == {1}
    assert queue.count().imbalance == 0


def test_suspended_worker_keeps_its_lease_and_finishes_later(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any], short_lease: float
) -> None:
    consume(workers=2)
    job = queue.submit(jobs.hold, str(path), "it")
    pid = int(eventually(lambda: lines(path))[0].split()[1])
    psutil.Process(pid).suspend()
    go(path)
    end = time.monotonic() + 2.5 * short_lease
    eventually(lambda: time.monotonic() > end)
    psutil.Process(pid).resume()
    assert job.result(30) == "it"
    assert len(lines(path)) == 1
    assert queue.count().lapsed == 0


def test_job_claimed_by_a_suspended_idle_worker_runs_elsewhere(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any], one_server: Any
) -> None:
    """Its claim waits at the server, which runs it for the next job; its supervisor takes the job back."""
    first = consume(workers=1)
    for _ in range(2):  # then it has both connections, and sends its wait and its claim before it sleeps
        queue.submit(jobs.nothing).result(30)
    (frozen,) = first.workers()
    # It and its supervisor; a worker may also sleep because the server has not replied to it yet.
    eventually(lambda: sum("b" in one["flags"] for one in one_server.raw.client_list()) == 2)
    eventually(lambda: psutil.Process(frozen.pid).status() == psutil.STATUS_SLEEPING)
    psutil.Process(frozen.pid).suspend()
    job = queue.submit(jobs.mark, str(path), "once")
    eventually(lambda: queue.count().leased)
    consume(workers=1)
    job.result(30)
    psutil.Process(frozen.pid).resume()
    assert queue.submit(jobs.nothing).result(30) is None
    eventually(lambda: first.report().workers[0].state == "idle")
    assert lines(path) == ["once"]
    assert (queue.count().lapsed, queue.count().imbalance) == (0, 0)


def test_task_that_holds_the_gil_keeps_its_lease(
    queue: Queue, consume: Callable[..., Any], path: Path, short_lease: float
) -> None:
    consume(workers=2)
    job = queue.submit(jobs.hold_gil, str(path), int(3 * short_lease))
    assert job.result(30) == 1
    assert len(lines(path)) == 1
    assert queue.count().lapsed == 0


def test_async_task_that_blocks_its_loop_keeps_its_lease(
    queue: Queue, consume: Callable[..., Any], path: Path, short_lease: float
) -> None:
    consume(workers=2)
    job = queue.submit(jobs.block_loop, str(path), 1.5 * short_lease)
    assert job.result(30) == 1
    assert len(lines(path)) == 1
    assert queue.count().lapsed == 0


def test_killed_supervisor_ends_its_workers_and_job_runs_again(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any], short_lease: float
) -> None:
    first = consume()
    workers = first.workers()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    consume()
    first.signal(signal.SIGKILL)
    eventually(lambda: not any(runs(one) for one in workers))
    eventually(lambda: len(lines(path)) == 2, LEASE - 2.0)
    go(path)
    assert job.result(30) == "it"
    assert lines(path)[1].split()[2] == "2"
    assert queue.count().lapsed == 1


def test_run_with_a_lost_lease_is_ended(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any], short_lease: float
) -> None:
    first = consume()
    job = queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    psutil.Process(first.pid).suspend()
    consume()
    eventually(lambda: len(lines(path)) == 2)
    psutil.Process(first.pid).resume()
    eventually(lambda: first.report() and first.report().workers[0].job == "" and first.report())
    assert job.status() == "running"
    assert job.cancel()
    eventually(job.cancelled)
    assert queue.count().imbalance == 0


@pytest.mark.slow
def test_consumer_takes_over_within_20_s_with_the_default_lease(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    first = consume()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    consume()
    first.signal(signal.SIGKILL)
    eventually(lambda: len(lines(path)) == 2, 20)
    go(path)
    assert job.result(30) == "it"


def test_killed_supervisor_ends_programs_of_tasks(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        for name in ("first", "second"):
            queue.submit(jobs.start_sleeper, str(path.with_name(name)))
        programs = [
            psutil.Process(int(eventually(lambda name=name: lines(path.with_name(name)))[0]))
            for name in ("first", "second")
        ]
        workers = running.workers()
        assert all(map(runs, programs))
        os.kill(running.pid, signal.SIGKILL)
        try:
            eventually(lambda: not any(map(runs, [*programs, *workers])), 5.0)
        finally:
            for one in filter(runs, programs):
                one.kill()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_group_watcher_kills_only_noted_groups(eventually: Callable[..., Any]) -> None:
    kept, ended = (subprocess.Popen(["sleep", "60"], process_group=0) for _ in range(2))
    try:
        watched = GroupWatcher()
        for one in (kept, ended):
            watched.note(watched.free_slot(), one.pid)
        watched.note(0, 0)
        assert watched.free_slot() == 0
        watched.close()
        eventually(lambda: ended.poll() is not None, 5.0)
        assert ended.returncode == -signal.SIGKILL
        assert kept.poll() is None
    finally:
        for one in (kept, ended):
            one.kill()
            one.wait()
