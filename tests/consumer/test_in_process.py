"""Consumers whose workers are threads and coroutines of the caller's own process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from consumer_kit import Running, go, lines

from conveyor import (
    BadCall,
    Consumer,
    JobCancelled,
    JobFailed,
    Queue,
    SoftTimeout,
    current_job,
    from_worker,
    middleware,
    resource,
    resources,
    task,
)
from conveyor.consumer.in_process import LEAVING
from conveyor.monitor import Inspector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

KINDS = ["thread", "coroutine"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def only_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what other tests of this process have registered for its workers."""
    monkeypatch.setattr(resources.registered, "resources", ())
    monkeypatch.setattr(middleware.runs, "functions", ())


@pytest.fixture
def here(queue: Queue, kind: str, eventually: Callable[..., Any]) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a consumer of this kind in this process."""
    started: list[Consumer] = []

    def start(workers: int = 2, **changes: Any) -> Running:
        consumer = Consumer(queue.name, workers, kind=kind, in_process=True, store=queue.client)  # type: ignore[arg-type]
        consumer.settings = msgspec.structs.replace(consumer.settings, **changes)
        consumer.start()
        started.append(consumer)
        return Running(consumer, queue.client, eventually)

    yield start
    for one in started:
        one.request_stop()
        one.stop()
    left = eventually(lambda: not [one for one in threading.enumerate() if "conveyor-crew" in one.name])
    assert left


@task(name="here.hold")
def hold(path: str) -> int:
    """Wait until the file `path`.go is there; return the number of the attempt."""
    with Path(path).open("a") as file:
        file.write(f"began {current_job().attempt}\n")
    while not Path(f"{path}.go").exists():
        time.sleep(0.005)
    return current_job().attempt


@task(name="here.resist")
def resist(path: str) -> int:
    """Wait likewise, whatever is raised."""
    while True:
        try:
            return hold(path)
        except JobCancelled:
            continue


def test_closures_of_a_test_run_in_its_process(here: Any, queue: Queue) -> None:
    seen: list[int] = []

    @task(name="here.note")
    def note(number: int) -> int:
        seen.append(number)
        return os.getpid()

    @task(name="here.note_async")
    async def note_async(number: int) -> int:
        await asyncio.sleep(0)
        seen.append(number)
        return os.getpid()

    running = here(3)
    submitted = [queue.submit(note if number % 2 else note_async, number) for number in range(50)]
    assert {one.result(30) for one in submitted} == {os.getpid()}
    assert sorted(seen) == list(range(50))
    assert (running.consumer.pid, running.report().pid) == (os.getpid(), os.getpid())
    assert running.consumer.stop() == 0
    assert sum(running.consumer.jobs_done) == 50


def test_task_that_is_defined_again_is_the_new_one(here: Any, queue: Queue) -> None:
    here()
    for version in range(3):

        @task(name="here.again")
        def again(version: int = version) -> int:
            return version

        @task(name="here.again_async")
        async def again_async(version: int = version) -> int:
            return version

        assert (queue.submit(again).result(30), queue.submit(again_async).result(30)) == (version, version)


def test_time_limits_hold(here: Any, queue: Queue) -> None:
    @task(name="here.tidy")
    def tidy() -> str:
        try:
            while True:
                time.sleep(0.005)
        except SoftTimeout:
            return "part"

    @task(name="here.tidy_async")
    async def tidy_async() -> str:
        try:
            await asyncio.sleep(3600)
        except SoftTimeout:
            return "part"
        return "whole"

    here()
    for function in (tidy, tidy_async):
        assert queue.submit(function.options(soft_timeout=0.2)).result(30) == "part"
        with pytest.raises(JobFailed, match="TimeLimit"):
            queue.submit(function.options(timeout=0.2)).result(30)


def test_cancel_pause_and_stack_reach_the_threads(
    here: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = here(1)
    job = queue.submit(hold, str(path))
    eventually(lambda: lines(path))
    assert running.answers(running.command("pause", 1), 1) == [("/1", "acknowledged")]
    (stack,) = running.details(running.command("stack", 1), 1)
    assert "test_in_process.py" in stack.detail
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(30)
    eventually(lambda: running.report().workers[0].state == "paused")
    later = queue.submit(hold, str(path))
    go(path)
    running.command("resume", 1)
    assert later.result(30) == 1


def test_kill_returns_a_job_if_its_thread_reacts(
    here: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = here(2)
    job = queue.submit(hold, str(path))
    eventually(lambda: lines(path))
    busy = eventually(lambda: next((one for one in running.report().workers if one.job == job.id), None))
    command = running.command("kill", int(busy.name[-1]))
    assert [one.state for one in running.details(command, 2)] == ["acknowledged", "done"]
    go(path)
    assert job.result(30) == 1, "without blame"
    eventually(lambda: len(running.report().workers) == 1)


def test_kill_says_that_a_thread_goes_on(
    here: Any, queue: Queue, path: Path, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    running = here(2, grace=0.2)
    job = queue.submit(resist, str(path))
    eventually(lambda: lines(path))
    busy = eventually(lambda: next((one for one in running.report().workers if one.job == job.id), None))
    command = running.command("kill", int(busy.name[-1]))
    first, last = running.details(command, 2)
    assert (first.state, last.state) == ("acknowledged", "expired")
    assert last.detail.startswith("a thread of a program cannot be killed")
    assert last.detail.endswith(str(os.getpid()))
    assert f"goes on with job {job.id}" in caplog.text
    assert job.status() == "running"
    go(path)
    assert job.result(30) == 1


def test_third_request_leaves_a_job_to_its_lease(
    here: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = here(1)
    job = queue.submit(resist, str(path))
    eventually(lambda: lines(path))
    for _ in range(3):
        running.consumer.request_stop()
    assert running.consumer.wait() == 0
    assert job.status() == "running"
    go(path)
    eventually(lambda: job.status() == "waiting")  # once its thread ends, or its lease does


class Pool:
    """A value of a resource."""


def test_resources_are_opened_and_closed_with_the_consumer(here: Any, queue: Queue) -> None:
    happened: list[str] = []

    @resource
    async def pool() -> AsyncIterator[Pool]:
        happened.append("opened")
        yield Pool()
        happened.append("closed")

    @task(name="here.use")
    async def use(pool: Pool = from_worker()) -> str:
        return type(pool).__name__

    running = here(1)
    assert [queue.submit(use).result(30) for _ in range(3)] == ["Pool"] * 3
    running.consumer.stop()
    assert happened == ["opened", "closed"]


def test_resource_that_cannot_be_opened_is_tried_again(
    here: Any,
    queue: Queue,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    eventually: Callable[..., Any],
) -> None:
    @resource
    def shaky() -> Pool:
        if not path.exists():
            raise OSError("not yet")
        return Pool()

    @task(name="here.shake")
    def shake(pool: Pool = from_worker()) -> str:
        return type(pool).__name__

    def open_later() -> None:
        eventually(lambda: "takes no jobs, and tries again" in caplog.text)
        path.touch()

    opening = threading.Thread(target=open_later)
    opening.start()
    here(2)
    assert queue.submit(shake).result(30) == "Pool"
    opening.join()


def test_consumer_leaves_empty_queues(here: Any, queue: Queue, path: Path) -> None:
    go(path)
    submitted = queue.submit_many(hold, [(str(path),)] * 20)
    assert here(3, until_empty=True).consumer.wait() == 0
    assert all(one.done() for one in submitted)


def test_consumer_works_beside_a_loop_and_in_any_thread(queue: Queue, kind: Any) -> None:
    @task(name="here.double")
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def main() -> list[int]:
        with Consumer(queue.name, 2, kind, in_process=True, store=queue.client):
            return await asyncio.gather(*[queue.submit(double, number) for number in range(5)])

    found: list[list[int]] = []
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    thread = threading.Thread(target=lambda: found.append(asyncio.run(main())))
    thread.start()
    thread.join()
    assert [asyncio.run(main()), *found] == [[0, 2, 4, 6, 8]] * 2
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == handlers


def test_stopped_consumers_leave_no_threads_and_files(
    queue: Queue, kind: Any, eventually: Callable[..., Any]
) -> None:
    @task(name="here.nothing")
    async def nothing() -> None:
        pass

    def run() -> None:
        with Consumer(queue.name, 3, kind, in_process=True, store=queue.client):
            queue.submit(nothing).result(30)
            queue.submit(hold.options(timeout=5), os.devnull).cancel()

    def used() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    run()
    before = eventually(used)
    for _ in range(5):
        run()
    eventually(lambda: used() <= before)


@pytest.mark.parametrize(
    "settings",
    [{}, {"kind": "process"}, {"kind": "thread", "processes": 1}],
    ids=["none", "process", "processes"],
)
def test_other_kinds_are_refused(settings: Any) -> None:
    with pytest.raises(BadCall, match="in_process needs workers of kind thread or coroutine"):
        Consumer("work", in_process=True, **settings)


@pytest.mark.parametrize("settings", [{"max_jobs": 10}, {"max_memory": "1GiB"}])
def test_own_process_cannot_be_replaced(settings: Any) -> None:
    with pytest.raises(BadCall, match="max_jobs and max_memory replace processes"):
        Consumer("work", 2, "thread", in_process=True, **settings)


@pytest.mark.parametrize("settings", [{"prints": True}, {"log_level": "DEBUG"}])
def test_logging_and_prints_stay_with_the_caller(settings: Any) -> None:
    with pytest.raises(BadCall, match="in_process has only the caller's"):
        Consumer("work", 2, "thread", in_process=True, **settings)


PROGRAM = """
import asyncio, os, signal, sys, threading, time
from conveyor import Consumer, JobCancelled, current_job

begun = []

def hold() -> None:
    try:
        begun.append(1)
        while True:
            time.sleep(0.01)
    finally:
        print("ended", flush=True)

async def hold_async() -> None:
    try:
        begun.append(1)
        await asyncio.sleep(3600)
    finally:
        print("ended", flush=True)

consumer = Consumer(sys.argv[1], 2, sys.argv[2], in_process=True, tasks=[])
"""


def program(queue: Queue, kind: str, tmp_path: Path, rest: str) -> subprocess.Popen[str]:
    """Start a program with a consumer of its own."""
    (tmp_path / "a_program.py").write_text(PROGRAM + textwrap.dedent(rest))
    environment = {**os.environ, "CONVEYOR_URL": queue.client.url}
    return subprocess.Popen(
        [sys.executable, "a_program.py", queue.name, kind],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def put(queue: Queue, name: str) -> Any:
    """Submit a function of the program."""
    return queue.submit(task(name=f"a_program.{name}")(lambda: None))


@pytest.mark.parametrize("style", ["", "_async"])
def test_jobs_return_at_the_exit_of_the_program(
    queue: Queue, kind: str, style: str, tmp_path: Path, alone: None
) -> None:
    jobs = [put(queue, f"hold{style}") for _ in range(2)]
    rest = """
    consumer.start()
    while len(begun) < 2:
        time.sleep(0.01)
    print("exits", flush=True)
    """
    began = time.monotonic()
    with program(queue, kind, tmp_path, rest) as running:
        output, errors = running.communicate(timeout=60)
    assert (running.returncode, output.count("ended"), output[:6]) == (0, 2, "exits\n"), errors
    assert [one.status() for one in jobs] == ["waiting", "waiting"]
    assert queue.count().leased == 0
    assert time.monotonic() - began < LEAVING + 30


def test_interrupt_stops_a_consumer_that_runs(
    queue: Queue, kind: str, tmp_path: Path, eventually: Callable[..., Any], alone: None
) -> None:
    def states() -> list[str]:
        reports = [one for one in Inspector(queue.client).consumers() if one.pid == running.pid]
        return [worker.state for one in reports for worker in one.workers]

    job = put(queue, "hold")
    rest = """
    consumer.start()
    print("left", consumer.run(), consumer.jobs_done)
    """
    with program(queue, kind, tmp_path, rest) as running:
        eventually(lambda: "busy" in states())
        running.send_signal(signal.SIGINT)
        eventually(lambda: "leaving" in states())
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=60)
    assert output.splitlines() == ["ended", "left 0 [0, 0]"], errors
    assert job.status() == "waiting"
