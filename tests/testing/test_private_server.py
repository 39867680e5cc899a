"""The server for tests has nothing of the user's, ends with its process, and can be emptied between tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psutil
import pytest

from conveyor import JobGone, Queue
from conveyor.inbox import inbox_of
from conveyor.store import commands, connect, embedded, fitness
from conveyor.testing import PrivateServer, private_server, run_jobs

if TYPE_CHECKING:
    from collections.abc import Callable


def pid_of(server: PrivateServer) -> int:
    return int(connect(server.url).run(fitness.info("server"))["process_id"])


def folder_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)).parent


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def add(a: int, b: int) -> int:
    return a + b


def test_server_ends_with_the_block_and_leaves_nothing() -> None:
    with private_server() as server:
        pid, folder = pid_of(server), folder_of(server.url)
        assert is_alive(pid)
        assert folder.is_dir()
        assert not embedded.status().running
    assert not is_alive(pid)
    assert not folder.exists()


def test_server_ends_if_its_process_is_killed(
    start_python: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    code = """
import time
from conveyor.store import connect, fitness
from conveyor.testing import private_server
with private_server() as server:
    print(connect(server.url).run(fitness.info("server"))["process_id"], server.url, flush=True)
    time.sleep(600)
"""
    process = start_python(code)
    pid, url = process.stdout.readline().split()
    assert is_alive(int(pid))
    process.kill()
    eventually(lambda: not is_alive(int(pid)))
    eventually(lambda: not folder_of(url).exists())


def test_levels_of_durability_are_those_of_the_embedded_server() -> None:
    with private_server() as server:
        Queue("work", store=server.url, durability="written").put("item", timeout=30)


def test_clear_leaves_no_key(queue: Queue, server: Any) -> None:
    queue.submit(add, 1, 2)
    PrivateServer(server.url).clear()
    assert server.raw.keys("*") == []


def test_jobs_before_a_clear_are_gone_and_not_lost(
    queue: Queue, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    job = queue.submit(add, 1, 2)
    assert not job.done()  # from now on its result is awaited
    PrivateServer(server.url).clear()
    assert not inbox_of(queue.client)._has_work()
    assert queue.submit(add, 3, 4).cancel()
    with pytest.raises(JobGone):
        job.result(timeout=30)
    assert (queue.count().accepted, caplog.record_tuples) == (1, [])


def test_names_of_queues_are_noted_after_a_clear(queue: Queue, server: Any) -> None:
    queue.submit(add, 1, 2)
    PrivateServer(server.url).clear()
    queue.submit(add, 1, 2)
    assert queue.client.run(commands.queue_names()) == ["work"]


def test_items_taken_before_a_clear_are_forgotten(queue: Queue, server: Any) -> None:
    queue.put("before")
    queue.get()
    PrivateServer(server.url).clear()
    queue.put("after")
    assert queue.get() == "after"
    queue.task_done()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_results_are_pushed_immediately_after_a_clear(
    queue: Queue, server: Any, quickest: Callable[..., float]
) -> None:
    names = iter("abcdefgh")

    def seconds() -> float:
        PrivateServer(server.url).clear()
        job = Queue(next(names)).submit(add, 1, 2)
        assert not job.done()
        began = time.monotonic()
        run_jobs()
        assert job.result(timeout=30) == 3
        return time.monotonic() - began

    assert quickest(seconds, 0.5) < 0.5
