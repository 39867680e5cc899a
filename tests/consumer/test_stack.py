"""The stacks of a running worker: requested from anywhere, for any task."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
import unruly_jobs
from consumer_kit import lines

from conveyor.consumer import stack
from conveyor.monitor import follow
from conveyor.store import control_channel
from conveyor.wire import control_messages, ids

MODULES = ("consumer_jobs", "unruly_jobs")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


@pytest.fixture
def ask_stack(eventually: Callable[..., Any]) -> Callable[..., control_messages.Acknowledgement]:
    """Return the function that requests the stacks of a consumer's first worker and waits for them."""

    def ask(running: Any, job: str = "") -> control_messages.Acknowledgement:
        order = control_messages.ControlCommand(ids.unique(), "stack", [f"{running.name}/1"], job=job)
        running.client.run(control_channel.send(running.name, control_messages.encode(order)))
        (answer,) = eventually(lambda: follow.acknowledgements(order.id).ask(running.client))
        return answer

    return ask


@pytest.mark.usefixtures("real_start")
@pytest.mark.parametrize(
    "task", [unruly_jobs.spin, jobs.sleep_for_ever, jobs.count_for_ever, unruly_jobs.hold_lock_in_c]
)
def test_stack_names_the_running_line(
    task: Any,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    ask_stack: Callable[..., control_messages.Acknowledgement],
    eventually: Callable[..., Any],
) -> None:
    running = consume(modules=MODULES)
    job = queue.submit(task, str(path))
    eventually(lambda: lines(path))
    for _ in range(2):
        answer = ask_stack(running, job.id)
        assert answer.state == "done"
        assert answer.detail.count("Current thread") == 1, "each is written again"
        assert f"{task.__module__}.py" in answer.detail
        assert f"in {task.__name__}" in answer.detail
        assert answer.detail.rstrip().endswith("in _run_module_as_main"), "it is whole"
    assert job.status() == "running"
    running.answers(running.command("kill"), 4)


def test_stack_of_an_idle_worker_shows_that_it_waits(
    consume: Callable[..., Any],
    ask_stack: Callable[..., control_messages.Acknowledgement],
    eventually: Callable[..., Any],
) -> None:
    running = consume(modules=MODULES)
    eventually(lambda: "in _wait" in ask_stack(running).detail)  # it claims and counts between two waits


def test_all_workers_of_a_consumer_write_their_stacks(
    consume: Callable[..., Any],
) -> None:
    running = consume(workers=3)
    command = running.command("stack")
    assert sorted(running.answers(command, 3)) == [("/1", "done"), ("/2", "done"), ("/3", "done")]


def test_stack_of_a_job_that_is_not_running_is_refused(
    consume: Callable[..., Any], ask_stack: Callable[..., control_messages.Acknowledgement]
) -> None:
    answer = ask_stack(consume(modules=MODULES), "another")
    assert (answer.state, answer.detail) == ("unknown", "it is not running that job")


@pytest.mark.parametrize("how", ["default", "ignore"])
def test_task_that_disables_the_stack_signal_is_unharmed(
    how: str,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    ask_stack: Callable[..., control_messages.Acknowledgement],
    eventually: Callable[..., Any],
) -> None:
    running = consume(modules=MODULES)
    queue.submit(unruly_jobs.take_stack_signal, str(path), how)
    eventually(lambda: lines(path))
    assert ask_stack(running).detail == "no stacks: the task has disabled SIGUSR2"
    path.with_name(path.name + ".go").touch()
    eventually(lambda: queue.count().leased == 0)
    eventually(lambda: "in _wait" in ask_stack(running).detail)
    eventually(lambda: running.report().workers[0].jobs_done == 1)


def test_stack_is_never_written_into_a_file_of_a_task(
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    ask_stack: Callable[..., control_messages.Acknowledgement],
    eventually: Callable[..., Any],
) -> None:
    running = consume(modules=MODULES)
    descriptor = queue.submit(unruly_jobs.stack_file_number).result(30)
    job = queue.submit(unruly_jobs.replace_file, descriptor, str(path))
    eventually(lambda: lines(path))
    assert ask_stack(running).detail.startswith("no stacks")
    path.with_name(path.name + ".go").touch()
    assert job.result(30) == "open\n"
    eventually(lambda: "in _wait" in ask_stack(running).detail)


def test_stacks_are_abbreviated_at_the_top(
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    ask_stack: Callable[..., control_messages.Acknowledgement],
    eventually: Callable[..., Any],
) -> None:
    running = consume(modules=MODULES)
    queue.submit(unruly_jobs.many_threads, str(path), 99)
    eventually(lambda: lines(path))
    answer = ask_stack(running)
    assert len(answer.detail.encode()) <= stack.MAX_SIZE
    assert "many_threads" in answer.detail
    running.answers(running.command("kill"), 4)


def test_forked_child_of_a_task_has_the_default_stack_signal(
    queue: Queue, consume: Callable[..., Any]
) -> None:
    consume(modules=MODULES)
    assert queue.submit(unruly_jobs.status_of_signalled_child, signal.SIGUSR2).result(30) == -signal.SIGUSR2
