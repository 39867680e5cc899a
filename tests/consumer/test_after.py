"""Jobs after jobs: they get results, wait for their ends, and share their failures by policy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import flow_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import BadCall, Full, Job, JobCancelled, JobGone, Queue, aio, result_of, results_of
from conveyor.wire.terms import Input

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def start(consume: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a consumer of the tasks."""
    return lambda *args, **changes: consume(*args, modules=("flow_jobs",), **changes)


def named(name: str, style: str) -> Any:
    return getattr(jobs, name + style)


def test_results_become_arguments(start: Any, kind: str, style: str, queue: Queue) -> None:
    start(workers=3, kind=kind)
    add, double, total = (named(name, style) for name in ("add", "double", "total"))
    first = queue.submit(add, 1, b=2)
    second = queue.submit(double, result_of(first))
    third = queue.submit(double, sum_=result_of(second), times=3)
    everything = queue.submit(total, results_of([first, second, third]), more=100)
    assert everything.result(30) == 3 + 6 + 18 + 100
    assert queue.submit(total, results_of([])).result(30) == 0
    assert queue.submit(total, results_of([third]), more=1).result(30) == 19  # it has ended already


def test_then_passes_the_result_to_a_task_on_its_queue(start: Any, queue: Queue) -> None:
    start(workers=2)
    add, double = (one.options(queue=queue.name) for one in (jobs.add, jobs.double))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVEYOR_URL", queue.client.url)
        job = add.submit(1).then(double).then(double, times=10)
        assert job.result(30) == jobs.Sum(40)
        with pytest.raises(BadCall, match="not a task"):
            job.then(repr)


def test_job_waits_until_all_before_it_have_ended(
    start: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start(workers=3)
    held = [queue.submit(jobs.hold, str(path), str(number)) for number in range(2)]
    last = queue.submit(jobs.add.options(after=held), 1)
    eventually(lambda: len(lines(path)) == 2)
    assert (last.status(), queue.count().deferred, queue.qsize()) == ("deferred", 1, 1)
    go(path)
    assert last.result(30) == jobs.Sum(2)
    assert queue.join(30) is None


def test_jobs_follow_each_other_over_several_queues(start: Any, queue: Queue) -> None:
    others = [Queue(f"{queue.name}-{number}", store=queue.client) for number in range(3)]
    start([one.name for one in others], workers=2)
    job = others[0].submit(jobs.add, 0, 0)
    for number in range(30):
        job = others[number % 3].submit(
            jobs.add, result_of(others[(number + 1) % 3].submit(jobs.size, result_of(job)))
        )
    assert job.result(60) == jobs.Sum(30)
    assert [one.count().imbalance for one in others] == [0, 0, 0]


@pytest.mark.parametrize("how", ["paused", "left", "cancelled", "cleared"])
def test_follower_goes_on_if_nobody_claims_from_the_other_queue(
    start: Any, kind: str, queue: Queue, path: Path, how: str, eventually: Callable[..., Any]
) -> None:
    other = Queue(f"{queue.name}-b", store=queue.client)
    first = queue.submit(jobs.hold, str(path), "x")
    follower = other.submit(jobs.add.options(after=[first], when="ended"), 1)
    start(other.name, kind=kind)
    if how in {"paused", "left"}:
        before = start(queue.name, kind=kind, until_empty=how == "left")
        eventually(lambda: lines(path))
        queue.pause() if how == "paused" else before
        go(path)
    elif how == "cancelled":
        first.cancel()
    else:
        queue.clear()
    assert follower.result(30) == jobs.Sum(2)


def test_large_result_reaches_all_followers_and_is_kept_once(
    start: Any, kind: str, queue: Queue, path: Path, one_server: Any, eventually: Callable[..., Any]
) -> None:
    other = Queue(f"{queue.name}-b", store=queue.client)
    start([queue.name, other.name], workers=2, kind=kind)
    held = queue.submit(jobs.hold, str(path), "x")
    large = queue.submit(jobs.show.options(after=[held]), "x" * 5000)
    followers = [one.submit(jobs.show, result_of(large)) for one in [queue, other] * 10]
    last = other.submit(jobs.show.options(after=[other.submit(jobs.hold, str(path), "y")]), result_of(large))
    go(path)
    for job in (*followers, last, other.submit(jobs.show, result_of(large))):
        assert job.result(30) == repr(large.result())
    eventually(lambda: list(one_server.raw.keys("*:shared:*")) == [])


@pytest.mark.parametrize("other", [False, True], ids=["same queue", "another queue"])
def test_failures_and_cancellations_go_down_the_graph(start: Any, queue: Queue, *, other: bool) -> None:
    target = Queue(f"{queue.name}-b", store=queue.client) if other else queue
    start([queue.name, target.name] if other else queue.name, workers=2)
    failed = queue.submit(jobs.fail, "no")
    child = target.submit(jobs.show, result_of(failed))
    grandchild = queue.submit(jobs.show, result_of(child))
    with pytest.raises(JobCancelled, match=f"{failed.id}, which it comes after, ended as failed"):
        child.result(30)
    with pytest.raises(
        JobCancelled, match=f"{child.id}, which it comes after, ended as cancelled.*first {failed.id} failed"
    ):
        grandchild.result(30)


def test_policy_decides_what_runs_after_a_failure(start: Any, queue: Queue) -> None:
    start(workers=2)
    good, bad = queue.submit(jobs.add, 1), queue.submit(jobs.fail, "no")
    both = queue.submit(jobs.show.options(when="ended"), results_of([bad, good]))
    told = queue.submit(jobs.show.options(when="failed"), result_of(bad))
    unneeded = queue.submit(jobs.show.options(when="failed"), result_of(good))
    assert both.result(30) == "[JobFailed('ValueError: no'), Sum(value=2)]"
    assert told.result(30) == "JobFailed('ValueError: no')"
    with pytest.raises(JobCancelled, match="ended as done"):
        unneeded.result(30)
    late = queue.submit(jobs.show.options(when="failed"), result_of(bad))  # it is dead by now
    assert late.result(30) == "JobFailed('ValueError: no')"


def test_lost_job_counts_as_failed(start: Any, queue: Queue) -> None:
    start(workers=2)
    lost = queue.submit(jobs.crash)
    after_it = queue.submit(jobs.show.options(when="failed"), result_of(lost))
    assert "JobLost" in after_it.result(60)


def test_cancelled_job_is_left_by_those_before_it(start: Any, queue: Queue, path: Path) -> None:
    held = queue.submit(jobs.hold, str(path))
    deferred = queue.submit(jobs.show, result_of(held))
    last = queue.submit(jobs.show.options(when="ended"), result_of(deferred))
    assert deferred.cancel()
    start(workers=1)
    go(path)
    assert held.result(30) == ""
    assert "JobCancelled" in last.result(30)


def test_unknown_job_before_is_refused(queue: Queue) -> None:
    missing: Job[int] = Job("missing", queue.name, client=queue.client)
    with pytest.raises(JobGone, match="missing"):
        queue.submit(jobs.add.options(after=[missing]), 1)
    assert queue.qsize() == 0
    with pytest.raises(BadCall, match="expected a Job, got str"):
        jobs.add.options(after=["missing"])
    with pytest.raises(BadCall, match='"done", "failed" or "ended"'):
        jobs.add.options(when="later")


def test_unknown_job_of_another_queue_ends_the_graph(start: Any, queue: Queue) -> None:
    missing: Job[int] = Job("missing", f"{queue.name}-none", client=queue.client)
    start(workers=1)
    with pytest.raises(JobCancelled, match="ended as gone"):
        queue.submit(jobs.add.options(after=[missing]), 1).result(30)


def test_deferred_jobs_take_room(queue: Queue) -> None:
    bounded = Queue(f"{queue.name}-bounded", maxsize=2, store=queue.client)
    first = bounded.submit(jobs.add, 1)
    bounded.submit(jobs.double, result_of(first))
    with pytest.raises(Full):
        bounded.submit(jobs.add.options(wait=0), 1)
    assert bounded.full()


def test_graph_is_put_in_asyncio(start: Any, queue: Queue) -> None:
    start(workers=2)

    async def run() -> int:
        there = aio.Queue(queue.name, store=queue.client)
        sums = await there.submit_many(jobs.add_async, [(number,) for number in range(20)])
        return await (await there.submit(jobs.total, results_of(sums)))

    assert asyncio.run(asyncio.wait_for(run(), 60)) == sum(range(1, 21))


def test_job_goes_on_after_the_last_one_of_another_queue(
    start: Any, kind: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    """The other queue is empty by then; of many queues, workers ask only those that have something."""
    others = [Queue(f"{queue.name}-{number}", store=queue.client) for number in range(9)]
    start([queue.name, *(one.name for one in others)], workers=3, kind=kind)
    before = [one.submit(jobs.hold, str(path), one.name) for one in others[-3:]]
    last = queue.submit(jobs.add.options(after=before), 1)
    eventually(lambda: len(lines(path)) == 3)
    go(path)
    assert last.result(20) == jobs.Sum(2)


def test_many_jobs_before_and_after_one(start: Any, queue: Queue) -> None:
    start(workers=2)
    first = queue.submit(jobs.add, 0)
    middle = queue.submit_many(jobs.double, [(result_of(first), number) for number in range(500)])
    last = queue.submit(jobs.total, results_of(middle))
    assert last.result(60) == sum(range(500))
    assert queue.count().imbalance == 0


def test_delay_begins_after_the_jobs_before(start: Any, queue: Queue, path: Path) -> None:
    start(workers=2)
    first = queue.submit(jobs.stamp, str(path), "a", 1, 0.5)
    last = queue.submit(jobs.stamp.options(delay=0.5, after=[first]), str(path), "a", 2)
    assert last.result(30) - first.result(30) >= 1.0


def test_input_reads_as_what_it_stands_for(queue: Queue) -> None:
    some: list[Job[int]] = [Job(name, queue.name, client=queue.client) for name in "ab"]
    assert repr(result_of(some[0])) == f"result_of({queue.name} a)"
    assert repr(results_of(some)) == f"results_of({queue.name} a, {queue.name} b)"
    assert isinstance(result_of(some[0]), Input)
