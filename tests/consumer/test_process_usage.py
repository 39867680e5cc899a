"""Reports on workers and their timing: their jobs, and their use of the host."""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import psutil
import unruly_jobs
from consumer_kit import go, lines

import conveyor
from conveyor.consumer.process_usage import ProcessUsage, Reading
from conveyor.consumer.settings import cores
from conveyor.monitor import workers as questions
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

MEBIBYTE = 1024 * 1024
#: Seconds from an event until the report shows it; the next heartbeat would show it after five.
AT_ONCE = 4.0


def test_usage_of_a_busy_worker_shows_its_cpu_and_memory(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2, modules=("unruly_jobs",))
    queue.submit(unruly_jobs.allocate, str(path), 100 * MEBIBYTE)
    eventually(lambda: lines(path))
    reports = eventually(lambda: [one for one in running.report().workers if one.job and one.cpu > 0.1])
    assert reports[0].cpu <= 1.1
    there = psutil.Process(reports[0].pid).memory_info().rss
    assert abs(reports[0].memory - there) < 10 * MEBIBYTE
    assert reports[0].memory > 100 * MEBIBYTE
    (idle,) = eventually(lambda: [one for one in running.report().workers if not one.job and one.cpu < 0.1])
    assert 0 < idle.memory < 100 * MEBIBYTE
    running.answers(running.command("kill"), 6)


def test_immediate_second_reading_returns_the_same_share(eventually: Callable[..., Any]) -> None:
    vitals = ProcessUsage()
    until = time.process_time() + 0.3
    while time.process_time() < until or vitals.read(os.getpid()).cpu == 0.0:
        pass
    # Unless this process was halted for half a second in between.
    eventually(lambda: vitals.read(os.getpid()).cpu == vitals.read(os.getpid()).cpu)


def test_usage_of_an_exited_process_is_zero() -> None:
    assert ProcessUsage().read(2**22 + 1) == Reading(0.0, 0)


def test_report_has_the_versions_and_cores_of_the_consumer(consume: Callable[..., Any]) -> None:
    report = consume().report()
    assert (report.version, report.python, report.cores) == (
        conveyor.__version__,
        platform.python_version(),
        cores(),
    )
    assert abs(report.at - time.time()) < 60


def test_start_progress_and_end_of_a_job_are_reported_promptly(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    eventually(lambda: running.report().workers[0].state == "idle")
    job = queue.submit(jobs.tell_progress, str(path))
    worker = eventually(lambda: questions.running_job([running.report()], job.id), AT_ONCE)
    assert (worker.state, worker.attempt, worker.task) == ("busy", 1, "consumer_jobs.tell_progress")
    eventually(lambda: running.report().workers[0].message == "three of four", AT_ONCE)
    go(path)
    eventually(lambda: running.report().workers[0].job == "", AT_ONCE)


def test_long_job_behind_short_ones_is_reported_promptly(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    queue.submit_many(jobs.add, [(number, 1) for number in range(5_000)])
    job = queue.submit(jobs.hold, str(path))
    eventually(lambda: lines(path))
    eventually(lambda: questions.running_job([running.report()], job.id), AT_ONCE)
    go(path)


def test_attempt_includes_the_crashes(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    queue.submit(jobs.hold, str(path))
    eventually(lambda: lines(path))
    running.workers()[0].kill()
    eventually(lambda: len(lines(path)) == 2)
    eventually(lambda: running.report().workers[0].attempt == 2)
    go(path)


def test_report_of_an_older_version_is_readable() -> None:
    old = {"name": "h-1/1", "pid": 5, "state": "idle"}
    report = {"name": "h-1", "host": "h", "pid": 4, "queues": [], "kind": "process", "started": 1.0}
    found = control_messages.decode_report(control_messages.encode({**report, "workers": [old]}))
    assert found.workers == [control_messages.WorkerReport("h-1/1", 5, "idle")]
    assert (found.cores, found.python, found.at) == (0, "", 0.0)


def test_workers_are_found_by_name_and_job() -> None:
    def consumer(
        name: str, host: str, *workers: control_messages.WorkerReport
    ) -> control_messages.ConsumerReport:
        return control_messages.ConsumerReport(name, host, 1, [], "process", 0.0, list(workers))

    busy = control_messages.WorkerReport("b-1/2", 7, "busy", job="j")
    b, a = consumer("b-1", "b", busy), consumer("a-2", "a")
    reports = [b, a]
    assert questions.running_job(reports, "j") is busy
    assert questions.running_job(reports, "") is None
    assert questions.find(reports, "b-1/2") == (b, busy)
    assert questions.find(reports, "a-2") == (a, None)
    assert questions.find(reports, "b-1/3") is questions.find(reports, "c") is None
