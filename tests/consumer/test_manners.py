"""Tasks that behave like any program: they fork, start threads and programs, change the folder, print a lot."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import msgspec
import psutil
import pytest
import unruly_jobs as unruly
from consumer_kit import lines, runs

from conveyor import Job, JobCancelled, JobFailed
from conveyor.monitor import Inspector
from conveyor.store import commands
from conveyor.store.commands import PutParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue


@pytest.fixture
def unruly_consumer(consume: Callable[..., Any]) -> Any:
    return consume(modules=("consumer_jobs", "unruly_jobs"))


def test_task_may_use_threads_processes_and_programs(queue: Queue, unruly_consumer: Any) -> None:
    before = unruly_consumer.workers()
    assert queue.submit(unruly.in_threads, 8).result(30) == 28
    assert queue.submit(unruly.in_processes, 8).result(30) == 28
    assert queue.submit(unruly.in_a_pool, 8).result(30) == 28
    assert queue.submit(unruly.in_a_program).result(30) == "hello"
    assert unruly_consumer.workers() == before


def test_task_that_forks_and_returns_twice_makes_no_new_worker(
    queue: Queue, unruly_consumer: Any, path: Path, eventually: Callable[..., Any]
) -> None:
    (pid,) = queue.submit(unruly.fork_and_return, str(path)).result(30)
    worker = unruly_consumer.workers()[0]
    assert pid == worker.pid
    eventually(lambda: len(lines(path)) == 2)
    assert [job.result(30) for job in queue.submit_many(unruly.process_id, [()] * 20)] == [pid] * 20
    eventually(lambda: not any(runs(child) for child in worker.children()))


def test_forked_child_of_a_task_can_be_terminated(queue: Queue, unruly_consumer: Any) -> None:
    assert queue.submit(unruly.terminate_a_fork).result(30) == -signal.SIGTERM


def test_task_that_changes_the_folder_does_not_affect_the_next(
    queue: Queue, unruly_consumer: Any, path: Path
) -> None:
    before = queue.submit(unruly.folder).result(30)
    queue.submit(unruly.go_to, str(path.parent)).result(30)
    assert queue.submit(unruly.folder).result(30) == before


def test_task_may_print_large_output(
    capfd: pytest.CaptureFixture[str],
    queue: Queue,
    consume: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    consume(modules=("unruly_jobs",))
    assert queue.submit(unruly.print_lines, 50_000).result(30) == 50_000
    assert capfd.readouterr().out.count("\n") == 50_000


@pytest.mark.parametrize("how", ["close", "replace", "none"])
def test_task_that_breaks_standard_output_costs_no_worker(
    how: str, queue: Queue, unruly_consumer: Any, eventually: Callable[..., Any]
) -> None:
    before = unruly_consumer.workers()
    queue.submit(unruly.spoil_output, how).result(30)
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert unruly_consumer.workers() == before
    unruly_consumer.signal()
    eventually(unruly_consumer.has_left)
    assert unruly_consumer.status == 0


def test_programs_of_a_task_inherit_no_files_of_the_consumer(queue: Queue, unruly_consumer: Any) -> None:
    assert queue.submit(unruly.files_of_a_child).result(30) == ["0", "1", "2"]


def test_worker_reads_no_input_from_the_terminal_of_its_caller(queue: Queue, unruly_consumer: Any) -> None:
    assert queue.submit(unruly.read_input).result(30) == ""


@pytest.mark.usefixtures("real_start")
def test_password_in_the_settings_is_not_in_the_process_list(queue: Queue, unruly_consumer: Any) -> None:
    words = " ".join(psutil.Process(unruly_consumer.pid).cmdline())
    assert "unix://" not in words
    assert queue.client.url not in words


def test_terminated_worker_is_reported_as_exited(
    queue: Queue,
    consume: Callable[..., Any],
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    running = consume()
    (before,) = running.workers()
    before.terminate()
    eventually(lambda: [one for one in running.workers() if one != before])
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    told = capfd.readouterr().err
    assert "/1 has exited and is replaced: it received a stop signal" in told
    assert "died" not in told


@pytest.mark.usefixtures("real_start")
def test_worker_without_file_descriptors_is_replaced(
    one_server: Any,
    queue: Queue,
    consume: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = len(list(Path("/proc/self/fd").iterdir()))  # this process starts the consumer under the same limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(256, own + 64), before[1]))
    try:
        consume(modules=("consumer_jobs", "unruly_jobs"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    queue.submit(unruly.leak_files).result(30)
    one_server.raw.client_kill_filter(_type="normal")
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    told = capfd.readouterr().err
    assert "/1 has exited and is replaced: it cannot open a connection: too many open files" in told
    assert queue.count().lapsed == 0


def test_each_coroutine_sees_its_own_job(queue: Queue, unruly_consumer: Any) -> None:
    handles, seen = [], []
    for _ in range(3):  # in sequence, so that each is claimed separately and has its own token
        handles.append(queue.submit(unruly.who))
        seen.append(handles[-1].result(30))
    assert [job_id for job_id, _ in seen] == [job.id for job in handles]
    assert len({token for _, token in seen}) == 3


def test_task_that_blocks_signals_does_not_block_worker_exit(queue: Queue, unruly_consumer: Any) -> None:
    queue.submit(unruly.turn_signals_off).result(30)
    unruly_consumer.consumer.stop()
    assert queue.submit(unruly.same, 1).status() == "waiting"


def test_job_is_dead_if_it_kills_three_workers_after_its_return(
    queue: Queue, unruly_consumer: Any, path: Path
) -> None:
    job = queue.submit(unruly.die_after_return, str(path))
    assert "exit code 3" in str(job.exception(30))
    assert len(lines(path)) == 3


def test_job_with_a_failing_preview_runs_and_costs_no_worker(queue: Queue, unruly_consumer: Any) -> None:
    before = unruly_consumer.workers()
    handles = [queue.submit(unruly.take, 1, hold) for hold in (0.0, 0.0, 0.1, 0.0, 0.0)]
    assert [job.result(30) for job in handles] == [0.0, 0.0, 0.1, 0.0, 0.0]
    assert unruly_consumer.workers() == before


def test_array_of_foreign_dtype_fails_only_its_own_job(queue: Queue, unruly_consumer: Any) -> None:
    before = unruly_consumer.workers()
    head = msgspec.msgpack.encode(["(,i4", [2]])
    array = msgspec.msgpack.Ext(13, len(head).to_bytes(2, "big") + head + bytes(8))
    data = msgspec.msgpack.encode(["consumer_jobs.add", [array, 1], {}, 1.0])
    queue.client.run(commands.put(queue.name, [("odd", data)], PutParams()))
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    with pytest.raises(JobFailed, match="dtype"):
        Job("odd", queue.name, client=queue.client).result(30)
    assert unruly_consumer.workers() == before
    assert queue.count().dead == 1


@pytest.mark.parametrize(
    ("task", "kind"),
    [(unruly.raise_evil, "EvilError"), (unruly.return_evil, "BadCall")],
    ids=["error", "result"],
)
def test_malicious_outcome_fails_only_its_own_job(
    task: Any, kind: str, queue: Queue, unruly_consumer: Any
) -> None:
    before = unruly_consumer.workers()
    with pytest.raises(JobFailed) as caught:
        queue.submit(task).result(30)
    assert caught.value.kind == kind
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    assert unruly_consumer.workers() == before


def test_error_in_worker_code_fails_only_the_current_job(queue: Queue, unruly_consumer: Any) -> None:
    before = unruly_consumer.workers()
    queue.submit(unruly.break_next_decode).result(30)
    with pytest.raises(JobFailed, match="LookupError: a fault of ours"):
        queue.submit(unruly.same, 1).result(30)
    assert queue.submit(unruly.same, 2).result(30) == 2
    assert unruly_consumer.workers() == before
    assert queue.count().imbalance == 0


def test_process_state_is_restored_between_jobs(queue: Queue, unruly_consumer: Any) -> None:
    before = queue.submit(unruly.process_facts).result(30)
    queue.submit(unruly.leave_things_behind).result(30)
    assert queue.submit(unruly.process_facts).result(30) == before


@pytest.fixture
def many_claimed(queue: Queue, unruly_consumer: Any) -> dict[str, Any]:
    """Make the worker claim many jobs at a time; return the state of its process as tasks find it."""
    queue.submit(unruly.claim_many).result(30)
    return queue.submit(unruly.process_facts).result(30)


def facts_behind(queue: Queue, how: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the process a task ran in, and the state that 60 later jobs of the same claim found."""
    queue.pause()
    breaker = queue.submit(unruly.change_process, how)
    behind = queue.submit_many(unruly.process_facts, [()] * 60)
    queue.resume()
    return breaker.result(30), [job.result(30) for job in behind]


@pytest.mark.parametrize("how", ["output", "folder"])
def test_task_that_changes_its_process_affects_no_later_job(
    how: str, queue: Queue, many_claimed: dict[str, Any]
) -> None:
    assert facts_behind(queue, how)[1] == [many_claimed] * 60


def test_task_that_closes_files_fails_no_later_job(queue: Queue, many_claimed: dict[str, Any]) -> None:
    pid, facts = facts_behind(queue, "files")
    assert pid == many_claimed["pid"]
    assert len({one["pid"] for one in facts} | {pid}) == 2  # the next worker ran them all
    count = queue.count()
    assert (count.dead, count.lapsed, count.imbalance) == (0, 0, 0)


def test_task_caught_changing_its_process_is_watched(queue: Queue, many_claimed: dict[str, Any]) -> None:
    assert facts_behind(queue, "")[1] == [many_claimed] * 60  # it is trusted now
    facts_behind(queue, "folder")  # found out at the end of the batch
    assert facts_behind(queue, "folder")[1] == [many_claimed] * 60


@pytest.mark.parametrize("how", ["alarm", "mask", "handler", "folder"])
def test_trusted_task_that_changes_its_process_affects_no_job(
    how: str, queue: Queue, many_claimed: dict[str, Any]
) -> None:
    assert facts_behind(queue, "")[1] == [many_claimed] * 60  # it is trusted now
    assert facts_behind(queue, how)[1] == [many_claimed] * 60


def test_cancelling_works_after_a_task_that_blocks_signals(
    queue: Queue, unruly_consumer: Any, path: Path, eventually: Callable[..., Any]
) -> None:
    queue.submit(unruly.block_signals).result(30)
    job = queue.submit(jobs.sleep_for_ever, str(path))
    eventually(lambda: lines(path))
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(30)  # a task that hears nothing is killed after ten seconds


@pytest.mark.parametrize("task", [unruly.close_files, unruly.replace_files, unruly.close_output])
def test_worker_is_replaced_if_a_task_breaks_its_process(
    task: Any, queue: Queue, unruly_consumer: Any, eventually: Callable[..., Any]
) -> None:
    assert queue.submit(unruly.who).result(30)
    before = unruly_consumer.workers()
    queue.submit(task).result(30)
    handles = [queue.submit(unruly.who) for _ in range(5)]
    assert [job.result(30)[0] for job in handles] == [job.id for job in handles]
    eventually(lambda: unruly_consumer.workers() and unruly_consumer.workers() != before)
    count = queue.count()
    assert (count.dead, count.imbalance) == (0, 0)


def test_coroutine_runs_in_a_batch_with_a_task_that_closes_files(queue: Queue, unruly_consumer: Any) -> None:
    queue.submit_many(unruly.same, [(n,) for n in range(200)])
    handles = [
        queue.submit_many(task, [()])[0] for task in (unruly.who, unruly.close_files, unruly.who, unruly.who)
    ]
    for job in handles:
        job.result(30)
    assert queue.count().dead == 0


def test_logged_bytes_fail_only_their_own_job(queue: Queue, consume: Callable[..., Any]) -> None:
    bad, next_job = queue.submit(unruly.log_bytes), queue.submit(jobs.facts)
    consume(modules=("consumer_jobs", "unruly_jobs"))
    assert next_job.result(30)[1] == 1, "the attempt of a job that did not crash"
    error = bad.exception(30)
    assert isinstance(error, JobFailed)
    assert error.kind == "BadCall"
    assert error.reason.startswith("a log line or a progress message must be a str, got bytes")


def test_str_subclass_is_logged_as_plain_text(queue: Queue, unruly_consumer: Any) -> None:
    job = queue.submit(unruly.log_unruly_text)
    job.result(30)
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert [line.text for line in details.lines] == ["a line"]


def test_forked_child_logs_while_a_thread_of_its_parent_logs(queue: Queue, unruly_consumer: Any) -> None:
    job = queue.submit(unruly.log_in_forks, 4)
    assert job.result(60) == [0] * 4
    details = Inspector(queue.client).job(job.id, queue.name)
    assert details
    assert [line.text for line in details.lines].count("child") == 4
