"""Queues, jobs, tasks and errors in other processes: pickled, also by `multiprocessing`."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import (
    ConveyorError,
    Full,
    Job,
    JobFailed,
    LifoQueue,
    MissingExtra,
    PriorityQueue,
    Queue,
    Retry,
    Throttle,
    errors,
    task,
)
from conveyor.store import Client, embedded, server_of
from conveyor.wire.durability import Durability

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Bench, Server

KINDS = (Queue, LifoQueue, PriorityQueue)
SECRET = "redis://ada:sesame@far.example:6380/3"  # never connected to
#: A program that is also the main module of its children: what it sends them, and what they do with it.
PROGRAM = """
import multiprocessing, multiprocessing.forkserver, os, signal, sys, threading
from dataclasses import dataclass
from conveyor import Consumer, LifoQueue, PriorityQueue, Queue, task

@dataclass
class Point:
    x: int
    y: int

@task(queue="points")
def turned(point: Point) -> Point:
    return Point(point.y, point.x)

def mirrored(point: Point) -> Point:
    return Point(-point.x, point.y)

def child(queues, jobs, tasks, pid=0):
    for queue in () if tasks else queues:
        print(queue, queue.get(timeout=20), flush=True)
        queue.task_done()
    for job in jobs:
        print(job.queue_name, job.result(20), flush=True)
    for one in tasks:
        print(one.__name__, queues[0].submit(one, Point(3, 4)).result(20), flush=True)
    if pid:
        os.kill(pid, signal.SIGKILL)
        print(queues[0].qsize(), "queued", flush=True)

def send(*arguments):
    process = context.Process(target=child, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    if sys.argv[1] == "forkserver":
        multiprocessing.forkserver.ensure_running()  # with another environment than its children want
    os.environ[sys.argv[2]] = sys.argv[3]
    for queue in "abc":
        Queue(queue).put(7)
    queues = [Queue("a", durability="memory"), LifoQueue("b", 5), PriorityQueue("c")]
    send(queues, [], [])
    taken = []
    takers = [threading.Thread(target=lambda: taken.append(queues[0].get(timeout=20))) for _ in range(2)]
    for taker in takers:
        taker.start()
    Queue("b").put(8)
    send(queues[1:2], [], [])
    queues[0].put_many([1, 2])
    for taker in takers:
        taker.join()
    print(sorted(taken), flush=True)
    with Consumer("points", workers=1):
        queue = Queue("points")
        jobs = [turned.submit(Point(1, 2)), queue.submit(mirrored, Point(1, 2))]
        send([queue], jobs, [turned, turned.options(priority=3), mirrored])
        send([], jobs, [])
    if sys.argv[2] == "CONVEYOR_HOME":
        from conveyor.store import embedded
        Queue("a").put(9)
        send(queues[:1], [], [], embedded.status().pid)
"""
OUTPUT = """\
Queue('a') 7
LifoQueue('b', maxsize=5) 7
PriorityQueue('c') 7
LifoQueue('b', maxsize=5) 8
[1, 2]
points Point(x=2, y=1)
points Point(x=-1, y=2)
turned Point(x=4, y=3)
turned Point(x=4, y=3)
mirrored Point(x=-3, y=4)
points Point(x=2, y=1)
points Point(x=-1, y=2)
"""


def sent(value: Any) -> Any:
    """Return what another process would get."""
    return pickle.loads(pickle.dumps(value))


@task(queue="doubles", retries=3)
def doubled(number: int) -> int:
    return 2 * number


def tripled(number: int) -> int:
    return 3 * number


wrapped = task(name="triple", redact=["number"])(tripled)


def run(program: Path, method: str, variable: str, value: object) -> str:
    """Run the program with only this variable to name a server, and return its output."""
    program.write_text(PROGRAM)
    env = {name: text for name, text in os.environ.items() if not name.startswith("CONVEYOR_")}
    words = [sys.executable, str(program), method, variable, str(value)]
    done = subprocess.run(
        words, env=env, cwd=program.parent, stdout=subprocess.PIPE, check=True, text=True, timeout=100
    )
    return done.stdout


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_share_queues_jobs_and_tasks(one_server: Server, method: str, tmp_path: Path) -> None:
    assert run(tmp_path / "program.py", method, "CONVEYOR_URL", one_server.url) == OUTPUT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide a state folder whose server is stopped in the end."""
    monkeypatch.setenv("CONVEYOR_HOME", str(tmp_path / "state"))
    yield tmp_path / "state"
    embedded.stop()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_share_and_revive_the_embedded_server(home: Path, method: str) -> None:
    written = run(home.with_name("program.py"), method, "CONVEYOR_HOME", home)
    assert written == f"{OUTPUT}Queue('a') 9\n0 queued\n"


@pytest.mark.parametrize("kind", KINDS)
def test_pickled_queue_keeps_all_its_settings(kind: type[Queue[Any]]) -> None:
    queue = kind[int]("a", 5, durability="replicated:2", store=SECRET)
    for other in (sent(queue), copy.copy(queue)):
        assert type(other) is kind
        assert (other.name, other.maxsize, other.durability) == ("a", 5, Durability("replicated", 2))
        assert other.client.url == SECRET
        assert "sesame" not in f"{other!r} {other.client!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_used_queue_can_be_pickled_while_threads_wait_in_it(kind: type[Queue[int]], bench: Bench) -> None:
    queue = kind("used", 1, store=bench.client)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(queue.get, timeout=20)
        other = sent(queue)
        other.put(1)
        assert waiting.result() == 1
        other.put(2)
        blocked = pool.submit(queue.put, 3, timeout=20)
        bench.eventually(lambda: queue.count().blocked == 1)
        assert sent(queue).get() == 2
    assert blocked.exception() is None
    with pytest.raises(Full):
        sent(other).put(4, block=False)


def test_unused_queue_refers_to_the_server_of_the_moment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    queue = Queue("a")
    monkeypatch.setenv("CONVEYOR_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CONVEYOR_URL", raising=False)
    of_folder = sent(queue)
    monkeypatch.setenv("CONVEYOR_URL", SECRET)
    of_url = sent(queue)
    monkeypatch.setenv("CONVEYOR_URL", "redis://localhost:1")
    assert of_url.client.url == SECRET
    assert sent(of_folder)._given == of_folder._given == tmp_path / "state"
    assert not (tmp_path / "state").exists(), "nothing was started"


def test_copy_of_a_client_is_the_one_of_its_url(one_server: Server) -> None:
    assert server_of(Client(one_server.url)) == one_server.url
    assert server_of(SECRET) == SECRET


def test_pickled_job_is_found_by_its_id_with_its_types(bench: Bench) -> None:
    job, typed = bench.queue.submit(textwrap.indent, "a", "b"), bench.queue.submit(pair, 1)
    for state in ("waiting", "done"):
        if state == "done":
            bench.settle(value=8)
            bench.settle(value=(1, 2))
            assert job.result(20) == 8
        other: Job[Any] = sent(job)
        assert (other.id, other.queue_name, other.status()) == (job.id, job.queue_name, state)
    assert sent(job).result(20) == 8
    assert sent(typed).result(20) == sent(sent(typed)).result(20) == (1, 2)
    assert sent(Job(job.id, bench.queue.name, client=bench.client)).result(20) == 8


def pair(number: int) -> tuple[int, int]:
    return number, number + 1


def test_pickled_task_is_the_one_of_its_module() -> None:
    assert sent(doubled) is copy.deepcopy(doubled) is doubled


def test_pickled_task_with_options_keeps_them() -> None:
    other = sent(doubled.options(priority=9, timeout=2.5))
    assert other is not doubled
    assert (other.put.priority, other.put.queue, other.run.timeout, other.run.retries) == (
        9,
        "doubles",
        2.5,
        3,
    )
    assert (other(4), other.name, doubled.put.priority) == (8, doubled.name, 0)


def test_pickled_task_of_another_name_keeps_its_function() -> None:
    other = sent(wrapped)
    assert (other(4), other.name, other.function, other.redact) == (12, "triple", tripled, ("number",))


def test_task_within_a_function_cannot_be_pickled() -> None:
    @task(name="hidden")
    def hidden() -> None: ...

    with pytest.raises((pickle.PicklingError, AttributeError), match="hidden"):
        pickle.dumps(hidden)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ConveyorError)],
)
def test_pickled_error_has_the_same_attributes(kind: type[ConveyorError]) -> None:
    if issubclass(kind, JobFailed | MissingExtra):
        error = kind("ValueError", "no", "line 1")
    elif issubclass(kind, Throttle | Retry):  # tasks raise them, with seconds
        error = kind(5)
    else:
        error = kind("no", hint="do it")
        error.accepted, error.ids = 1, ["a"]
    other = sent(error)
    assert (type(other), str(other), vars(other)) == (kind, str(error), vars(error))
