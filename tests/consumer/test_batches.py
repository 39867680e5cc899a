"""Batch tasks: jobs gathered into one call, and each settled on its own, by workers of all kinds."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import batch_jobs as jobs
import kind_jobs
import pytest
from consumer_kit import go, lines

from conveyor import (
    BadCall,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobLost,
    Limit,
    Queue,
    result_of,
    results_of,
    task,
)
from conveyor.monitor import Inspector
from conveyor.monitor.job_record import log_after, record
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def named(name: str, style: str) -> Any:
    return getattr(jobs, name + style)


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int = 1, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("batch_jobs", "kind_jobs"), **changes)

    return consume_so


def rows(path: Path, count: int) -> list[tuple[str, int]]:
    return [(str(path), number) for number in range(count)]


def paused(queue: Queue, function: Any, calls: list[tuple[Any, ...]]) -> list[Any]:
    """Put jobs so that a running worker finds them all at once."""
    queue.pause()
    handles = queue.submit_many(function, calls)
    queue.resume()
    return handles


def test_jobs_are_run_in_as_few_calls_as_fit(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = queue.submit_many(named("double", style), rows(path, 1000))
    start()
    assert [one.result(60) for one in handles] == [2 * number for number in range(1000)]
    assert lines(path) == ["100"] * 10
    assert queue.count().imbalance == 0


def test_jobs_that_come_while_it_waits_join_the_batch(
    start: Any, kind: str, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start(1 if kind == "process" else 3)  # each process gathers for itself
    task_ = named("fill", style)
    handles = [queue.submit(task_, str(path), 0)]
    for number in range(1, 10):
        eventually(lambda: queue.count().leased == len(handles))
        assert not lines(path)
        handles.append(queue.submit(task_, str(path), number))
    assert [one.result(60) for one in handles] == [*range(10)]
    assert [sorted(line.split()) for line in lines(path)] == [[str(number) for number in range(10)]]


def test_batch_that_does_not_fill_runs_after_the_wait(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    start()
    handles = paused(queue, named("gather", style), rows(path, 3))
    assert [one.result(60) for one in handles] == [None] * 3
    assert lines(path) == ["0 1 2"]


def test_jobs_of_other_tasks_do_not_wait_for_the_batch(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start()
    first = queue.submit(named("fill", style), str(path), 0)
    eventually(lambda: queue.count().leased == 1)
    other = queue.submit(kind_jobs.report, "other")
    assert other.result(60)
    assert first.result(60) == 0, "it ended the wait"
    assert lines(path) == ["0"]


def test_batches_and_other_tasks_mix(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = []
    for number in range(40):
        handles.append(queue.submit(named("double", style), str(path), number))
        handles.append(queue.submit(named_report(style), "x"))
    start(2)
    found = [one.result(60) for one in handles]
    assert found[::2] == [2 * number for number in range(40)]
    assert sum(map(int, lines(path))) == 40
    assert queue.count().imbalance == 0


def named_report(style: str) -> Any:
    return getattr(kind_jobs, f"report{style}")


def test_one_bad_item_fails_alone(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    handles = paused(queue, named("double", style), [(str(path), one) for one in (1, -2, 3)])
    assert [handles[0].result(60), handles[2].result(60)] == [2, 6]
    with pytest.raises(JobFailed, match="ValueError: -2 is negative"):
        handles[1].result(60)
    assert lines(path) == ["3"]


def test_arguments_that_do_not_fit_fail_alone(start: Any, style: str, queue: Queue, path: Path) -> None:
    @task(name=named("double", style).name)
    def double(paths: str, numbers: object) -> None:
        """Stand for an older version of the producer."""

    start()
    handles = paused(queue, double, [(str(path), one) for one in (1, "two", 3)])
    assert [handles[0].result(60), handles[2].result(60)] == [2, 6]
    with pytest.raises(JobFailed, match=r"BadCall: .*numbers"):
        handles[1].result(60)
    assert lines(path) == ["2"]


def test_job_that_is_left_out_is_no_current_job(start: Any, style: str, queue: Queue) -> None:
    @task(name=named("report", style).name)
    def report(texts: object) -> None:
        """Stand for an older version of the producer."""

    start()
    handles = paused(queue, report, [(one,) for one in (1, "b", 3, "d")])
    assert [handles[place].result(60) for place in (1, 3)] == [handles[1].id, handles[3].id]


def test_exception_of_the_call_is_that_of_each_job(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = queue.submit_many(named("fail", style), rows(path, 3))
    handles += queue.submit_many(named("fail", style).options(retries=0), rows(path, 1))
    start()
    assert [one.result(60) for one in handles[:3]] == [0, 1, 2]
    with pytest.raises(JobFailed, match="OSError: not yet"):
        handles[3].result(60)
    assert lines(path)[0] == "1 1 1 1"


def test_wrong_number_of_results_fails_all(start: Any, style: str, queue: Queue) -> None:
    handles = queue.submit_many(named("lose", style).options(retries=3), [("a",), ("b",)])
    start()
    for one in handles:
        with pytest.raises(
            JobFailed, match=r"BadCall: .* must return a list with a result for each of its 2 jobs"
        ):
            one.result(60)


def test_each_job_reports_and_logs(
    start: Any, style: str, queue: Queue, eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(named("report", style), [(f"line {number}",) for number in range(3)])
    start()
    assert [one.result(60) for one in handles] == [one.id for one in handles]
    for number, one in enumerate(handles):
        found = eventually(lambda one=one: log_after(queue.name, one.id).ask(queue.client))
        assert [line.text for line in found] == [f"line {number}"]


def test_job_cancelled_while_it_is_gathered_is_left_out(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start()
    handles = queue.submit_many(named("fill", style), rows(path, 3))
    eventually(lambda: queue.count().leased == 3)
    handles[1].cancel()
    handles += queue.submit_many(named("fill", style), rows(path, 7))
    assert [one.result(60) for one in handles[2:]] == [2, *range(7)]
    with pytest.raises(JobCancelled):
        handles[1].result(60)
    assert lines(path) == ["0 2 0 1 2 3 4 5 6"]


def test_cancelled_job_of_a_running_batch_ends_alone(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(named("hold", style), rows(path, 3))
    running = start()
    eventually(lambda: lines(path))
    before = running.workers()
    handles[1].cancel()
    eventually(lambda: record(queue.name, handles[1].id).ask(queue.client).cancelling)
    eventually(lambda: any(one.batch == 3 for one in Inspector(queue.client).workers()))
    go(path)
    assert [handles[0].result(60), handles[2].result(60)] == [0, 2]
    with pytest.raises(JobCancelled):
        handles[1].result(60)
    assert lines(path) == ["began 0 1 2", "ended, cancelled [1] False"]
    assert running.workers() == before


def test_batch_ends_once_all_its_jobs_are_cancelled(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(named("hold", style), rows(path, 3))
    running = start()
    eventually(lambda: lines(path))
    before = running.workers()
    for one in handles:
        one.cancel()
    for one in handles:
        with pytest.raises(JobCancelled):
            one.result(60)
    assert lines(path) == ["began 0 1 2", "ended, cancelled [0, 1, 2] True"]
    assert running.workers() == before
    assert queue.count().imbalance == 0


def test_batch_that_resists_its_cancellation_is_killed(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(named("resist", style), rows(path, 3))
    start(grace=0.3)
    eventually(lambda: lines(path))
    for one in handles:
        one.cancel()
    for one in handles:
        with pytest.raises(JobCancelled):
            one.result(60)
    assert lines(path) == ["began 0 1 2"]
    assert queue.count().imbalance == 0


def test_killed_worker_blames_no_job(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(named("hold", style), rows(path, 3))
    running = start()
    eventually(lambda: lines(path))
    running.command("kill", 1)
    eventually(lambda: queue.count().ready == 3)
    found = [record(queue.name, one.id).ask(queue.client) for one in handles]
    assert [(one.crashes, one.attempts[0].state) for one in found if one] == [(0, "killed")] * 3
    go(path)
    start()
    assert [one.result(60) for one in handles] == [0, 1, 2]


def test_jobs_of_a_crashed_batch_run_alone_from_then_on(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    handles = queue.submit_many(named("crash", style), rows(path, 6))
    start()
    assert [one.result(60) for one in (*handles[:3], *handles[4:])] == [0, 1, 2, 4, 5]
    with pytest.raises(JobLost):
        handles[3].result(60)
    calls = lines(path)
    assert calls[0] == "0 1 2 3 4 5"
    assert sorted(calls[1:]) == ["0", "1", "2", "3", "3", "4", "5"]


def test_stop_gives_gathered_jobs_back(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start()
    queue.submit_many(named("fill", style), rows(path, 3))
    eventually(lambda: queue.count().leased == 3)
    running.popen.send_signal(signal.SIGTERM)
    assert running.popen.wait(20) == 0
    assert (queue.count().ready, queue.count().leased, lines(path)) == (3, 0, [])


def test_pause_gives_gathered_jobs_back(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start()
    handles = queue.submit_many(named("fill", style), rows(path, 3))
    eventually(lambda: queue.count().leased == 3)
    running.command("pause", 1)
    eventually(lambda: queue.count().ready == 3)
    running.command("resume", 1)
    handles += queue.submit_many(named("fill", style), rows(path, 7))
    assert [one.result(60) for one in handles] == [0, 1, 2, *range(7)]


def test_second_stop_level_returns_a_running_batch(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start()
    queue.submit_many(named("hold", style), rows(path, 3))
    eventually(lambda: lines(path) and queue.count().leased == 3)
    running.popen.send_signal(signal.SIGTERM)
    eventually(lambda: running.report().workers[0].state == "leaving")
    running.popen.send_signal(signal.SIGTERM)
    assert running.popen.wait(20) == 0
    assert (queue.count().ready, queue.count().leased) == (3, 0)


def test_shortest_time_limit_ends_the_batch(start: Any, style: str, queue: Queue, path: Path) -> None:
    task_ = named("hold", style)
    handles = queue.submit_many(task_.options(timeout=60), rows(path, 2))
    handles += queue.submit_many(task_.options(timeout=0.5), rows(path, 1))
    start()
    for one in handles:
        with pytest.raises(JobFailed, match=r"TimeLimit: it ran longer than 0.5 s"):
            one.result(60)
    assert queue.count().imbalance == 0


def test_soft_time_limit_is_raised_in_the_batch(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = queue.submit_many(named("tidy", style).options(soft_timeout=0.3), [(str(path),)] * 3)
    start()
    assert [one.result(60) for one in handles] == ["part"] * 3


def test_leases_are_renewed_while_jobs_are_gathered(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any], short_lease: float
) -> None:
    running = start()
    handles = queue.submit_many(named("fill", style), rows(path, 9))
    eventually(lambda: queue.count().leased == 9)
    start()
    time.sleep(2.5 * short_lease)
    found = [record(queue.name, one.id).ask(queue.client) for one in handles]
    assert {one and one.worker for one in found} == {f"{running.name}/1"}


def test_leases_are_renewed_while_a_batch_holds_the_gil(
    start: Any, style: str, queue: Queue, path: Path, short_lease: float
) -> None:
    handles = queue.submit_many(named("block", style), [(str(path), 2.5 * short_lease)] * 3)
    start()
    start()
    assert [one.result(60) for one in handles] == [1, 1, 1]
    assert lines(path) == ["began"]


def test_worker_killed_while_it_gathers_costs_no_job(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start()
    handles = queue.submit_many(named("fill", style), rows(path, 9))
    eventually(lambda: queue.count().leased == 9)
    for worker in running.workers():
        worker.send_signal(signal.SIGKILL)
    eventually(lambda: queue.count().ready == 9 or queue.count().leased == 9)
    handles += queue.submit_many(named("fill", style), rows(path, 1))
    assert [one.result(60) for one in handles] == [*range(9), 0]
    found = [record(queue.name, one.id).ask(queue.client) for one in handles]
    assert all(one and one.crashes == 0 for one in found)


def test_max_jobs_ends_the_process_between_batches(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = queue.submit_many(named("double", style), rows(path, 250))
    start(max_jobs=120)
    assert [one.result(60) for one in handles] == [2 * number for number in range(250)]
    assert lines(path)[:3] == ["100", "20", "100"]


def test_each_job_has_one_outcome_whatever_happens(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    chance = random.Random(f"{queue.name}{style}")
    running = start(3)
    handles, numbers = [], itertools.count()
    for step in range(40):
        for _ in range(chance.randrange(1, 12)):
            task_ = chance.choice([named("note", style), named("note", style), named("note_slowly", style)])
            number = next(numbers)
            handles.append(queue.submit(task_, str(path), -number if chance.random() < 0.1 else number))
        if chance.random() < 0.3:
            chance.choice(handles).cancel()
        if step in {10, 25}:
            chance.choice(running.workers()).kill()
            eventually(lambda: len(running.workers()) == processes(running))
        time.sleep(chance.random() / 50)
    eventually(lambda: all(one.done() for one in handles), seconds=60)
    states = [one.status() for one in handles]
    assert set(states) <= {"done", "failed", "cancelled"}
    for number, state in enumerate(states):
        assert state != "done" or handles[number].result() == number
    runs = Counter(abs(int(word)) for line in lines(path) for word in line.split())
    assert all(runs[number] for number, state in enumerate(states) if state == "done")
    assert sum(count - 1 for count in runs.values()) <= 2 * 60, "only those of the killed workers ran again"
    count = queue.count()
    assert (count.imbalance, count.qsize, count.leased) == (0, 0, 0)
    assert count.accepted == len(handles)


def test_expired_jobs_are_left_out(
    start: Any, style: str, queue: Queue, eventually: Callable[..., Any]
) -> None:
    report = named("report", style)
    late = queue.submit_many(report.options(expires=0.05), [("late",)] * 3)
    handles = queue.submit_many(report, [("a",), ("b",)])
    until = time.time() + 0.1
    eventually(lambda: time.time() > until)
    start()
    assert [one.result(60) for one in handles] == [one.id for one in handles]
    for one in late:
        with pytest.raises(JobExpired):
            one.result(60)
    count = queue.count()
    assert (count.finished, count.cancelled, count.imbalance) == (2, 3, 0)


def test_job_that_was_started_does_not_expire_in_a_batch(
    start: Any, style: str, queue: Queue, eventually: Callable[..., Any]
) -> None:
    started, late = queue.submit_many(named("report", style).options(expires=0.05), [("a",)] * 2)
    token = queue.client.run(commands.claim(queue.name, "ann", "n1", 1, 60.0)).token
    queue.client.run(commands.release(queue.name, token, [started.id], b"attempt"))
    until = time.time() + 0.1
    eventually(lambda: time.time() > until)
    start()
    assert started.result(60) == started.id
    with pytest.raises(JobExpired):
        late.result(60)


def test_batch_of_expired_jobs_does_not_run(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    task_ = named("double", style)
    late = queue.submit_many(task_.options(expires=0.05), rows(path, 30))
    until = time.time() + 0.1
    eventually(lambda: time.time() > until)
    start()
    for one in late:
        with pytest.raises(JobExpired):
            one.result(60)
    assert queue.submit(task_, str(path), 1).result(60) == 2
    assert lines(path) == ["1"]


def test_jobs_take_the_results_of_others(start: Any, style: str, queue: Queue, path: Path) -> None:
    double, show = named("double", style), named("show", style)
    start()
    first = queue.submit_many(double, rows(path, 3))
    second = [queue.submit(double, str(path), result_of(one)) for one in first for _ in range(30)]
    mixed = queue.submit(double, str(path), 21)
    last = queue.submit(show, results_of([*second[::30], mixed]))
    assert [one.result(60) for one in second] == [0] * 30 + [4] * 30 + [8] * 30
    assert last.result(60) == "[0, 4, 8, 42]"
    large = queue.submit(show, "x" * 5000)
    for one in [queue.submit(show, result_of(large)) for _ in range(30)]:
        assert one.result(60) == repr(large.result())
    bad = queue.submit(double, str(path), -1)
    told = queue.submit(show.options(when="ended"), result_of(bad))
    assert "JobFailed" in told.result(60)
    with pytest.raises(JobCancelled, match="which it comes after, ended as failed"):
        queue.submit(double, str(path), result_of(bad)).result(60)
    assert queue.count().imbalance == 0


def test_worker_that_gathers_carries_messages_over(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start()
    queue.submit(named("fill", style), str(path), 0)
    eventually(lambda: queue.count().leased == 1)
    other = Queue(f"{queue.name}b", store=queue.client)
    before = queue.submit(named("show", style).options(delay=600), 1)
    other.submit(named("show", style).options(when="ended"), result_of(before))
    assert other.count().deferred == 1
    before.cancel()
    eventually(lambda: other.count().ready == 1)
    assert not lines(path)
    other.clear()


def test_throttle_returns_all_jobs_to_rest(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = queue.submit_many(named("throttle", style), rows(path, 3))
    start()
    assert [one.result(60) for one in handles] == [0, 1, 2]
    runs = [line.partition(" at ") for line in lines(path)]
    assert [numbers for numbers, _, _ in runs] == ["0 1 2", "0 1 2"]
    assert float(runs[1][2]) - float(runs[0][2]) >= 0.9
    for one in handles:
        found = record(queue.name, one.id).ask(queue.client)
        assert found is not None
        assert (found.attempts[0].state, found.attempts[0].kind, found.retries) == (
            "given back",
            "Throttle",
            0,
        )
    assert queue.count().imbalance == 0


def test_throttle_in_the_place_of_a_result_returns_one_job(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    task_ = named("throttle_one", style).options(limit=Limit(by="numbers"))
    handles = queue.submit_many(task_, rows(path, 3))
    start()
    assert [one.result(60) for one in handles] == [0, 1, 2]
    assert lines(path) == ["0 1 2", "1"]


def test_each_job_has_its_own_policy_and_outcome(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    kinds = ("fine", "os", "value", "later")
    handles = paused(queue, named("choose", style), [(str(path), one) for one in kinds])
    assert [handles[place].result(60) for place in (0, 1, 3)] == ["fine", "os", "later"]
    with pytest.raises(JobFailed, match="ValueError: value"):
        handles[2].result(60)
    found = [record(queue.name, one.id).ask(queue.client) for one in handles]
    assert [one.retries for one in found if one] == [0, 1, 0, 1]
    outcomes = lines(path)
    assert outcomes[:5] == ["fine Done", "os Retry", "value Fail", "later Retry", "batch Done"]
    assert {"os Done", "later Done", "batch Done"} == set(outcomes[5:])


def test_policy_decides_what_follows_a_time_limit(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = queue.submit_many(named("stall", style).options(timeout=0.5), rows(path, 3))
    start(grace=0.3)
    assert [one.result(60) for one in handles] == [0, 1, 2]


def test_each_job_counts_for_its_limit(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    task_ = named("double", style)
    handles = queue.submit_many(task_.options(limit=Limit(running=2)), rows(path, 6))
    start()
    assert [one.result(60) for one in handles] == [2 * number for number in range(6)]
    assert lines(path) == ["2"] * 3
    handles = paused(queue, task_.options(limit=Limit(starts=3, per=3600, name="hourly")), rows(path, 5))
    assert [one.result(60) for one in handles[:3]] == [0, 2, 4]
    eventually(lambda: (queue.count().deferred, queue.count().leased) == (2, 0))
    assert lines(path)[3:] == ["3"]
    for one in handles[3:]:
        one.cancel()


def test_fair_share_does_not_make_batches_smaller(start: Any, style: str, queue: Queue, path: Path) -> None:
    handles = queue.submit_many(named("double", style).options(limit=Limit(by="paths")), rows(path, 200))
    start()
    assert [one.result(60) for one in handles] == [2 * number for number in range(200)]
    assert lines(path) == ["100", "100"]


def test_hooks_follow_each_job_and_may_be_gathered(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(named("where", style), [(str(path),)] * 3)
    start()
    eventually(lambda: len(lines(path)) == 3)
    assert sorted(lines(path)) == sorted(f"{one.id} done" for one in handles)


def processes(running: Any) -> int:
    return 3 if running.report().kind == "process" else 1


def test_functions_that_cannot_take_lists_are_refused() -> None:
    def yields(rows: list[int]) -> Any:
        yield rows

    def single(row: int) -> None: ...

    def optional(rows: list[int], scale: list[int] = []) -> None: ...  # noqa: B006

    def none() -> None: ...

    for function in (yields, single, optional, none):
        with pytest.raises(BadCall):
            task(batch=3)(function)
    for batch in (0, 1001, True, "3"):
        with pytest.raises(BadCall, match="batch must be a whole number"):
            task(batch=batch)(lambda rows: rows)  # type: ignore[call-overload]
