"""The audit trail keeps the result of a control command long after its replies have expired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor.monitor import audit
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import keys
from conveyor.store.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue
    from conveyor.monitor.audit import AuditRecord


@pytest.fixture
def actions(queue: Queue) -> Actions:
    """Return the actions of Ann."""
    return Actions(queue.client, Actor("ann", "cli@there"))


def _exists(key: str) -> Command:
    return Command(("EXISTS", key))


def newest(queue: Queue) -> AuditRecord:
    return audit.entries(count=1).ask(queue.client)[0]


def comes_to(queue: Queue, words: str, eventually: Callable[..., Any]) -> AuditRecord:
    """Wait until the newest action has this result, and return it."""
    eventually(lambda: newest(queue).result == words)
    return newest(queue)


def test_kill_is_reported_as_sent_and_then_as_done(
    queue: Queue, consume: Callable[..., Any], path: Path, actions: Actions, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=1)
    queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    name = f"{running.name}/1"
    order = actions.control_workers("kill", [name], "it hangs")
    act = comes_to(queue, "told: done", eventually)
    assert (act.act.who, act.act.reason, act.act.target) == ("ann", "it hangs", name)
    assert act.answers == {name: "done"}
    assert queue.client.run_all([_exists(keys.answers_key(order.id))]) == [1]
    go(path)


def test_stop_of_a_worker_is_done_once_its_job_has_finished(
    queue: Queue, consume: Callable[..., Any], path: Path, actions: Actions, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=1)
    queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    actions.control_workers("stop", [running.name])
    acknowledged = comes_to(queue, "told: 2 acknowledged", eventually)
    assert acknowledged.answers == {f"{running.name}/1": "acknowledged", running.name: "acknowledged"}
    go(path)
    comes_to(queue, "told: 2 done", eventually)


def test_cancel_of_a_job_is_done_once_the_job_has_ended(
    queue: Queue, consume: Callable[..., Any], path: Path, actions: Actions, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=1)
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    assert actions.cancel_job(queue.name, job.id, "wrong").state == "running"
    act = comes_to(queue, "running: done", eventually)
    assert act.answers == {f"{running.name}/1": "done"}


def test_second_cancel_of_a_job_supersedes_the_first(
    queue: Queue, consume: Callable[..., Any], path: Path, actions: Actions, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=1, grace=60.0)
    job = queue.submit(jobs.ignore_for_ever, str(path))
    eventually(lambda: lines(path))
    for _ in range(2):
        actions.cancel_job(queue.name, job.id, "wrong")
    comes_to(queue, "running: acknowledged", eventually)
    eventually(
        lambda: audit.entries().ask(queue.client)[1].result == "running: asked for again since",
    )
    running.answers(running.command("kill", 1), 2)
    comes_to(queue, "running: done", eventually)


def test_reason_for_a_command_without_effect_is_kept(
    queue: Queue, consume: Callable[..., Any], actions: Actions, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=1)
    name = f"{running.name}/7"
    actions.control_workers("pause", [name])
    act = comes_to(queue, "told: unknown to its consumer", eventually)
    assert act.answers == {name: "unknown: no such worker"}
    assert act.had_no_effect


def test_cancel_by_the_program_itself_is_not_in_the_audit_trail(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume(workers=1)
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    assert job.cancel()
    eventually(job.done)
    assert queue.client.run_all([_exists(keys.ORDERS), _exists(keys.answers_key(job.id))]) == [0, 0]
