"""Jobs that run in the test's process leave on the server what a worker leaves."""

from __future__ import annotations

import asyncio
import bdb
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall, Job, JobFailed, Queue, UnknownTask, aio, current_job, task
from conveyor.store import Client, records
from conveyor.testing import run_jobs
from conveyor.wire.outcome import decode_note

if TYPE_CHECKING:
    from types import FrameType

calls: list[Any] = []
loops: list[asyncio.AbstractEventLoop] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()
    loops.clear()


def note(value: Any) -> str:
    calls.append(value)
    return f"noted {value}"


def where() -> tuple[int, int, int]:
    return os.getpid(), threading.get_ident(), current_job().attempt


def break_down(kind: str = "OSError") -> None:
    errors = {
        "OSError": OSError,
        "pytest.fail": pytest.fail,
        "Ctrl-C": KeyboardInterrupt,
        "quit": bdb.BdbQuit,
    }
    calls.append(kind)
    raise errors[kind]("on purpose")


@task(queue="work", retries=1, first_delay=0)
def succeed_later() -> int:
    if current_job().attempt == 1:
        raise OSError("not yet")
    return current_job().attempt


def submit_another(name: str) -> None:
    Queue(name).submit(note, "another")


def report() -> tuple[float, float, str]:
    job = current_job()
    job.log("one line")
    job.progress(1, 4, "a quarter")
    seen = Job(job.id, "work").progress()
    assert seen is not None
    return seen.done, seen.total, seen.message


def cancel_itself() -> None:
    job = current_job()
    assert not job.cancelled
    Job(job.id, "work").cancel()
    job.check()
    calls.append("went on")


async def note_loop() -> None:
    await asyncio.sleep(0)
    loops.append(asyncio.get_running_loop())


def unfit_result() -> object:
    return object()


def test_jobs_run_in_process_and_thread_of_test(queue: Queue) -> None:
    jobs = queue.submit_many(note, [("a",), ("b",)])
    assert (run_jobs(queue), run_jobs(queue)) == (2, 0)
    assert calls == ["a", "b"]
    assert [job.result() for job in jobs] == ["noted a", "noted b"]
    job = queue.submit(where)
    run_jobs()
    assert job.result() == (os.getpid(), threading.get_ident(), 1)
    assert current_job().id == ""


def test_run_leaves_records_as_of_a_worker(queue: Queue) -> None:
    job = queue.submit(report)
    run_jobs()
    assert job.result() == (1.0, 4.0, "a quarter")
    (line,) = queue.client.run(records.last_lines("work", job.id, 5))
    (entry,) = queue.client.run(records.history("work"))
    finished = decode_note(entry.data)
    count = queue.count()
    assert line.data == b"one line"
    assert (finished.id, finished.state, finished.attempt) == (job.id, "done", 1)
    assert (count.accepted, count.finished, count.imbalance) == (1, 1, 0)


def test_runs_are_counted_in_the_statistics(queue: Queue, server: Any) -> None:
    queue.submit(note, 1)
    run_jobs()
    assert server.raw.hgetall("conveyor:{work}:totals")


def test_progress_is_dropped_after_the_run(queue: Queue) -> None:
    job = queue.submit(report)
    run_jobs()
    assert job.progress() is None


def test_jobs_submitted_by_jobs_run_too(queue: Queue) -> None:
    queue.submit(submit_another, "later")
    assert run_jobs() == 2
    assert calls == ["another"]


def test_only_the_given_queues_are_run_in_their_order(queue: Queue) -> None:
    queue.submit(note, "work")
    Queue("first").submit(note, "first")
    Queue("other").submit(note, "other")
    assert run_jobs(aio.Queue("first"), queue, "never") == 2
    assert calls == ["first", "work"]


def test_limit_leaves_the_jobs_behind(queue: Queue) -> None:
    queue.submit_many(note, [(1,), (2,), (3,)])
    assert run_jobs(limit=2) == 2
    assert calls == [1, 2]
    assert queue.qsize() == 1


def test_paused_queue_runs_nothing(queue: Queue) -> None:
    queue.submit(note, 1)
    queue.pause()
    assert run_jobs() == 0
    queue.resume()
    assert run_jobs() == 1


def test_failure_is_raised_once_the_job_is_dead(queue: Queue) -> None:
    job = queue.submit(break_down)
    queue.submit(note, "behind")
    with pytest.raises(OSError, match="on purpose") as caught:
        run_jobs()
    assert caught.traceback[-1].name == "break_down"
    assert job.status() == "failed"
    assert (queue.count().dead, queue.qsize(), calls) == (1, 1, ["OSError"])


def test_failures_are_kept_and_logged_on_request(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    job = queue.submit(break_down)
    queue.submit(note, "behind")
    assert run_jobs(raise_failures=False) == 2
    with pytest.raises(JobFailed, match="OSError: on purpose"):
        job.result()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("conveyor", logging.WARNING)
    assert record.getMessage() == f"job {job.id} failed and is dead"
    assert record.exc_info
    assert isinstance(record.exc_info[1], OSError)


def test_retry_is_logged_and_runs_as_the_next_attempt(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    job = succeed_later.submit()
    assert run_jobs() == 2
    assert job.result() == 2
    (record,) = caplog.records
    assert record.getMessage() == f"job {job.id} failed and is retried in 0.0 s"


def test_unfit_result_fails_the_job(queue: Queue) -> None:
    job = queue.submit(unfit_result)
    with pytest.raises(JobFailed, match="the result cannot be serialized"):
        run_jobs()
    assert job.status() == "failed"


def test_item_is_no_job(queue: Queue) -> None:
    queue.put("an item")
    with pytest.raises(UnknownTask, match="names no task"):
        run_jobs()


@pytest.mark.parametrize(
    ("kind", "error"),
    [("Ctrl-C", KeyboardInterrupt), ("pytest.fail", pytest.fail.Exception), ("quit", bdb.BdbQuit)],
)
def test_what_is_meant_for_the_test_is_no_failure(
    queue: Queue, kind: str, error: type[BaseException]
) -> None:
    job = queue.submit(break_down, kind)
    with pytest.raises(error):
        run_jobs(raise_failures=False)
    assert job.status() == "waiting"
    queue.clear()


def test_cancelled_job_ends_when_it_checks(queue: Queue) -> None:
    job = queue.submit(cancel_itself)
    assert run_jobs() == 1
    assert job.cancelled()
    assert calls == []


def test_coroutines_of_all_calls_share_an_event_loop(queue: Queue) -> None:
    for _ in range(2):
        queue.submit(note_loop)
        run_jobs()
    assert loops[0] is loops[1]


def test_coroutine_may_run_jobs_of_coroutines(queue: Queue) -> None:
    async def main() -> asyncio.AbstractEventLoop:
        queue.submit(note_loop)
        assert run_jobs() == 1
        return asyncio.get_running_loop()

    assert asyncio.run(main()) not in loops
    assert len(loops) == 1


def test_task_registered_last_under_a_name_runs(queue: Queue) -> None:
    for value in ("first", "last"):

        @task(name="renamed", queue="work")
        def noting(value: str = value) -> None:
            calls.append(value)

        noting.submit()
        run_jobs()
    assert calls == ["first", "last"]


def test_breakpoint_stops_in_the_thread_of_the_test(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook() -> None:
        calls.append((sys._getframe(1).f_code.co_name, threading.get_ident()))

    monkeypatch.setattr(sys, "breakpointhook", hook)
    queue.submit(stop)
    run_jobs()
    assert calls == [("stop", threading.get_ident())]


def stop() -> None:
    breakpoint()  # noqa: T100 - the subject of the test


def test_tracer_of_the_test_sees_the_task(queue: Queue) -> None:
    def trace(frame: FrameType, *_: object) -> None:
        if frame.f_code is note.__code__:
            calls.append("traced")

    queue.submit(note, 1)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run_jobs()
    finally:
        sys.settrace(before)
    assert calls == ["traced", 1]


def test_embedded_server_of_the_user_is_refused(queue: Queue, server: Any) -> None:
    queue.submit(note, 1)
    mine = Queue("work", store=Client(server.url, revive=lambda _: None))
    with pytest.raises(BadCall, match="not for tests"):
        run_jobs(mine)
    assert calls == []
