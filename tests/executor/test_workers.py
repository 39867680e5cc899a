"""Executors with workers of their own: what these run, how they start, fail and end."""

from __future__ import annotations

import functools
import gc
import math
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import executor_calls as calls
import pytest

from conveyor import BadCall, Consumer, Executor, Job, JobFailed, JobGone, JobLost, Queue
from conveyor.executor import CallLost
from conveyor.store import commands
from conveyor.tasks import Task
from conveyor.wire import ids
from conveyor.wire.call import PutOptions, RunOptions, decode_call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Execute = Callable[..., Executor]

CALLS: list[tuple[Any, tuple[Any, ...], Any]] = [
    (calls.double, (4,), 8),
    (calls.Shop.price, (3,), 6),
    (calls.DearShop.price, (3,), 15),
    (calls.Shop.label, (3,), "3 pieces"),
    (functools.partial(calls.add, 1, third=3), (2,), 6),
    (pow, (2, 5), 32),
    (str, (5,), "5"),
    (str.upper, ("a",), "A"),
    (math.factorial, (5,), 120),
    (operator.add, (1, 2), 3),
    (bytes.fromhex, ("00ff",), b"\x00\xff"),
    (time.sleep, (0,), None),
]


@pytest.fixture
def shared() -> str:
    """Return the name of a queue, a new one for each test, since results of this process arrive by its name."""
    return f"shared-{ids.unique()}"


@pytest.mark.parametrize(("function", "args", "result"), CALLS)
def test_every_importable_function_can_be_called(
    execute: Execute, function: Any, args: tuple[Any, ...], result: Any
) -> None:
    assert execute(1).submit(function, *args).result(timeout=30) == result


@pytest.mark.parametrize(
    "function",
    [lambda: None, functools.partial(lambda: None), calls.Shop().sell, calls.Shop(), "a name", [].append],
    ids=["lambda", "partial", "method", "object", "str", "method of a list"],
)
def test_function_that_workers_cannot_find_is_refused(execute: Execute, function: Any) -> None:
    executor = execute(1)
    with pytest.raises(BadCall, match=r"workers cannot find .* by its module and name"):
        executor.submit(function)
    with pytest.raises(BadCall, match="workers cannot find"):
        executor.map(function, [])
    with pytest.raises(BadCall, match="workers cannot find"):
        Executor(1, initializer=function) if callable(function) else executor.submit(function)


def test_task_runs_under_its_own_name_and_options(execute: Execute) -> None:
    executor = execute(1)
    executor.submit(len, "abc").result(timeout=30)
    executor.queue.pause()
    future = executor.submit(calls.count_stock.options(priority=3), 4)
    data = executor.queue.client.run(commands.state(executor.queue.name, future.job.id)).data
    assert decode_call(data).task == "stock.count"
    assert decode_call(data).options.retries == 2
    executor.queue.resume()
    assert future.result(timeout=30) == 5


def test_worker_runs_no_function_that_was_not_submitted(execute: Execute) -> None:
    executor = execute(1)
    assert executor.submit(len, "abc").result(timeout=30) == 3
    other = Task(eval, "builtins.eval", PutOptions(), RunOptions())
    job = Queue(executor.queue.name, store=executor.queue.client).submit(other, "1 + 1")
    with pytest.raises(JobFailed, match=r"UnknownTask: unknown task 'builtins.eval'"):
        job.result(timeout=30)


@pytest.mark.parametrize(
    ("name", "kind", "args"),
    [
        ("ValueError", ValueError, ("invalid literal for int() with base 10: 'x'",)),
        ("KeyError", KeyError, ("a key",)),
        ("KeyError of a tuple", KeyError, ((1, "b"),)),
        ("FileNotFoundError", FileNotFoundError, ("[Errno 2] No such file or directory: '/nowhere/at/all'",)),
        ("no message", AssertionError, ()),
    ],
)
def test_builtin_exception_keeps_its_type(
    execute: Execute, name: str, kind: type[Exception], args: tuple[Any, ...]
) -> None:
    error = execute(1).submit(calls.fail, name).exception(timeout=30)
    assert (type(error), error.args) == (kind, args)
    assert type(error.__cause__) is JobFailed
    assert error.__cause__.kind == kind.__name__
    assert "executor_calls.py" in error.__cause__.__notes__[0], "the traceback of the worker"


@pytest.mark.parametrize(
    "name", ["UnicodeDecodeError", "ShopClosed", "SystemExit", "executor_calls.TimeoutError"]
)
def test_other_exceptions_are_the_jobs_failure(execute: Execute, name: str) -> None:
    with pytest.raises(JobFailed) as failed:
        execute(1).submit(calls.fail, name).result(timeout=30)
    assert failed.value.kind == name
    assert "executor_calls.py" in failed.value.__notes__[0]


def test_call_that_kills_its_workers_fails_alone(execute: Execute, tmp_path: Path) -> None:
    executor = execute(2)
    before, lost = executor.submit(calls.double, 1), executor.submit(calls.crash, str(tmp_path / "crashes"))
    with pytest.raises(BrokenProcessPool, match="SIGKILL") as error:
        lost.result(timeout=60)
    assert isinstance(error.value, JobLost)
    assert isinstance(error.value, CallLost)
    assert (tmp_path / "crashes").read_text() == "xxx"
    assert before.result(timeout=30) == 2
    assert executor.submit(calls.double, 2).result(timeout=30) == 4


def test_initializer_runs_first_in_each_worker(execute: Execute, tmp_path: Path) -> None:
    executor = execute(1, initializer=functools.partial(calls.begin, "one"), initargs=(2, (3, {4})))
    wanted = [("one", 2, (3, {4}))]
    assert executor.submit(calls.what_it_began_with).result(timeout=30) == wanted
    executor.submit(calls.crash, str(tmp_path / "crashes"))
    assert executor.submit(calls.what_it_began_with).result(timeout=30) == wanted


def test_failing_initializer_breaks_the_executor(execute: Execute) -> None:
    executor = execute(2, initializer=calls.begin_badly, initargs=("no database",))
    first = executor.submit(calls.double, 1)
    with pytest.raises(BrokenProcessPool, match=r"did not start: .*ValueError: no database"):
        first.result(timeout=30)
    executor.shutdown()
    with pytest.raises(BrokenProcessPool, match="no database"):
        executor.submit(calls.double, 1)


def test_call_that_is_put_while_the_workers_end_says_so(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = execute(1)
    executor.queue.pause()
    submit = executor.queue.submit

    def submit_and_break(*args: Any) -> Job[Any]:
        job = submit(*args)
        executor._calls.workers_ended("the workers broke", had_started=True)
        with suppress(JobGone):
            job.exception(timeout=20)
        assert job.done(), "the deletion of the queue ended it"
        submit(*args)  # as if this call had been put now
        return job

    monkeypatch.setattr(executor.queue, "submit", submit_and_break)
    with pytest.raises(BrokenProcessPool, match="the workers broke"):
        executor.submit(calls.double, 1).result(timeout=20)
    assert queue_is_gone(executor)


def test_program_that_is_killed_leaves_no_files(
    one_server: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    code = (
        "import os\nfrom conveyor import Executor\nexecutor = Executor(1)\n"
        "print(executor.submit(len, 'abc').result(), os.listdir(os.environ['TMPDIR']), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "CONVEYOR_URL": one_server.url, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("3 ['conveyor-executor-")
    eventually(lambda: not list(tmp_path.iterdir()))


def test_executor_with_a_killed_supervisor_is_broken(
    execute: Execute, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    executor = execute(1)
    running = executor.submit(calls.touch_and_wait, str(tmp_path / "runs"))
    waiting = executor.submit(calls.double, 1)
    eventually((tmp_path / "runs").exists)
    os.kill(supervisor_of(executor, eventually), signal.SIGKILL)
    for future in (running, waiting):
        with pytest.raises(BrokenProcessPool, match="the workers of this executor were stopped"):
            future.result(timeout=30)
    with pytest.raises(BrokenProcessPool, match="were stopped"):
        executor.submit(calls.double, 1)
    executor.shutdown()
    assert queue_is_gone(executor)


def test_calls_of_a_shared_queue_outlive_the_own_workers(
    execute: Execute,
    one_server: Any,
    shared: str,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = execute(shared, 1)
    assert executor.submit(calls.double, 1).result(timeout=30) == 2
    executor.queue.pause()
    future = executor.submit(calls.double, 2)
    os.kill(supervisor_of(executor, eventually), signal.SIGTERM)
    eventually(lambda: f"other consumers of the queue {shared} may run its calls" in caplog.text)
    executor._calls.workers.join()
    executor.queue.resume()
    with Consumer(shared, workers=1, tasks=["executor_calls"], store=one_server.client):
        assert future.result(timeout=30) == 4
        assert executor.submit(calls.add, 2).result(timeout=30) == 2, "one that its workers never ran"
    executor.shutdown()
    assert executor.queue.count().accepted == 3


def test_given_queue_is_shared_with_its_other_consumers(
    execute: Execute, one_server: Any, shared: str
) -> None:
    executor = execute(shared)
    with Consumer(shared, workers=1, tasks=["executor_calls"], store=one_server.client):
        assert executor.submit(calls.double, 4).result(timeout=30) == 8
        assert list(executor.map(calls.double, range(5))) == [0, 2, 4, 6, 8]
        executor.shutdown()
    assert Queue(shared, store=one_server.client).count().finished == 6


def test_own_workers_load_the_named_modules(execute: Execute, one_server: Any, shared: str) -> None:
    executor = execute(shared, 1, tasks=["executor_calls"])
    executor.submit(len, "abc").result(timeout=30)
    assert Queue(shared, store=one_server.client).submit(calls.double, 4).result(timeout=30) == 8


def test_shutdown_stops_the_workers_and_deletes_the_queue(execute: Execute) -> None:
    executor = execute(2)
    workers = {executor.submit(os.getpid).result(timeout=30) for _ in range(20)}
    executor.shutdown()
    executor.shutdown()
    assert not any(map(is_alive, workers))
    assert queue_is_gone(executor)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(calls.double, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(calls.double, [1])


def test_workers_end_after_the_last_call_without_wait(
    execute: Execute, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    executor = execute(1)
    running = executor.submit(calls.touch_and_wait, str(tmp_path / "runs"))
    waiting = executor.submit(os.getpid)
    eventually((tmp_path / "runs").exists)
    executor.shutdown(wait=False)
    (tmp_path / "runs").unlink()
    assert running.result(timeout=30)
    worker = waiting.result(timeout=30)
    eventually(lambda: not is_alive(worker) and queue_is_gone(executor))


def test_executor_without_references_ends_after_its_calls(
    one_server: Any, eventually: Callable[..., Any]
) -> None:
    executor = Executor(1, store=one_server.client)
    waiting = [executor.submit(os.getpid) for _ in range(3)]
    thread = executor._calls.workers.thread
    del executor
    gc.collect()
    worker = waiting[-1].result(timeout=30)
    thread.join(30)
    assert not is_alive(worker)
    assert one_server.client.run(commands.queue_names()) == []


def test_unused_executor_starts_nothing(one_server: Any) -> None:
    before = one_server.raw.info("stats")["total_connections_received"]
    with Executor(4, store=one_server.url) as executor:
        assert executor._calls.workers.thread is None
    assert one_server.raw.info("stats")["total_connections_received"] == before


def test_processes_are_replaced_after_their_number_of_calls(execute: Execute) -> None:
    executor = execute(2, max_tasks_per_child=3, initializer=calls.begin, initargs=("began",))
    futures = [executor.submit(calls.own_process) for _ in range(20)]
    runs = Counter(one.result(timeout=60) for one in futures)
    assert max(runs.values()) == 3
    assert sum(runs.values()) == 20
    assert executor.submit(calls.what_it_began_with).result(timeout=60) == [("began",)]


def test_executor_of_the_parent_is_refused_in_a_forked_child(
    execute: Execute, forked: Callable[..., str], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    executor = execute(1)
    executor.submit(calls.touch_and_wait, str(tmp_path / "runs"))
    eventually((tmp_path / "runs").exists)

    def use() -> str:
        executor.shutdown()
        try:
            executor.submit(calls.double, 1)
        except BrokenProcessPool as error:
            return str(error)
        return "accepted"

    assert forked(use) == "this executor belongs to the parent process: make one in this process"
    (tmp_path / "runs").unlink()
    assert executor.submit(calls.double, 1).result(timeout=30) == 2


def test_arguments_are_checked_when_an_executor_is_made() -> None:
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            Executor(max_workers=number)
        with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
            Executor(max_tasks_per_child=number)
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        Executor(max_tasks_per_child=2.0)  # type: ignore[arg-type]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"queue": 2, "max_workers": 2}, "must be a Queue or a name"),
        ({"max_workers": 1001}, "between 1 and 1000"),
        ({"max_workers": 4 / 2}, "max_workers must be a whole number, got 2.0"),
        ({"queue": 4 / 2}, "max_workers must be a whole number, got 2.0"),
        ({"max_workers": "2"}, "max_workers must be a whole number, got '2'"),
        ({"queue": "shared", "max_tasks_per_child": 5}, "for workers of the executor itself"),
        ({"mp_context": multiprocessing.get_context("fork")}, "cannot be forked"),
        ({"queue": "shared", "initializer": calls.begin}, "for workers of the executor itself"),
        ({"queue": Queue("shared"), "store": "redis://localhost"}, "has its server already"),
        ({"queue": ""}, "invalid queue name"),
    ]
    for options, message in refused:
        with pytest.raises(BadCall, match=message):
            Executor(**options)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Executor(1, initializer="begin")
    for method in ("spawn", "forkserver"):
        Executor(1, mp_context=multiprocessing.get_context(method))


def test_invalid_arguments_of_the_initializer_are_refused(execute: Execute) -> None:
    executor = execute(1, initializer=calls.begin, initargs=(object(),))
    for _ in range(2):
        with pytest.raises(BadCall, match="begin"):
            executor.submit(calls.double, 1)


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def supervisor_of(executor: Executor, eventually: Callable[..., Any]) -> int:
    """Return the process of the executor's consumer, once it has started its workers."""
    workers = executor._calls.workers
    eventually(lambda: workers._has_started)
    pid = workers._consumer.pid
    assert pid is not None
    return pid


def queue_is_gone(executor: Executor) -> bool:
    """Return True if the queue was deleted."""
    return executor.queue.name not in executor.queue.client.run(commands.queue_names())
