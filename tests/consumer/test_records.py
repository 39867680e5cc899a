"""Records a running consumer leaves of its runs: attempts, the last run, groups; and never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
import secret_jobs

from conveyor import JobFailed, JobLost, clock
from conveyor.monitor import failures, job_record, merged_list
from conveyor.store import commands, keys
from conveyor.store.commands import PutParams
from conveyor.wire.outcome import Settled, decode_settled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

SECRET = "hunter2"


def told(queue: Queue, job_id: str) -> job_record.JobRecord:
    found = job_record.record(queue.name, job_id).ask(queue.client)
    assert found
    return found


def everything(raw: Any, queue: Queue) -> dict[str, str]:
    """Return the server's content for the queue as text, by key."""
    reads = {
        b"string": raw.get,
        b"list": lambda key: raw.lrange(key, 0, -1),
        b"hash": raw.hgetall,
        b"stream": raw.xrange,
        b"zset": lambda key: raw.zrange(key, 0, -1),
        b"set": raw.smembers,
        b"none": lambda _: "",  # it has expired since it was found
    }
    found = raw.keys(f"*{queue.name}*")
    return {key.decode().partition("}:")[2]: str(reads[raw.type(key)](key)) for key in found}


def test_job_that_succeeds_after_two_failures_has_two_attempts(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    running = consume()
    before = clock.wall()
    job = queue.submit(jobs.steady, str(path), 2)
    assert job.result(30) == 3
    one = told(queue, job.id)
    assert [(attempt.attempt, attempt.state) for attempt in one.attempts] == [
        (1, "retried"),
        (2, "retried"),
        (3, "done"),
    ]
    assert [(attempt.kind, attempt.message) for attempt in one.attempts[:2]] == [
        ("OSError", "try 1"),
        ("OSError", "try 2"),
    ]
    assert one.run
    assert (one.task, one.run.attempt, one.run.worker) == ("steady", 3, f"{running.name}/1")
    assert one.preview == f"path={str(path)!r}, fails=2"[:120]
    starts = [attempt.started for attempt in one.attempts]
    assert before - 0.1 <= starts[0] < starts[1] < starts[2] <= clock.wall()


def test_job_that_succeeds_on_the_first_run_keeps_no_attempts(
    queue: Queue, consume: Callable[..., Any], one_server: Any
) -> None:
    consume()
    job = queue.submit(jobs.add, 1, 2)
    job.result(30)
    one = told(queue, job.id)
    assert not one_server.raw.exists(keys.key(queue.name, f"attempts:{job.id}"))
    assert one.run
    assert (one.run.arguments, one.run.attempt, one.attempts[0].state) == ("a=1, b=2", 1, "done")
    assert 0.0 <= one.run.waited < 60.0
    (finish,) = merged_list.finishes([queue.name]).ask(queue.client).rows
    assert (finish.note.arguments, finish.note.waited) == (one.run.arguments, one.run.waited)


def test_burst_keeps_all_results_but_few_runs(
    queue: Queue, consume: Callable[..., Any], one_server: Any
) -> None:
    handles = queue.submit_many(jobs.add, [(number, 0) for number in range(3000)])
    consume()
    assert [job.result(30) for job in handles] == list(range(3000))
    outcomes = one_server.raw.mget([keys.key(queue.name, f"outcome:{job.id}") for job in handles])
    settled: list[Settled] = [decode_settled(data) for data in outcomes]
    with_run = [one for one in settled if one.run is not None]
    assert 0 < len(with_run) < 600
    assert len(with_run) == one_server.raw.xlen(keys.key(queue.name, "history"))


def test_failing_job_is_in_a_group_with_its_location(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    for text in ("one", "two"):
        with pytest.raises(JobFailed):
            queue.submit(jobs.boom, text).result(30)
    with pytest.raises(JobFailed):
        queue.submit(jobs.unhappy).result(30)
    groups = failures.groups({queue.name: 10_000}).ask(queue.client)
    assert sorted(group.count for group in groups) == [1, 2]
    samples = failures.with_details(groups).ask(queue.client)
    assert [(one.kind, one.message) for one in samples] == [
        ("BadInput", "no such file"),
        ("ValueError", "two"),
    ]
    file, _, function = samples[1].where.partition(" ")
    assert (file.partition(":")[0], function) == ("consumer_jobs.py", "boom")
    assert samples[1].task == "consumer_jobs.boom"


def test_secret_argument_is_stored_in_the_job_only(
    queue: Queue, consume: Callable[..., Any], one_server: Any
) -> None:
    consume(modules=("secret_jobs",))
    calls: list[tuple[Any, dict[str, str], str]] = [
        (secret_jobs.log_in, {"user": "ann", "password": SECRET}, "user='ann', password=•••"),
        (
            secret_jobs.log_in,
            {"user": "ann", "password": "", "api_key": SECRET, "site": f"https://ann:{SECRET}@example.org"},
            "user='ann', password=•••, api_key=•••, site='https://ann:•••@example.org'",
        ),
        (secret_jobs.pay, {"card": SECRET}, "card=•••"),
    ]
    for function, arguments, preview in calls:
        job = queue.submit(function, **arguments)
        job.result(30)
        assert told(queue, job.id).preview == preview
    failing = queue.submit(secret_jobs.refuse, "ann", password=SECRET)
    with pytest.raises(JobFailed):
        failing.result(30)
    found = everything(one_server.raw, queue)
    assert {"history", f"outcome:{failing.id}", f"attempts:{failing.id}", "reasons", "jobs"} <= found.keys()
    assert [name for name, text in found.items() if SECRET in text] == ["jobs"]


def test_run_over_its_time_limit_is_a_timed_out_attempt(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume()
    job = queue.submit(jobs.limited_twice, str(path))
    assert job.result(30) == "in time"
    first, last = told(queue, job.id).attempts
    assert (first.attempt, first.state, first.kind) == (1, "timed out", "TimeLimit")
    assert first.elapsed >= 0.2
    assert (last.attempt, last.state) == (2, "done")


def test_killed_cancelled_job_keeps_arguments_without_secrets(
    queue: Queue, consume: Callable[..., Any], one_server: Any, path: Path, eventually: Callable[..., Any]
) -> None:
    consume(modules=("secret_jobs",), grace=0.2)
    job = queue.submit(secret_jobs.ignore_for_ever, str(path), password=SECRET)
    eventually(path.exists)
    job.cancel()
    eventually(job.done)
    one = told(queue, job.id)
    assert (one.state, one.preview) == ("cancelled", f"path={str(path)!r}, password=•••"[:120])
    (finish,) = merged_list.finishes([queue.name]).ask(queue.client).rows
    assert finish.note.arguments == one.preview
    assert [name for name, text in everything(one_server.raw, queue).items() if SECRET in text] == []


def test_job_that_kills_its_workers_has_an_attempt_for_each(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    running = consume()
    job = queue.submit(jobs.end_process, str(path), "SIGKILL")
    with pytest.raises(JobLost):
        job.result(30)
    one = told(queue, job.id)
    assert [(attempt.attempt, attempt.state) for attempt in one.attempts] == [
        (1, "lost"),
        (2, "lost"),
        (3, "lost"),
    ]
    assert one.attempts[0].message == "its worker ended by SIGKILL"
    assert one.run
    assert (one.task, one.run.worker) == ("consumer_jobs.end_process", f"{running.name}/1")
    (group,) = failures.groups({queue.name: 10_000}).ask(queue.client)
    (sample,) = failures.with_details([group]).ask(queue.client)
    assert (sample.kind, sample.where, sample.task) == ("WorkerDied", "", "consumer_jobs.end_process")


def test_unreadable_job_has_a_record_before_and_after_it_is_dead(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    queue.client.run(commands.put(queue.name, [("odd", b"\xc1 no job")], PutParams()))
    assert told(queue, "odd").undecodable == 8
    consume()
    eventually(lambda: told(queue, "odd").state == "dead")
    one = told(queue, "odd")
    assert (one.undecodable, one.task, one.attempts[-1].kind) == (8, "?", "Undecodable")
