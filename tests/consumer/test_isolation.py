"""Errors in the supervisor's own code affect a single worker or command, and the consumer continues."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import msgspec
import pytest
from consumer_kit import go, lines

from conveyor import events
from conveyor.consumer.health import Isolation
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.supervisor import Supervisor
from conveyor.errors import StoreRefused
from conveyor.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue


@pytest.fixture
def break_supervisor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that breaks the supervisors of the test in a given way."""

    def start(how: str) -> None:
        def command_line(settings: Any) -> list[str]:
            script = Path(jobs.__file__).with_name("broken_supervisor.py")
            return [sys.executable, str(script), how, msgspec.json.encode(settings).decode()]

        monkeypatch.setattr("conveyor.consumer.command_line", command_line)

    return start


@pytest.fixture(params=["recover", "report", "release", "control"])
def broken(request: pytest.FixtureRequest, break_supervisor: Callable[[str], None]) -> str:
    """Make the supervisors of the test raise in a step, and return which."""
    break_supervisor(request.param)
    return str(request.param)


def test_leases_are_renewed_between_slow_forks(
    break_supervisor: Callable[[str], None],
    consume: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
    eventually: Callable[..., Any],
) -> None:
    break_supervisor("slow")
    assert len(consume(workers=2).workers()) == 2
    told: list[str] = []

    def steps() -> list[str]:
        told.extend(line for line in capfd.readouterr().err.splitlines() if line in {"fork", "heartbeat"})
        return told[:4]

    assert eventually(lambda: len(steps()) == 4 and steps()) == ["fork", "heartbeat"] * 2


def test_error_about_a_worker_does_not_end_the_supervisor(
    broken: str,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    running = consume(workers=2)
    held = {str(number): queue.submit(jobs.hold, str(path), str(number)) for number in range(2)}
    eventually(lambda: len(lines(path)) == 2)
    running.command("stack")
    first = running.workers()[0]
    first.kill()
    eventually(lambda: first not in running.workers() and len(running.workers()) == 2)
    go(path)
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    (lost,) = (line.split()[0] for line in lines(path)[:2] if line.split()[1] == str(first.pid))
    for name, job in held.items():
        if broken != "recover" or name != lost:  # that one comes back when its lease has ended
            assert job.result(30) == name
    assert running.popen.poll() is None
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert told.count("LookupError: an error of ours") == 1


def test_isolation_reports_errors_once_but_raises_store_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[events.Event] = []
    monkeypatch.setattr(events, "_subscribers", [told.append])
    isolation = Isolation()
    for _ in range(3):
        with isolation:
            raise LookupError("no")
    (event,) = told
    assert isinstance(event, events.StepFailed)
    assert event.error == "LookupError: no"
    with pytest.raises(StoreRefused), isolation:
        raise StoreRefused
    with pytest.raises(KeyboardInterrupt), isolation:
        raise KeyboardInterrupt


def test_worker_is_forked_again_after_a_failed_fork(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[events.Event] = []
    monkeypatch.setattr(events, "_subscribers", [told.append])

    def no_room(*_: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("conveyor.consumer.worker_handle.ChildProcess.start", no_room)
    supervisor = Supervisor("host", ConsumerSettings(workers=1), Client(one_server.url), lambda _: 0)
    supervisor.to_start["host/1"] = 0.0
    supervisor._start(["host/1"])
    assert supervisor.to_start["host/1"] > 0.0
    assert supervisor.workers == {}
    assert told == [events.WorkerUnstarted("host/1", "[Errno 11] Resource temporarily unavailable")]
