"""Resources are opened once per worker process, handed to tasks by type hint, and closed in order."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import resource_jobs as jobs
from consumer_kit import go

from conveyor import Consumer, JobFailed, Queue, resources
from conveyor.monitor import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPENED = ["pool opened", "client opened", "started"]
CLOSED = ["ended", "client closed", "pool closed"]


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file to which resources write."""
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("RESOURCE_NOTES", str(path))
    return path


@pytest.fixture
def start(consume: Callable[..., Any], kind: str, notes: Path) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int = 1, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("resource_jobs",), **changes)

    return consume_so


def told(notes: Path) -> dict[str, list[str]]:
    """Return what each process has written, in order."""
    found: dict[str, list[str]] = {}
    for line in notes.read_text().splitlines():
        process, _, text = line.partition(" ")
        found.setdefault(process, []).append(text)
    return found


def at_start(kind: str) -> list[str]:
    """Return what is opened before the first job: in threads, the event loops have theirs later."""
    return ["pool opened", "started"] if kind == "thread" else OPENED


def test_resources_are_opened_once_and_shared_by_the_jobs(
    start: Any, kind: str, queue: Queue, notes: Path
) -> None:
    running = start(2)
    found = [one.result(60) for one in queue.submit_many(jobs.use, [(1,)] * 40)]
    assert all(right for _, _, right in found)
    by_process = {process: sum(one[0] == process for one in found) for process, _, _ in found}
    assert len(by_process) <= (2 if kind == "process" else 1)
    for process, count in by_process.items():
        assert {uses for one, uses, _ in found if one == process} == set(range(1, count + 1))
        assert told(notes)[str(process)] == at_start(kind)
    running.end()


def test_async_resource_lives_in_the_event_loop_of_the_tasks(start: Any, queue: Queue, notes: Path) -> None:
    running = start(2)
    assert all(one.result(60)[2] for one in queue.submit_many(jobs.use_async, [(1,)] * 40))
    assert all(one.result(60)[2] for one in queue.submit_many(jobs.use, [(1,)] * 4))
    running.end()
    for texts in told(notes).values():
        assert texts.count("client opened") == texts.count("client closed") >= 1
        assert [one for one in texts if "client" not in one][-2:] == ["ended", "pool closed"]
        assert texts[-1] == "pool closed"


@pytest.mark.parametrize("kind", ["thread"], indirect=True)
def test_thread_that_leaves_closes_its_async_resources(
    start: Any, queue: Queue, notes: Path, eventually: Callable[..., Any]
) -> None:
    def count(text: str) -> int:
        return sum(texts.count(text) for texts in told(notes).values())

    running = start(3)
    while count("client opened") < 3:
        assert all(one.result(60)[2] for one in queue.submit_many(jobs.use_async, [(1,)] * 10))
    running.command("stop", 2)
    eventually(lambda: count("client closed") == 1)
    assert all(one.result(60)[2] for one in queue.submit_many(jobs.use_async, [(1,)] * 10))
    running.end()
    (texts,) = told(notes).values()
    assert (count("client opened"), count("client closed"), texts[-1]) == (3, 3, "pool closed")


def test_nothing_is_claimed_before_the_resources_are_open(
    start: Any, queue: Queue, notes: Path, consume: Any
) -> None:
    job = queue.submit(jobs.use, 1)
    start(1, until_empty=True)
    process, _, _ = job.result(60)
    assert next(iter(told(notes))) == str(process)


@pytest.mark.parametrize("way", ["stop", "until empty", "worker stop"])
def test_resources_are_closed_in_reverse_order(
    start: Any, kind: str, queue: Queue, notes: Path, way: str, eventually: Callable[..., Any]
) -> None:
    if way == "until empty":
        jobs_made = queue.submit_many(jobs.use, [(1,)] * 3)
    running = start(1, until_empty=way == "until empty")
    if way != "until empty":
        jobs_made = queue.submit_many(jobs.use, [(1,)] * 3)
    assert all(one.result(60)[2] for one in jobs_made)
    if way == "stop":
        running.signal()
    elif way == "worker stop":
        running.command("stop", 1)
    eventually(running.has_left)
    closed = CLOSED if kind != "thread" else ["ended", "pool closed"]
    assert list(told(notes).values()) == [[*at_start(kind), *closed]]


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]], ids=["one", "two"])
def test_resources_are_closed_behind_the_last_job(
    start: Any, queue: Queue, notes: Path, path: Path, signals: list[int], eventually: Callable[..., Any]
) -> None:
    running = start(1)
    job = queue.submit(jobs.hold, str(path))
    eventually(lambda: any("holding" in one for one in next(iter(told(notes).values()), [])))
    for one in signals:
        running.signal(one)
    if len(signals) == 1:
        go(path)
        assert job.result(60)
    eventually(running.has_left)
    assert next(iter(told(notes).values()))[-1] == "pool closed"
    if len(signals) > 1:
        assert queue.qsize() == 1  # it is back
        job.cancel()


def test_worker_takes_no_job_while_a_resource_cannot_be_opened(
    start: Any, queue: Queue, notes: Path, eventually: Callable[..., Any], capfd: Any
) -> None:
    fail = notes.with_name("fail open")
    fail.touch()
    job = queue.submit(jobs.use, 1)
    starting = threading.Thread(target=start, args=(1,))
    starting.start()
    said = ""

    def reads() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "takes no jobs" in said

    eventually(reads)
    assert "the resource resource_jobs.pool cannot be opened: ConnectionError: the database" in said
    assert "secret" not in said
    assert queue.qsize() == 1
    inspector = Inspector(queue.client)

    def trouble() -> list[str]:
        return [one.trouble for one in inspector.consumers() if queue.name in one.queues]

    eventually(lambda: any("resource_jobs.pool cannot be opened" in one for one in trouble()))
    fail.unlink()
    assert job.result(60)[2]
    starting.join()
    eventually(lambda: trouble() == [""])
    assert all("client opened" not in one or one[0] == "pool opened" for one in told(notes).values())


@pytest.mark.parametrize("where", ["hang", "hang in the loop"])
def test_stop_interrupts_a_resource_that_does_not_open(
    where: str, kind: str, queue: Queue, notes: Path, eventually: Callable[..., Any], one_server: Any
) -> None:
    if (where, kind) == ("hang in the loop", "thread"):
        pytest.skip("opened later")
    notes.with_name(f"fail {where}").touch()
    consumer = Consumer(queue.name, workers=1, kind=kind, tasks=["resource_jobs"], store=one_server.url)  # type: ignore[arg-type]
    starting = threading.Thread(target=consumer.start)
    starting.start()
    eventually(lambda: "client hangs" in notes.read_text() if "loop" in where else told(notes))
    consumer.request_stop()
    starting.join()
    assert consumer.stop() == 0
    (texts,) = told(notes).values()
    assert texts[0] == "pool opened"
    assert texts[-1] == ("pool closed" if "loop" in where else "pool opened")


def test_error_while_closing_is_reported(
    start: Any, queue: Queue, notes: Path, eventually: Callable[..., Any], capfd: Any
) -> None:
    notes.with_name("fail close").touch()
    running = start(1)
    assert queue.submit(jobs.use, 1).result(60)[2]
    running.signal()
    eventually(running.has_left)
    assert running.status == 0
    assert next(iter(told(notes).values()))[-1] == "pool fails"
    said = capfd.readouterr().err
    assert "the resource resource_jobs.pool was not closed in order: OSError: cannot close" in said


def test_closing_ends_in_time(
    start: Any, queue: Queue, notes: Path, eventually: Callable[..., Any], capfd: Any
) -> None:
    notes.with_name("fail close slowly").touch()
    running = start(1)
    assert queue.submit(jobs.use, 1).result(60)[2]
    running.signal()
    eventually(running.has_left)
    assert running.status == 0
    assert (
        "resource_jobs.pool was not closed in order: TimeoutError: it took more than 5 s"
        in capfd.readouterr().err
    )


def test_replaced_event_loop_gets_its_resources_again(
    consume: Any, queue: Queue, notes: Path, kind: str
) -> None:
    consume(workers=1, kind=kind, modules=("resource_jobs",))
    assert queue.submit(jobs.use_async, 1).result(60)[2]
    if kind != "coroutine":  # its loop only goes on
        with pytest.raises(JobFailed):
            queue.submit(jobs.close_loop).result(60)
    assert queue.submit(jobs.use_async, 1).result(60)[2]


def test_crashed_worker_is_replaced_with_its_resources(
    start: Any, queue: Queue, notes: Path, eventually: Callable[..., Any]
) -> None:
    running = start(1)
    first = queue.submit(jobs.use, 1).result(60)[0]
    (worker,) = running.workers()
    worker.send_signal(signal.SIGKILL)
    found = queue.submit(jobs.use, 1).result(60)
    assert found[0] != first
    assert found[1:] == (1, True)
    assert len(told(notes)) == 2


def test_test_process_has_opened_nothing() -> None:
    assert "resource_jobs.pool" in [one.name for one in resources.registered.resources]
