"""Late control commands, or those about a job that has moved on, have no effect and are reported so."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor.monitor import actions
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor import Queue


@pytest.fixture
def held(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> Iterator[tuple[Any, Any]]:
    """Provide a consumer whose only worker runs a job, and that job; release the job afterwards."""
    running = consume()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: [one for one in running.report().workers if one.job == job.id])
    yield running, job
    go(path)


def now(queue: Queue) -> float:
    return queue.client.run(commands.server_time())


@pytest.mark.parametrize("verb", ["kill", "stop", "pause", "stack"])
def test_expired_command_is_not_handled(queue: Queue, held: Any, path: Path, verb: str) -> None:
    running, job = held
    order = running.command(verb, 1, expires=now(queue) - 5.0)
    (answer,) = running.details(order, 1)
    assert (answer.target, answer.state) == (f"{running.name}/1", "expired")
    assert answer.detail.startswith("it came 5.")
    order = running.command(verb, expires=now(queue) - 5.0)
    assert running.answers(order, 2) == [("/1", "expired"), ("", "expired")]
    (worker,) = running.report().workers
    assert (worker.state, worker.job, worker.paused) == ("busy", job.id, False)
    go(path)
    assert job.result(30) == "it"
    assert len(lines(path)) == 1, "it ran once"


def test_command_in_time_is_handled(queue: Queue, held: Any) -> None:
    running, _ = held
    order = running.command("kill", 1, expires=now(queue) + 60.0)
    assert running.answers(order, 2) == [("/1", "acknowledged"), ("/1", "done")]


def test_late_kill_to_a_hung_consumer_spares_the_next_job(
    queue: Queue,
    held: Any,
    path: Path,
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, first = held
    monkeypatch.setitem(actions.EXPIRES_AFTER, "kill", 0.2)
    other = path.with_name("other")
    second = queue.submit(jobs.hold, str(other), "that")
    running.signal(signal.SIGSTOP)
    try:
        order = Actions(queue.client, Actor("ann", "test")).control_workers("kill", [f"{running.name}/1"])
        late = now(queue) + 0.3
        go(path)
        eventually(lambda: lines(other))
        eventually(lambda: now(queue) > late)
    finally:
        running.signal(signal.SIGCONT)
    assert running.answers(order.id, 1) == [("/1", "expired")]
    go(other)
    assert (first.result(30), second.result(30)) == ("it", "that")
    assert len(lines(other)) == 1, "it was not disturbed"


def test_kill_of_a_named_job_spares_another(queue: Queue, held: Any, path: Path) -> None:
    running, job = held
    (answer,) = running.details(running.command("kill", 1, job="another"), 1)
    assert (answer.state, answer.detail) == ("expired", f"it runs job {job.id} now")
    go(path)
    assert job.result(30) == "it"
    assert len(lines(path)) == 1
    order = running.command("kill", 1, job=job.id)  # it runs none now
    assert running.answers(order, 2) == [("/1", "acknowledged"), ("/1", "done")]


def test_kill_of_the_running_job_ends_it(held: Any) -> None:
    running, job = held
    order = running.command("kill", 1, job=job.id)
    assert running.answers(order, 2) == [("/1", "acknowledged"), ("/1", "done")]
