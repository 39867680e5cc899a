"""Stop and kill from anywhere: each target acknowledges, then is done; a killed worker is not replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import psutil
import pytest
from consumer_kit import go, lines, runs

from conveyor.monitor import Inspector, job_record
from conveyor.store import control_channel
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


def test_stopped_worker_finishes_its_job_and_is_not_replaced(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=1)
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    command = running.command("stop", 1)
    assert running.answers(command, 1) == [("/1", "acknowledged")]
    eventually(lambda: running.report().workers[0].state == "leaving")
    assert not job.done()
    go(path)
    assert job.result(30) == "it"
    assert running.answers(command, 1) == [("/1", "done")]
    eventually(running.has_left)
    assert running.status == 0


def test_killed_worker_exits_and_its_job_returns_without_blame(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    job = queue.submit(jobs.hold, str(path), "it")
    pid = int(eventually(lambda: lines(path))[0].split()[1])
    worker = psutil.Process(pid)
    report = eventually(lambda: [one for one in running.report().workers if one.job == job.id])[0]
    number = int(report.name.rpartition("/")[2])
    command = running.command("kill", number)
    assert running.answers(command, 2) == [(f"/{number}", "acknowledged"), (f"/{number}", "done")]
    assert not runs(worker)
    eventually(lambda: len(lines(path)) == 2)
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert (details.crashes, details.retries) == (0, 0)
    go(path)
    assert job.result(30) == "it"
    assert len(running.workers()) == 1
    assert lines(path)[1].split()[2] == "1", "the attempt that was killed does not count"
    told = job_record.record(queue.name, job.id).ask(queue.client)
    assert told
    assert [(one.attempt, one.state) for one in told.attempts] == [(1, "killed"), (1, "done")]
    assert (told.retries, told.crashes, told.attempt) == (0, 0, 1)


def test_crashed_worker_is_replaced_but_a_killed_one_is_not(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    name = running.name
    running.answers(running.command("kill", 1), 2)
    assert queue.submit(jobs.crash_once, str(path)).result(30) == 2
    eventually(lambda: [one.name for one in running.report().workers] == [f"{name}/2"])
    assert len(running.workers()) == 1


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_whole_consumer_replies_for_itself_and_each_worker(
    verb: str, queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume(workers=2)
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    command = running.command(verb)
    if verb == "stop":
        assert running.answers(command, 1) == [("", "acknowledged")]
        go(path)
    answers = running.answers(command, 6 if verb == "kill" else 5)
    for target in ("/1", "/2"):
        assert [state for one, state in answers if one == target] == ["acknowledged", "done"]
    assert answers[-1] == ("", "done")
    eventually(running.has_left)
    assert running.status == 0
    assert job.status() == ("done" if verb == "stop" else "waiting")
    assert Inspector(queue.client).consumers() == []
    assert queue.count().imbalance == 0


def test_command_to_an_absent_worker_is_reported_as_unknown(consume: Callable[..., Any]) -> None:
    running = consume()
    assert running.answers(running.command("kill", 7), 1) == [("/7", "unknown")]
    assert len(running.workers()) == 1


def test_command_that_arrives_twice_is_handled_once(consume: Callable[..., Any]) -> None:
    """A copy may come late, behind other commands: it was resent because its first reply was lost."""
    running = consume()
    pause = control_channel.send(
        running.name,
        control_messages.encode(control_messages.ControlCommand("first", "pause", [f"{running.name}/1"])),
    )
    running.client.run(pause)
    assert running.answers("first", 2) == [("/1", "acknowledged"), ("/1", "done")]
    running.answers(running.command("resume", 1), 2)
    running.client.run(pause)
    running.answers(running.command("stack", 7), 1)
    assert running.client.run(control_channel.acknowledgements("first")) == []


def test_unreadable_command_is_ignored(
    queue: Queue, consume: Callable[..., Any], one_server: Any, eventually: Callable[..., Any]
) -> None:
    running = consume()
    key = f"conveyor:control:{running.name}"
    for data in (b"\xc1", b"{}", b""):
        one_server.raw.rpush(key, data)
    eventually(lambda: not one_server.raw.exists(key))
    assert queue.submit(jobs.add, 1, 1).result(30) == 2


def test_kill_ends_programs_started_by_the_task(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    queue.submit(jobs.start_sleeper, str(path))
    child = psutil.Process(int(eventually(lambda: lines(path))[0]))
    assert runs(child)
    running.answers(running.command("kill", 1), 2)
    eventually(lambda: not runs(child))


def test_crash_ends_programs_started_by_the_task(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    running = consume()
    job = queue.submit(jobs.start_sleeper, str(path))
    child = psutil.Process(int(eventually(lambda: lines(path))[0]))
    running.workers()[0].kill()
    eventually(lambda: not runs(child))
    eventually(lambda: len(lines(path)) == 2)
    job.cancel()
    eventually(job.done)


@pytest.mark.parametrize("task", [jobs.count_for_ever, jobs.block_signals_for_ever])
def test_kill_ends_a_worker_of_any_task(
    task: Callable[[str], Any],
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    running = consume()
    job = queue.submit(task, str(path))
    eventually(lambda: lines(path))
    assert running.answers(running.command("kill", 1), 2)[-1] == ("/1", "done")
    assert job.status() == "waiting"
