"""Exit of a consumer: politely at first, then less so; prefetched jobs return to their position."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import psutil
import pytest
import unruly_jobs as unruly
from consumer_kit import forking, go, lines, runs

from conveyor import BadCall, Consumer, JobFailed
from conveyor.monitor import Inspector, job_record
from conveyor.store import commands, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor import Queue
    from launcher import Launcher

PRODUCER = """
import sys
from conveyor import Consumer, Queue
import consumer_jobs
with Consumer(sys.argv[2], workers=1, tasks=["consumer_jobs"], store=sys.argv[1]) as consumer:
    print(consumer._process.pid, flush=True)
    sys.stdin.readline()
"""


RUNNER = """
import signal, sys
from conveyor import Consumer
consumer = Consumer(sys.argv[2], workers=1, tasks=["consumer_jobs"], store=sys.argv[1])
before = signal.getsignal(signal.SIGTERM)
print(consumer.run(), signal.getsignal(signal.SIGTERM) == before, flush=True)
"""


@pytest.fixture
def runner(
    request: pytest.FixtureRequest, queue: Queue, alone: None, path: Path
) -> Iterator[subprocess.Popen[str]]:
    """Return a script that runs a consumer, in a separate process group."""
    code = getattr(request, "param", RUNNER)
    command = [sys.executable, "-c", code, queue.client.url, queue.name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        command, **pipes, text=True, env=environment, cwd=path.parent, start_new_session=True
    ) as process:
        yield process
        process.kill()


def states_of_workers(queue: Queue) -> list[str]:
    return [worker.state for consumer in Inspector(queue.client).consumers() for worker in consumer.workers]


@pytest.mark.parametrize(
    ("send", "number"),
    [
        pytest.param(os.kill, signal.SIGTERM, id="script-TERM"),
        pytest.param(os.kill, signal.SIGINT, id="script-INT"),
        pytest.param(os.killpg, signal.SIGINT, id="group-INT"),
        pytest.param(os.killpg, signal.SIGHUP, id="group-HUP"),
    ],
)
def test_script_of_run_continues_after_the_current_job(
    send: Any,
    number: int,
    runner: subprocess.Popen[str],
    queue: Queue,
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    job = queue.submit(jobs.hold, str(path), "it")
    later = queue.submit(jobs.add, 1, 1)
    eventually(lambda: lines(path))
    send(runner.pid, number)
    eventually(lambda: states_of_workers(queue) == ["leaving"])
    assert runner.poll() is None
    go(path)
    assert job.result(30) == "it"
    assert runner.communicate(timeout=30)[0] == "0 True\n"
    assert later.status() == "waiting"


def test_second_signal_to_the_script_returns_its_job(
    runner: subprocess.Popen[str], queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    os.kill(runner.pid, signal.SIGTERM)
    eventually(lambda: states_of_workers(queue) == ["leaving"])
    os.kill(runner.pid, signal.SIGTERM)
    assert runner.communicate(timeout=30)[0] == "0 True\n"
    assert job.status() == "waiting"


@pytest.mark.parametrize("runner", [PRODUCER], indirect=True, ids=["with"])
def test_ctrl_c_at_the_end_of_the_block_returns_its_job(
    runner: subprocess.Popen[str], queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    supervisor = psutil.Process(int(runner.stdout.readline()))
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    runner.stdin.close()
    eventually(lambda: states_of_workers(queue) == ["leaving"])
    os.killpg(runner.pid, signal.SIGINT)  # as a terminal does
    try:
        assert runner.wait(20) == -signal.SIGINT, "the script has it as well"
        assert not runs(supervisor)
    finally:
        go(path)
    assert job.status() == "waiting"


FORKING_RUNNER = """
import os, signal, sys, threading
from conveyor import Consumer

consumer = Consumer(sys.argv[2], workers=1, tasks=["consumer_jobs"], store=sys.argv[1])

def fork():
    sys.stdin.readline()
    child = os.fork()
    if child == 0:
        print("forked", flush=True)
        signal.pause()
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)

threading.Thread(target=fork).start()
print(consumer.run(), flush=True)
"""


def test_signal_ends_forked_child_and_not_the_consumer(
    queue: Queue, alone: None, start_python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    script = start_python(FORKING_RUNNER, queue.client.url, queue.name)
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    script.stdin.write("go\n")
    script.stdin.flush()
    assert script.stdout.readline() == "forked\n"
    (child,) = [one for one in psutil.Process(script.pid).children() if one.cmdline()[1] == "-c"]
    child.terminate()
    assert script.stdout.readline() == f"{signal.SIGTERM:d}\n"
    assert queue.submit(jobs.add, 1, 2).result(30) == 3
    script.send_signal(signal.SIGTERM)
    assert script.communicate(timeout=30)[0] == "0\n"


def test_stop_in_a_forked_child_leaves_the_consumer_running(
    queue: Queue,
    alone: None,
    forked: Callable[..., str],
    eventually: Callable[..., Any],
    consumer_launcher: Launcher,
) -> None:
    consumer = Consumer(queue.name, workers=1, tasks=["consumer_jobs"], store=queue.client)
    with forking(consumer_launcher), consumer:
        assert forked(lambda: f"{consumer.stop()} {consumer.pid}") == "0 None"
        assert queue.submit(jobs.add, 1, 1).result(20) == 2
        eventually(lambda: states_of_workers(queue) == ["idle"])


def open_files(*files: int) -> list[int]:
    found = []
    for file in files:
        with suppress(OSError):
            os.fstat(file)
            found.append(file)
    return found


def test_child_forked_during_the_start_holds_no_lifeline(
    queue: Queue, alone: None, forked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = Consumer(queue.name, workers=1, tasks=["consumer_jobs"], store=queue.client)
    start_process, held = subprocess.Popen, []

    def start_and_fork(command: list[str], *, stdin: int, **options: Any) -> subprocess.Popen[bytes]:
        process = start_process(command, stdin=stdin, **options)
        assert consumer._lifeline
        lifeline = consumer._lifeline.fileno()
        held.append(forked(lambda: f"{open_files(lifeline, stdin)}"))
        return process

    with monkeypatch.context() as forking:
        forking.setattr(subprocess, "Popen", start_and_fork)
        consumer.start()
    assert consumer.stop() == 0
    assert held == ["[]"]


def test_requested_stop_finishes_the_current_job(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consumer = consume().consumer
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    consumer.request_stop()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(consumer.wait)
        assert not waiting.done()
        go(path)
        assert waiting.result(30) == 0
    assert job.result(30) == "it"
    assert (consumer.wait(), consumer.pid) == (0, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_first_signal_finishes_the_current_job_and_starts_none(
    number: int, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    later = queue.submit(jobs.add, 1, 1)
    running.signal(number)
    eventually(lambda: running.report().workers[0].state == "leaving")
    assert running.report().workers[0].is_busy
    go(path)
    assert job.result(30) == "it"
    eventually(running.has_left)
    assert running.status == 0
    assert later.status() == "waiting"
    assert Inspector(queue.client).consumers() == []


def test_second_signal_releases_the_current_job_without_blame(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    running.signal()
    eventually(lambda: running.report().workers[0].state == "leaving")
    running.signal()
    eventually(running.has_left)
    assert running.status == 0
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert (details.state, details.crashes, details.retries) == ("waiting", 0, 0)


@pytest.mark.parametrize("name", ["clean_up_and_return", "clean_up_and_return_async", "notice_and_return"])
def test_second_signal_returns_a_job_that_cleans_up_and_returns(
    name: str, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(getattr(jobs, name), str(path))
    eventually(lambda: lines(path))
    running.signal()
    eventually(lambda: running.report().workers[0].state == "leaving")
    running.signal()
    eventually(running.has_left)
    assert lines(path)[1:] == ["cleaned"]
    assert running.status == 0
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert (details.state, details.crashes, details.retries) == ("waiting", 0, 0)


def test_third_signal_kills_an_unresponsive_task(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(grace=60.0)
    job = queue.submit(jobs.ignore_for_ever, str(path))
    eventually(lambda: lines(path))
    running.signal()
    eventually(lambda: running.report().workers[0].state == "leaving")
    running.signal()
    eventually(lambda: lines(path)[1:] == ["ignored"])
    running.signal()
    eventually(running.has_left)
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert (details.state, details.crashes) == ("waiting", 0)


def test_grace_after_second_signal_holds_despite_earlier_cancel(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(grace=0.5)
    first = queue.submit(jobs.sleep_for_ever, str(path.with_name("first")))
    eventually(lambda: lines(path.with_name("first")))
    job = queue.submit(jobs.ignore_for_ever, str(path))
    first.cancel()
    eventually(lambda: lines(path))
    running.signal()
    running.signal(signal.SIGINT)
    eventually(running.has_left)
    assert job.status() == "waiting"


def test_prefetched_jobs_return_to_their_old_position(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    queue.submit_many(jobs.brief, [(0,)] * 100)
    held = queue.submit(jobs.hold, str(path), "held")
    rest = queue.submit_many(jobs.add, [(n, n) for n in range(200)])
    running = consume()
    eventually(lambda: lines(path))
    running.signal()
    go(path)
    assert held.result(30) == "held"
    eventually(running.has_left)
    waiting = [line.id for line in Inspector(queue.client).jobs(queue.name, "waiting", 0, 500)]
    assert waiting == [job.id for job in rest if job.id in set(waiting)]
    assert waiting[-1] == rest[-1].id
    assert queue.count().imbalance == 0


def test_until_empty_consumer_exits_once_all_jobs_have_finished(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(jobs.brief, [(1,)] * 100)
    retried = queue.submit(jobs.steady, str(path), 1)
    running = consume(workers=3, until_empty=True)
    eventually(running.has_left)
    assert running.status == 0
    assert [job.result(30) for job in handles] == [1] * 100
    assert retried.result(30) == 2, "a job that waits for its retry is not done"


def test_replaced_worker_leaves_no_jobs_behind_until_empty(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    queue.submit(jobs.close_output)
    handles = queue.submit_many(jobs.add, [(1, 1)] * 50)
    running = consume(until_empty=True)
    eventually(running.has_left)
    assert queue.count().live == 0
    assert [job.result(30) for job in handles] == [2] * 50


def test_until_empty_replaces_a_worker_that_got_a_signal(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    jobs_put = [queue.submit(jobs.hold, str(path), "held"), queue.submit(jobs.add, 1, 1)]
    running = consume(until_empty=True)
    eventually(lambda: lines(path))
    running.workers()[0].terminate()
    go(path)
    assert [job.result(30) for job in jobs_put] == ["held", 2]
    eventually(running.has_left)
    assert (running.status, queue.count().live) == (0, 0)


def test_until_empty_replaces_workers_that_exit_with_0(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    queue.submit(jobs.end_process, str(path), "exit0")
    later = queue.submit(jobs.add, 1, 1)
    running = consume(until_empty=True)
    eventually(running.has_left)
    assert running.status == 0
    assert len(lines(path)) == 3
    assert (queue.count().live, queue.count().dead) == (0, 1)
    assert later.result(30) == 2


def test_stopped_consumer_knows_the_jobs_of_each_worker(queue: Queue) -> None:
    consumer = Consumer(queue.name, workers=3, tasks=["consumer_jobs"], store=queue.client)
    for count in (4, 1):
        with consumer:
            assert consumer.jobs_done == []
            for job in queue.submit_many(jobs.add, [(number, 1) for number in range(count)]):
                job.result(30)
        assert (len(consumer.jobs_done), sum(consumer.jobs_done)) == (3, count)


def test_run_returns_0_once_the_queue_is_empty(
    alone: None, queue: Queue, consumer_launcher: Launcher
) -> None:
    handles = queue.submit_many(jobs.add, [(1, 1)] * 10)
    consumer = Consumer(queue.name, 1, tasks=["consumer_jobs"], store=queue.client, until_empty=True)
    with forking(consumer_launcher):
        assert consumer.run() == 0
    assert [job.result(30) for job in handles] == [2] * 10


def test_run_in_two_threads_leaves_signals_to_the_main_thread(
    alone: None, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = Consumer(queue.name, 1, tasks=["consumer_jobs"], store=queue.client)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(consumer, "start", lambda: None)
    with consumer._signals_passed_on():
        passing = signal.getsignal(signal.SIGTERM)
        assert passing != before
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(consumer.run).result() == 0
        assert signal.getsignal(signal.SIGTERM) == passing
    assert signal.getsignal(signal.SIGTERM) == before


def test_consumer_exits_if_its_caller_died(
    queue: Queue, alone: None, path: Path, eventually: Callable[..., Any]
) -> None:
    support = str(path.parent)
    command = [sys.executable, "-c", PRODUCER, queue.client.url, queue.name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    caller = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=support
    )
    with caller:
        assert caller.stdout
        supervisor = psutil.Process(int(caller.stdout.readline()))
        job = queue.submit(jobs.hold, str(path), "it")
        eventually(lambda: lines(path))
        caller.kill()
    assert runs(supervisor)
    go(path)
    assert job.result(30) == "it"
    eventually(lambda: not runs(supervisor))


def test_exit_does_not_wait_for_idle_workers(
    consume: Callable[..., Any], eventually: Callable[..., Any], quickest: Callable[..., float]
) -> None:
    def seconds() -> float:
        running = consume(workers=4)
        eventually(lambda: {one.state for one in running.report().workers} == {"idle"})
        began = time.monotonic()
        running.signal()
        eventually(running.has_left)
        assert running.status == 0
        return time.monotonic() - began

    assert quickest(seconds, 1.0) < 1.0


def test_exit_of_many_consumers_loses_and_blames_no_job(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    handles = queue.submit_many(jobs.tell_attempt, [()] * 3000)
    for _ in range(8):
        running = consume(workers=2)
        before = queue.count().finished
        eventually(lambda before=before: queue.count().finished > before)
        running.signal()
        eventually(running.has_left)
        assert running.status == 0
    assert queue.count().imbalance == 0
    consume(workers=2)
    try:
        assert {job.result(30) for job in handles} == {1}
    except JobFailed as error:
        pytest.fail(str(error))


def test_roll_outs_never_blame_a_long_job(
    one_server: Any, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    """Each ends as on a platform: SIGTERM, some grace, and SIGKILL for the rest."""
    job = queue.submit(jobs.hold, str(path), "it")
    for number in range(1, 5):
        running = consume()
        eventually(lambda number=number: len(lines(path)) == number)
        running.signal()
        eventually(lambda: b" L " in one_server.raw.hget(keys.key(queue.name, "leases"), job.id))
        running.kill()
        one_server.raw.zadd(keys.key(queue.name, "leased"), {job.id: 1})  # as after 15 seconds
    queue.client.run(commands.reap(queue.name))
    one = Inspector(queue.client).job(job.id, queue.name)
    assert one
    assert (one.state, one.crashes) == ("waiting", 0)
    consume()
    go(path)
    assert job.result(30) == "it"


def test_worker_killed_during_exit_is_no_crash(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    running.signal()
    eventually(lambda: running.report().workers[0].state == "leaving")
    running.workers()[0].kill()
    eventually(running.has_left)
    one = Inspector(queue.client).job(job.id, queue.name)
    assert one
    assert (one.state, one.crashes) == ("waiting", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_roll_out_never_blames_a_task_with_default_signals(
    number: signal.Signals,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    running = consume(modules=("unruly_jobs",))
    job = queue.submit(unruly.hold_with_default, str(path), number)
    eventually(lambda: lines(path))
    running.signal()
    if number == signal.SIGUSR1:
        eventually(lambda: running.report().workers[0].state == "leaving")
        running.signal()
    eventually(running.has_left)
    one = job_record.record(queue.name, job.id).ask(queue.client)
    assert one
    assert (one.state, one.crashes, [run.state for run in one.attempts]) == ("waiting", 0, ["killed"])
    assert f"ended by {number.name}" in one.attempts[0].message


def test_stopped_worker_never_blames_a_task_with_default_signals(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(modules=("unruly_jobs",))
    job = queue.submit(unruly.hold_with_default, str(path), signal.SIGTERM)
    eventually(lambda: lines(path))
    running.command("stop", 1)
    eventually(running.has_left)
    one = Inspector(queue.client).job(job.id, queue.name)
    assert one
    assert (one.state, one.crashes) == ("waiting", 0)


def test_running_job_is_released_after_the_grace(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(leave_grace=0.3)
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    running.signal()
    eventually(running.has_left, 5.0)
    assert (running.status, len(lines(path))) == (0, 1)
    one = Inspector(queue.client).job(job.id, queue.name)
    assert one
    assert (one.state, one.crashes, one.retries) == ("waiting", 0, 0)


def test_job_that_ends_within_the_grace_is_done(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(leave_grace=30)
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    running.signal()
    eventually(lambda: running.report().workers[0].state == "leaving")
    go(path)
    assert job.result(30) == "it"
    eventually(running.has_left, 5.0)


@pytest.mark.parametrize("grace", [-1.0, float("nan"), float("inf"), 1e9, "x", "10", True, [1]])
def test_invalid_grace_is_refused(grace: Any) -> None:
    with pytest.raises(BadCall, match="grace must be between"):
        Consumer(grace=grace)
