"""A server that forgets its scripts, disconnects, is emptied, is full: consumers continue, and no job is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import Queue
from conveyor.monitor import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def again_and_again(act: Callable[[], object], pause: float) -> Iterator[list[int]]:
    """Repeat an action alongside the block; yield a list whose length is the number of times."""
    over, done = threading.Event(), []

    def work() -> None:
        while not over.wait(pause):
            act()
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def all_right(queue: Queue, handles: list[Any], wanted: list[Any]) -> None:
    assert [job.result(30) for job in handles] == wanted
    count = queue.count()
    assert (count.finished, count.live, count.dead, count.imbalance) == (len(wanted), 0, 0, 0)


def test_server_that_keeps_forgetting_its_scripts_loses_no_job(
    queue: Queue, consume: Callable[..., Any], one_server: Any
) -> None:
    consume(workers=2)
    with again_and_again(one_server.raw.script_flush, 0.02) as flushed:
        handles = [queue.submit(jobs.add, n, n) for n in range(500)]
        handles += queue.submit_many(jobs.add, [(n, n) for n in range(500, 2000)])
        all_right(queue, handles, [2 * n for n in range(2000)])
    assert len(flushed) > 5


def test_server_that_keeps_disconnecting_loses_no_job(
    queue: Queue, consume: Callable[..., Any], one_server: Any, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    before = running.workers()

    def hang_up() -> None:
        one_server.raw.client_kill_filter(_type="normal", skipme=True)

    with again_and_again(hang_up, 0.05) as hung_up:
        handles = queue.submit_many(jobs.brief, [(1,)] * 2000)
        eventually(lambda: queue.count().live == 0)
    all_right(queue, handles, [1] * 2000)
    assert len(hung_up) > 10
    assert running.workers() == before
    assert queue.count().lapsed == 0


def test_workers_continue_if_their_blocking_wait_is_broken_off(
    queue: Queue, consume: Callable[..., Any], one_server: Any, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    before = running.workers()

    def blocked() -> list[str]:
        return [one["id"] for one in one_server.raw.client_list() if "b" in one["flags"]]

    for _ in range(5):
        for client in eventually(blocked):
            one_server.raw.client_unblock(client, error=True)
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() == before
    running.answers(running.command("stop", 1), 2)


@pytest.mark.parametrize("kind", ["process", "thread", "coroutine"])
def test_lost_wake_ups_cost_two_seconds_at_most(
    kind: str,
    queue: Queue,
    consume: Callable[..., Any],
    one_server: Any,
    eventually: Callable[..., Any],
    quickest: Callable[..., float],
) -> None:
    """A client that was there before the workers takes each hint."""
    stolen: list[Any] = []

    def steal() -> None:
        while not over.is_set():
            stolen.append(one_server.raw.blpop(f"conveyor:{{{queue.name}}}:bell", 60))

    def seconds() -> float:
        """Submit a job, and return the seconds until its result; its wake-up was stolen."""
        before, began = len(stolen), time.monotonic()
        assert queue.submit(jobs.add, 1, 1).result(30) == 2
        took = time.monotonic() - began
        eventually(lambda: len(stolen) == before + 1)
        return took

    over, thieves = threading.Event(), [threading.Thread(target=steal) for _ in range(8)]
    for one in thieves:
        one.start()
    try:
        eventually(lambda: one_server.raw.info("clients")["blocked_clients"] == len(thieves))
        consume(kind=kind)
        seconds()  # with the start of the workers
        for _ in range(2):
            assert quickest(seconds, 3.0) < 3.0
    finally:
        over.set()
        for one in thieves:
            while one.is_alive():  # the worker takes some of these
                one_server.raw.rpush(f"conveyor:{{{queue.name}}}:bell", "over")
                one.join(0.05)


def test_emptied_server_is_usable_again(
    queue: Queue,
    consume: Callable[..., Any],
    one_server: Any,
    eventually: Callable[..., Any],
    short_lease: float,
) -> None:
    running = consume(workers=2)
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    one_server.raw.flushall()
    assert queue.submit(jobs.add, 2, 2).result(30) == 4
    name = eventually(running.report).name
    assert {one.name for one in running.report().workers} == {f"{name}/1", f"{name}/2"}
    running.answers(running.command("kill", 1), 2)
    assert queue.count().imbalance == 0


def test_run_unknown_to_an_emptied_server_is_ended(
    queue: Queue,
    consume: Callable[..., Any],
    one_server: Any,
    path: Path,
    eventually: Callable[..., Any],
    short_lease: float,
) -> None:
    running = consume()
    before = running.workers()
    queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    one_server.raw.flushall()
    assert Queue(queue.name, store=queue.client).submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() == before


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]) -> Callable[[str], bool]:
    """Return a function that checks whether a text has appeared on standard error so far."""
    seen: list[str] = []

    def has(text: str) -> bool:
        seen.append(capfd.readouterr().err)
        return text in "".join(seen)

    return has


@pytest.mark.usefixtures("short_lease")
def test_full_server_is_drained_and_its_consumer_stays(
    queue: Queue,
    consume: Callable[..., Any],
    one_server: Any,
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    held = queue.submit(jobs.log_and_hold, str(path))
    handles = queue.submit_many(jobs.facts, [()] * 300)
    running = consume()
    before = running.workers()
    eventually(lambda: lines(path))
    one_server.raw.config_set("maxmemory", "1mb")
    try:
        eventually(lambda: [one.job for one in Inspector(queue.client).workers(queue.name)] == [held.id])
        go(path)
        eventually(lambda: queue.count().live == 0)
    finally:
        one_server.raw.config_set("maxmemory", "0")
    assert [job.result(30)[0] for job in handles] == [job.id for job in handles]
    assert held.result(30) == "logged"
    assert running.workers() == before
    assert (queue.count().lapsed, queue.count().imbalance) == (0, 0)
    running.signal()
    eventually(running.has_left)
    assert running.status == 0


def test_clients_wait_for_a_server_that_refuses_for_a_while(
    queue: Queue,
    consume: Callable[..., Any],
    one_server: Any,
    eventually: Callable[..., Any],
    told: Callable[[str], bool],
) -> None:
    job = queue.submit(jobs.add, 1, 1)
    one_server.raw.execute_command("ACL", "SETUSER", one_server.user, "-evalsha")
    try:
        running = consume()
        before = running.workers()
        eventually(lambda: told("refused: "))
    finally:
        one_server.raw.execute_command("ACL", "SETUSER", one_server.user, "+evalsha")
    assert job.result(30) == 2
    assert running.workers() == before
    one_server.denied()  # as it should be
