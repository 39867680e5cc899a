"""The same scenarios for workers of the three kinds: processes, threads and coroutines."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from typing import TYPE_CHECKING, Any

import kind_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import BadCall, Consumer, JobCancelled, JobFailed, JobLost, Queue
from conveyor.monitor import Inspector
from conveyor.monitor.job_record import log_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


KINDS = ["process", "thread", "coroutine"]
SHARED = KINDS[1:]


def named(name: str, style: str) -> Any:
    return getattr(jobs, name + style)


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int = 3, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("kind_jobs",), **changes)

    return consume_so


def processes(kind: str, workers: int) -> int:
    return workers if kind == "process" else 1


def test_as_many_jobs_run_at_a_time_as_there_are_workers(
    start: Any, kind: str, style: str, queue: Queue, path: Path
) -> None:
    start(4)
    found = [one.result(60) for one in queue.submit_many(named("meet", style), [(str(path), 4)] * 4)]
    assert len(set(found)) == processes(kind, 4)
    assert [one.result(60) for one in queue.submit_many(named("report", style), [("x",)] * 50)]


def test_plain_and_asynchronous_tasks_run_together(start: Any, queue: Queue, path: Path) -> None:
    start(4)
    tasks = [jobs.meet, jobs.meet_async, jobs.meet, jobs.meet_async]
    assert all(one.result(60) for one in [queue.submit(task, str(path), 4) for task in tasks])


def test_job_knows_itself_and_reports(
    start: Any, style: str, queue: Queue, eventually: Callable[..., Any]
) -> None:
    start(2)
    submitted = queue.submit_many(named("report", style), [(f"line {number}",) for number in range(6)])
    assert [one.result(60) for one in submitted] == [(one.id, 1) for one in submitted]
    for number, one in enumerate(submitted):
        found = eventually(lambda one=one: log_after(queue.name, one.id).ask(queue.client))
        assert [line.text for line in found] == [f"line {number}"]


def test_errors_are_those_of_the_task(start: Any, style: str, queue: Queue) -> None:
    start(2)
    with pytest.raises(JobFailed, match="ValueError: no"):
        queue.submit(named("fail", style), "no").result(60)
    with pytest.raises(JobFailed, match="SystemExit: no"):
        queue.submit(named("leave_early", style), "no").result(60)
    with pytest.raises(JobFailed, match="unknown task"):
        queue.submit(textwrap.dedent, "abc").result(60)
    assert queue.submit(named("report", style), "still here").result(60)


def test_items_are_streamed(start: Any, style: str, queue: Queue) -> None:
    start(2)
    streams = [queue.submit(named("count", style), 500) for _ in range(4)]
    assert [list(one.stream()) for one in streams] == [list(range(500))] * 4


def test_cancelled_job_ends_and_its_neighbor_does_not(
    start: Any, style: str, queue: Queue, path: Path, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(2)
    before = running.workers()
    job, neighbor = queue.submit(named("hold", style), str(path)), tmp_path / "neighbor"
    other = queue.submit(named("hold", style), str(neighbor))
    eventually(lambda: lines(path) and lines(neighbor))
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(60)
    assert lines(path) == ["began 1", "ended"]
    go(neighbor)
    assert other.result(60) == 1
    assert running.workers() == before


def test_killing_a_job_that_resists_blames_no_neighbor(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(2, grace=0.3)
    job, neighbor = queue.submit(named("resist", style), str(path)), path.with_name("neighbor")
    other = queue.submit(named("hold", style), str(neighbor))
    eventually(lambda: lines(path) and lines(neighbor))
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(60)
    go(neighbor)
    assert other.result(60) == 1, "a run that was killed with another does not count"
    runs = 1 if running.report().kind == "process" else 2
    assert lines(neighbor).count("began 1") == runs


def test_time_limit_ends_a_job_and_not_its_neighbor(
    start: Any, kind: str, style: str, queue: Queue, path: Path, tmp_path: Path
) -> None:
    start(2)
    neighbor = tmp_path / "neighbor"
    other = queue.submit(named("hold", style), str(neighbor))
    job = queue.submit(named("hold", style).options(timeout=0.3), str(path))
    with pytest.raises(JobFailed, match=r"TimeLimit: it ran longer than 0.3 s"):
        job.result(60)
    assert lines(path)[1:] == ([] if kind == "process" else ["ended"])
    go(neighbor)
    assert other.result(60) == 1
    assert lines(neighbor) == ["began 1", "ended"]
    record = Inspector(queue.client).job(job.id, queue.name)
    assert record is not None
    assert [one.state for one in record.attempts] == ["timed out"]


def test_time_limit_is_retried(start: Any, style: str, queue: Queue, path: Path) -> None:
    start(1)
    job = queue.submit(named("hold", style).options(timeout=0.3, retries=1, first_delay=0), str(path))
    with pytest.raises(JobFailed, match="TimeLimit"):
        job.result(60)
    assert [one for one in lines(path) if one != "ended"] == ["began 1", "began 2"]


def test_time_limit_kills_what_resists(
    start: Any, style: str, queue: Queue, path: Path, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    start(2, grace=0.3)
    neighbor = tmp_path / "neighbor"
    other = queue.submit(named("hold", style), str(neighbor))
    eventually(lambda: lines(neighbor))
    job = queue.submit(named("resist", style).options(timeout=0.3), str(path))
    with pytest.raises(JobFailed, match=r"TimeLimit"):
        job.result(60)
    go(neighbor)
    assert other.result(60) == 1


def test_soft_limit_is_raised_in_the_task_which_may_return(
    start: Any, style: str, queue: Queue, path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    running = start(2)
    before = running.workers()
    neighbor = tmp_path / "neighbor"
    other = queue.submit(named("hold", style), str(neighbor))
    job = queue.submit(named("tidy", style).options(soft_timeout=0.3), str(path))
    assert job.result(60) == "part"
    assert lines(path) == ["began 1", "tidies False", "ended"]
    go(neighbor)
    assert other.result(60) == 1
    assert running.workers() == before
    assert "reached its soft time limit of 0.3 s" in capfd.readouterr().err


def test_soft_limit_that_passes_the_task_fails_its_run(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    start(1)
    limited = named("hold", style).options(soft_timeout=0.3, retries=1, first_delay=0)
    with pytest.raises(JobFailed, match="SoftTimeout: the run has reached its soft time limit"):
        queue.submit(limited, str(path)).result(60)
    assert lines(path) == ["began 1", "ended", "began 2", "ended"]
    assert queue.submit(named("report", style), "still here").result(60)


def test_hard_limit_follows_the_soft_one(start: Any, kind: str, style: str, queue: Queue, path: Path) -> None:
    start(1)
    limited = named("tidy", style).options(soft_timeout=0.3, timeout=0.8)
    with pytest.raises(JobFailed, match=r"TimeLimit: it ran longer than 0.8 s"):
        queue.submit(limited, str(path), 3600).result(60)
    ended = [] if kind == "process" else ["ended"]
    assert lines(path) == ["began 1", "tidies False", *ended]


def test_cancelled_job_may_be_behind_its_soft_limit(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start(1)
    job = queue.submit(named("tidy", style).options(soft_timeout=0.3), str(path), 3600)
    eventually(lambda: len(lines(path)) == 2)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(60)
    assert lines(path) == ["began 1", "tidies False", "ended"]


def test_soft_limit_of_one_run_never_hits_another(start: Any, style: str, queue: Queue) -> None:
    start(2)
    limited = named("race", style).options(soft_timeout=0.01)
    rows = [(0.009 + number % 5 * 0.0005,) for number in range(200)]
    submitted = [
        *queue.submit_many(limited, rows),
        *queue.submit_many(named("race", style), [(0.001,)] * 200),
    ]
    found = [one.result(60) for one in submitted]
    assert set(found[:200]) <= {"part", "whole"}
    assert set(found[200:]) == {"whole"}


def test_soft_limit_is_raised_at_the_yield(start: Any, style: str, queue: Queue) -> None:
    start(1)
    job = queue.submit(named("count_until_limit", style).options(soft_timeout=0.3))
    found = list(job.stream())
    assert found[-1] == -1
    assert found[:-1] == list(range(len(found) - 1))
    assert len(found) > 5


def test_soft_limit_is_not_swallowed_by_logging(start: Any, style: str, queue: Queue) -> None:
    start(4)
    limited = named("log_until_limit", style).options(soft_timeout=0.3, timeout=30)
    assert [one.result(60) for one in queue.submit_many(limited, [()] * 12)] == ["part"] * 12


def test_soft_limit_leaves_no_log_handler_locked(start: Any, style: str, queue: Queue) -> None:
    start(4)
    limited = named("log_slowly", style).options(soft_timeout=0.3, timeout=20)
    assert [one.result(60) for one in queue.submit_many(limited, [()] * 12)] == ["part"] * 12


def test_soft_limit_waits_for_c_code_and_the_hard_one_kills(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    start(1, grace=0.2)
    limited = named("hold_gil", style).options(soft_timeout=0.3)
    assert queue.submit(limited, str(path), 3 * 10**7).result(60) == "part"
    with pytest.raises(JobFailed, match="TimeLimit"):
        queue.submit(limited.options(timeout=0.5), str(path), 10**13).result(30)


def test_killed_worker_stays_gone_and_its_neighbors_go_on(
    start: Any, style: str, queue: Queue, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(3)
    paths = [tmp_path / f"job{number}" for number in range(3)]
    submitted = [queue.submit(named("hold", style), str(path)) for path in paths]
    eventually(lambda: all(map(lines, paths)))
    victim = int(running.report().workers[1].name.rpartition("/")[2])
    command = running.command("kill", victim)
    assert [state for _, state in running.answers(command, 2)] == ["acknowledged", "done"]
    for path in paths:
        go(path)
    assert [one.result(60) for one in submitted] == [1, 1, 1]
    eventually(lambda: [one.name[-1] for one in running.report().workers] == ["1", "3"])


def test_stopped_worker_finishes_its_job_and_the_others_go_on(
    start: Any, style: str, queue: Queue, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(2)
    paths = [tmp_path / f"job{number}" for number in range(2)]
    submitted = [queue.submit(named("hold", style), str(path)) for path in paths]
    eventually(lambda: all(map(lines, paths)))
    command = running.command("stop", 1)
    assert running.answers(command, 1) == [("/1", "acknowledged")]
    for path in paths:
        go(path)
    assert [one.result(60) for one in submitted] == [1, 1]
    assert running.answers(command, 1) == [("/1", "done")]
    eventually(lambda: [one.name[-1] for one in running.report().workers] == ["2"])
    assert queue.submit(named("report", style), "more").result(60)


def test_paused_workers_take_no_jobs(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(2)
    assert running.answers(running.command("pause", 1, 2), 4)[-1][1] == "done"
    job = queue.submit(named("hold", style), str(path))
    eventually(lambda: [one.state for one in running.report().workers] == ["paused", "paused"])
    assert job.status() == "waiting"
    go(path)
    running.command("resume", 2)
    assert job.result(60) == 1


@pytest.mark.parametrize("how", ["exit", "kill", "segfault"])
def test_crash_is_found_at_once_and_ends_after_three(
    start: Any, style: str, how: str, queue: Queue, path: Path
) -> None:
    start(2)
    began = time.monotonic()
    with pytest.raises(JobLost, match="crashed too many workers"):
        queue.submit(named("crash", style), str(path), how).result(60)
    assert time.monotonic() - began < 10.0, "no lease had to expire"
    assert lines(path) == ["began 1", "began 2", "began 3"]
    assert queue.submit(named("report", style), "still here").result(60)


def test_neighbors_survive_a_job_that_crashes_each_time(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start(5)
    paths = [path.with_name(f"neighbor {number}") for number in range(4)]
    neighbors = [queue.submit(named("hold", style), str(one)) for one in paths]
    eventually(lambda: all(map(lines, paths)))
    cause = queue.submit(named("crash", style), str(path), "segfault")
    eventually(lambda: len(lines(path)) >= 2)
    for one in paths:
        go(one)
    assert all(one.result(60) for one in neighbors)
    with pytest.raises(JobLost, match="crashed too many workers"):
        cause.result(60)


@pytest.mark.parametrize("kind", SHARED, indirect=True)
def test_jobs_before_their_last_crash_run_one_at_a_time(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(3)
    paths = [path.with_name(f"suspect {number}") for number in range(3)]
    suspects = [queue.submit(named("hold", style), str(one)) for one in paths]
    for crash in range(2):
        eventually(lambda crash=crash: all(len(lines(one)) == crash + 1 for one in paths))
        # A worker that claims one of them has just settled another job.
        queue.submit_many(named("report", style).options(priority=1), [("first",)] * 6)
        os.kill(running.report().workers[0].pid, signal.SIGKILL)
    eventually(lambda: sum(len(lines(one)) for one in paths) == 7)
    eventually(lambda: [one.status() for one in suspects] == ["running"] * 3)
    running.signal()
    eventually(lambda: sorted(one.status() for one in suspects) == ["running", "waiting", "waiting"])
    for one in paths:
        go(one)
    eventually(running.has_left)
    assert sorted(one.status() for one in suspects) == ["done", "waiting", "waiting"]
    assert sum(len(lines(one)) for one in paths) == 8


def test_consumer_leaves_after_its_jobs_or_returns_them(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(2)
    first = queue.submit(named("hold", style), str(path))
    eventually(lambda: lines(path))
    running.signal()
    eventually(lambda: running.report().workers[0].state == "leaving")
    waiting = queue.submit(named("report", style), "later")
    go(path)
    assert first.result(60) == 1
    eventually(running.has_left)
    assert (running.status, waiting.status()) == (0, "waiting")
    again = path.with_name("again")
    second = start(2)
    job = queue.submit(named("hold", style), str(again))
    eventually(lambda: lines(again))
    second.signal()
    eventually(lambda: second.report().workers[0].state == "leaving")
    second.signal()
    eventually(second.has_left)
    assert second.status == 0
    assert (job.status(), lines(again)) == ("waiting", ["began 1", "ended"])


def test_consumer_leaves_empty_queues(start: Any, style: str, queue: Queue, eventually: Any) -> None:
    submitted = queue.submit_many(named("report", style), [("x",)] * 30)
    running = start(3, until_empty=True)
    eventually(running.has_left)
    assert running.status == 0
    assert all(one.done() for one in submitted)


def test_stacks_show_the_code_of_the_job(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start(2)
    job = queue.submit(named("hold", style), str(path))
    eventually(lambda: lines(path))
    busy = eventually(lambda: next((one for one in running.report().workers if one.job == job.id), None))
    command = running.command("stack", int(busy.name[-1]))
    (answer,) = running.details(command, 1)
    assert "kind_jobs.py" in answer.detail
    assert f"hold{style}" in answer.detail
    go(path)


def test_no_lease_lapses_while_a_job_blocks_the_event_loop(
    consume: Any,
    queue: Queue,
    path: Path,
    short_lease: float,
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    consume(workers=3, kind="coroutine", modules=("kind_jobs",))
    neighbor = path.with_name("neighbor")
    other = queue.submit(jobs.hold_async, str(neighbor))
    eventually(lambda: lines(neighbor))
    blocking = queue.submit(jobs.block, str(path), 2.5 * short_lease)
    assert blocking.result(60) == "blocked"
    go(neighbor)
    assert other.result(60) == 1
    assert lines(neighbor) == ["began 1", "ended"]
    assert queue.count().lapsed == 0
    assert f"job {blocking.id} (kind_jobs.block)" in capfd.readouterr().err


@pytest.mark.parametrize("kind", SHARED, indirect=True)
def test_no_lease_lapses_while_a_job_holds_the_gil(
    start: Any, style: str, queue: Queue, short_lease: float
) -> None:
    queue.pause()
    first = queue.submit_many(named("report", style), [("x",)] * 10)
    holding = queue.submit(named("hold_lock", style), 2.5 * short_lease)
    behind = queue.submit_many(named("report", style), [("x",)] * 100)
    start(20)
    queue.resume()
    assert holding.result(60) == "held"
    assert {one.result(60)[1] for one in [*first, *behind]} == {1}
    assert queue.count().lapsed == 0


@pytest.mark.parametrize("kind", SHARED, indirect=True)
def test_job_behind_a_suspect_keeps_its_lease(
    start: Any, style: str, queue: Queue, path: Path, short_lease: float, eventually: Callable[..., Any]
) -> None:
    running = start(3)
    paths = [path.with_name(f"suspect {number}") for number in range(3)]
    suspects = [queue.submit(named("hold", style), str(one)) for one in paths]
    for crash in range(2):
        eventually(lambda crash=crash: all(len(lines(one)) == crash + 1 for one in paths))
        os.kill(running.report().workers[0].pid, signal.SIGKILL)
    eventually(lambda: sum(len(lines(one)) for one in paths) == 7)
    begun = next(number for number, one in enumerate(paths) if len(lines(one)) == 3)
    other, last = (number for number in range(3) if number != begun)
    time.sleep(2 * short_lease)
    assert suspects[other].cancel()
    with pytest.raises(JobCancelled):
        suspects[other].result(60)
    # The other two workers have their jobs, so this one runs once the worker of the cancelled job has heard of that.
    assert queue.submit(named("report", style), "x").result(60)[1] == 1
    for one in paths:
        go(one)
    assert [suspects[number].result(60) for number in (begun, last)] == [3, 3]
    assert len(lines(paths[other])) == 2
    assert queue.count().lapsed == 0


def test_job_that_blocks_the_loop_in_another_task_is_named(
    consume: Any, queue: Queue, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    consume(workers=2, kind="coroutine", modules=("kind_jobs",))
    blocking = queue.submit(jobs.block_in_another, str(path), 3.0)
    assert blocking.result(60) == "blocked"
    assert f"job {blocking.id} (kind_jobs.block_in_another)" in capfd.readouterr().err


def test_job_cancelled_before_the_loop_reaches_it_never_begins(
    consume: Any, queue: Queue, path: Path, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2, kind="coroutine", modules=("kind_jobs",))
    blocking = queue.submit(jobs.block, str(tmp_path / "blocking"), 2.0)
    eventually(lambda: lines(tmp_path / "blocking"))
    job = queue.submit(jobs.hold_async, str(path))
    eventually(lambda: job.id in [one.job for one in running.report().workers])
    job.cancel()
    assert blocking.result(60) == "blocked"
    with pytest.raises(JobCancelled):
        job.result(60)
    assert not lines(path)


def test_a_thousand_coroutines_run_at_once(consume: Any, queue: Queue) -> None:
    running = consume(workers=1000, kind="coroutine", modules=("kind_jobs",))
    began = time.monotonic()
    submitted = queue.submit_many(jobs.nap, [(1.0,)] * 1000)
    assert {one.result(60) for one in submitted} == {one.id for one in submitted}
    assert time.monotonic() - began < 20.0, "one after the other they take 1,000 s"
    assert len(running.workers()) == 1


def test_coroutines_that_a_job_has_left_behind_are_cancelled(consume: Any, queue: Queue, path: Path) -> None:
    consume(workers=2, kind="coroutine", modules=("kind_jobs",))
    assert queue.submit(jobs.leave_something_behind, str(path)).result(60) == "left False"
    assert lines(path) == ["ended"]


@pytest.mark.parametrize("how", ["stop", "callback", "task"])
def test_event_loop_goes_on_whatever_a_job_does_to_it(
    consume: Any, queue: Queue, path: Path, how: str, eventually: Callable[..., Any]
) -> None:
    consume(workers=2, kind="coroutine", modules=("kind_jobs",))
    neighbor = queue.submit(jobs.hold_async, str(path))
    eventually(lambda: lines(path))
    assert queue.submit(jobs.end_loop, how).result(60) == "went on"
    go(path)
    assert neighbor.result(60) == 1


def test_process_that_a_task_has_forked_can_be_terminated(start: Any, style: str, queue: Queue) -> None:
    start(2)
    assert queue.submit(named("terminate_child", style)).result(60) == -signal.SIGTERM


def test_task_that_forks_and_returns_twice_counts_once(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    running = start(2)
    assert queue.submit(named("fork", style), str(path)).result(60) in {one.pid for one in running.workers()}
    assert queue.submit(jobs.report, "still here").result(60)
    assert queue.count().finished == 2


def test_threads_and_coroutines_are_spread_over_processes(consume: Any, queue: Queue, path: Path) -> None:
    running = consume(workers=4, kind="thread", processes=2, modules=("kind_jobs",))
    assert len(running.workers()) == 2
    pids = {one.result(60) for one in queue.submit_many(jobs.meet, [(str(path), 4)] * 4)}
    assert pids == {one.pid for one in running.workers()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "fiber"}, "kind must be process, thread or coroutine"),
        ({"processes": 2}, "processes is for threads and coroutines"),
        (
            {"kind": "thread", "workers": 2, "processes": 3},
            "between 1 and 2, the number of workers at the start",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(BadCall, match=message):
        Consumer("work", **settings)
