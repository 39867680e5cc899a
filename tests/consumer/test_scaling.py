"""The number of workers of a running consumer: changed by commands and, between limits, by what waits."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import kind_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import BadCall, Queue
from conveyor.consumer import shared_status
from conveyor.consumer.scaling import Scaling
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.worker_handle import ChildProcess, WorkerHandle
from conveyor.store import records
from conveyor.wire.control_messages import check_scale

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int | None = 1, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("kind_jobs",), **changes)

    return consume_so


def scale(running: Any, number: str) -> str:
    """Scale a consumer, wait until it has, and return its last reply."""
    first, last = running.details(running.command("scale", scale=number), 2)
    assert (first.state, last.state, first.target) == ("acknowledged", "done", running.name)
    return str(last.detail)


def numbers(running: Any) -> list[int]:
    """Return the numbers of the workers that a consumer reports."""
    return sorted(int(one.name.rpartition("/")[2]) for one in running.report().workers)


def held(queue: Queue, path: Path, count: int) -> list[tuple[Any, Path]]:
    """Submit jobs that run until each may go on."""
    paths = [path.with_name(f"held{number}") for number in range(count)]
    return [(queue.submit(jobs.hold, str(one)), one) for one in paths]


def test_workers_are_added_and_removed(start: Any, queue: Queue, path: Path, eventually: Any) -> None:
    running = start(2)
    assert scale(running, "+2") == "2 to 4 workers"
    assert eventually(lambda: numbers(running) == [1, 2, 3, 4])
    assert all(one.result(60) for one in queue.submit_many(jobs.meet, [(str(path), 4)] * 4))
    assert scale(running, "3") == "4 to 3 workers"
    assert scale(running, "-1") == "3 to 2 workers"
    left = eventually(lambda: len(found := numbers(running)) == 2 and found)
    assert scale(running, "+1") == "2 to 3 workers"
    added = min({1, 2, 3} - {*left})
    assert eventually(lambda: numbers(running) == sorted([*left, added])), "the lowest free number"
    assert scale(running, "3") == "3 to 3 workers"


def test_added_worker_is_replaced_after_a_crash(
    start: Any, queue: Queue, path: Path, tmp_path: Path, eventually: Any
) -> None:
    running = start(1)
    scale(running, "+1")
    (one, _), (two, _) = held(queue, path, 2)
    eventually(lambda: all(lines(tmp_path / f"held{number}") for number in range(2)))
    added = running.workers()[-1]
    added.send_signal(signal.SIGKILL)
    eventually(lambda: sum(len(lines(tmp_path / f"held{number}")) for number in range(2)) == 3)
    assert eventually(lambda: numbers(running) == [1, 2])
    for number in range(2):
        go(tmp_path / f"held{number}")
    assert {one.result(60), two.result(60)} == {1, 2}, "the job of the killed process has crashed once"


def test_free_workers_leave_first_and_busy_ones_finish(
    start: Any, queue: Queue, path: Path, eventually: Any
) -> None:
    running = start(3)
    ((job, marks),) = held(queue, path, 1)
    eventually(lambda: lines(marks))
    assert scale(running, "1") == "3 to 1 workers"
    assert eventually(lambda: len(numbers(running)) == 1)
    command = running.command("scale", scale="0")
    assert [one.detail for one in running.details(command, 1)] == ["1 to 0 workers"]
    assert not job.done()
    go(marks)
    assert running.answers(command, 1) == [("", "done")]
    assert job.result(60) == 1
    assert not running.has_left()


def test_consumer_that_is_scaled_to_zero_waits_for_commands(start: Any, queue: Queue, path: Path) -> None:
    running = start(2)
    assert scale(running, "-5") == "2 to 0 workers"
    job = queue.submit(jobs.meet, str(path), 1)
    assert scale(running, "1") == "0 to 1 workers"
    assert job.result(60)
    assert scale(running, "0") == "1 to 0 workers"
    assert running.answers(running.command("stop"), 2) == [("", "acknowledged"), ("", "done")]
    running.popen.wait(30)


def test_stopped_worker_no_longer_counts(start: Any, queue: Queue, eventually: Any) -> None:
    running = start(3)
    assert running.answers(running.command("stop", 2), 2) == [("/2", "acknowledged"), ("/2", "done")]
    assert eventually(lambda: numbers(running) == [1, 3])
    assert scale(running, "+1") == "2 to 3 workers"
    assert eventually(lambda: numbers(running) == [1, 2, 3])


def test_workers_that_are_added_to_a_paused_consumer_are_paused(
    start: Any, queue: Queue, path: Path, eventually: Any
) -> None:
    running = start(1)
    running.answers(running.command("pause"), 4)
    scale(running, "+1")
    assert eventually(lambda: [one.state for one in running.report().workers] == ["paused"] * 2)
    job = queue.submit(jobs.meet, str(path), 1)
    scale(running, "0")
    assert running.answers(running.command("pause"), 2) == [("", "acknowledged"), ("", "done")]
    scale(running, "1")
    assert eventually(lambda: [one.state for one in running.report().workers] == ["paused"])
    assert not job.done()
    running.command("resume")
    assert job.result(60)


def test_paused_and_killed_worker_returns_unpaused(start: Any, queue: Queue, path: Path) -> None:
    running = start(2)
    running.answers(running.command("pause", 2), 2)
    running.answers(running.command("stop", 2), 2)
    scale(running, "+1")
    assert all(one.result(60) for one in queue.submit_many(jobs.meet, [(str(path), 2)] * 2))


def test_consumer_that_exits_is_not_scaled(start: Any, queue: Queue, path: Path, eventually: Any) -> None:
    running = start(1)
    ((job, marks),) = held(queue, path, 1)
    eventually(lambda: lines(marks))
    running.command("stop")
    (reply,) = running.details(running.command("scale", scale="+1"), 1)
    assert (reply.state, reply.detail) == ("gone", "it is exiting")
    go(marks)
    assert job.result(60) == 1
    running.popen.wait(30)


def test_fixed_number_is_not_automatic(start: Any) -> None:
    running = start(1)
    (reply,) = running.details(running.command("scale", scale="auto"), 1)
    assert (reply.state, reply.detail) == ("refused", "it was started with a fixed number of workers")
    (reply,) = running.details(running.command("scale", scale="many"), 1)
    assert reply.state == "refused"


def test_number_of_workers_follows_what_waits(start: Any, queue: Queue, path: Path, eventually: Any) -> None:
    running = start(None, min_workers=1, max_workers=4)
    assert numbers(running) == [1]
    assert (running.report().min_workers, running.report().max_workers) == (1, 4)
    some = held(queue, path, 6)
    eventually(lambda: sum(bool(lines(marks)) for _, marks in some) == 4)
    assert eventually(lambda: len(running.report().workers) == 4)
    for _, marks in some[1:]:
        go(marks)
    assert [job.result(60) for job, _ in some[1:]] == [1] * 5
    if running.report().kind == "process":
        assert eventually(lambda: len(running.report().workers) == 1, 30)
    ((kept, marks), *_) = some
    assert not kept.done(), "no job is interrupted"
    go(marks)
    assert kept.result(60) == 1
    assert eventually(lambda: len(running.report().workers) == 1, 30)
    assert lines(marks) == ["began 1", "ended"]


def test_automatic_consumer_outlives_its_last_worker(start: Any, queue: Queue, eventually: Any) -> None:
    running = start(None, min_workers=1, max_workers=2)
    for verb in ("stop", "kill"):
        running.answers(running.command(verb, 1), 2)
        assert eventually(lambda: numbers(running) == [])
        assert queue.submit(jobs.meet, os.devnull, 0).result(30), "workers are added once jobs wait"
        assert eventually(lambda: numbers(running) == [1])
    running.answers(running.command("stop"), 4)
    assert running.popen.wait(30) == 0


def test_scaled_number_stays_until_it_is_automatic_again(
    start: Any, queue: Queue, path: Path, eventually: Any
) -> None:
    running = start(None, min_workers=1, max_workers=2)
    scale(running, "0")
    some = held(queue, path, 3)
    assert eventually(lambda: running.report().max_workers == 0)
    assert scale(running, "auto") == "0 to 1 workers"
    eventually(lambda: sum(bool(lines(marks)) for _, marks in some) == 2)
    assert eventually(lambda: running.report().max_workers == 2)
    for _, marks in some:
        go(marks)
    assert [job.result(60) for job, _ in some] == [1, 1, 1]


def test_paused_queue_and_delayed_jobs_need_no_workers(queue: Queue) -> None:
    waiting = records.waiting_count([queue.name, "other"])
    queue.put_many([1, 2, 3])
    queue.submit(jobs.meet.options(delay=60), "", 1)
    assert waiting.ask(queue.client) == 3
    queue.pause()
    assert waiting.ask(queue.client) == 0


def test_pool_until_empty_grows_and_ends(start: Any, queue: Queue, path: Path, eventually: Any) -> None:
    submitted = queue.submit_many(jobs.meet, [(str(path), 3)] * 3)
    running = start(None, min_workers=1, max_workers=3, until_empty=True)
    assert all(one.result(60) for one in submitted)
    eventually(running.has_left)
    assert running.status == 0


@pytest.mark.parametrize("text", ["+2", "-1", "0", "+0", "1000", "auto"])
def test_valid_numbers(text: str) -> None:
    assert check_scale(text) == text


@pytest.mark.parametrize("text", ["", "two", "+", "--1", "1001", "+1001", "1.5", " 1", "٣", "AUTO"])
def test_invalid_numbers_are_refused(text: str) -> None:
    with pytest.raises(BadCall, match="invalid number of workers"):
        check_scale(text)


class Pool:
    """Workers without processes, and what scales them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.workers: dict[str, WorkerHandle] = {}
        self.to_start: dict[str, float] = {}
        self.scaling = Scaling("host", ConsumerSettings(**settings), self.workers, self.to_start)
        self.waiting = 0
        self.now = 1000.0
        monkeypatch.setattr("conveyor.consumer.scaling.clock.monotonic", lambda: self.now)
        monkeypatch.setattr("conveyor.consumer.scaling.records.waiting_count", lambda _: self)
        monkeypatch.setattr(ChildProcess, "signal", lambda *_: None)
        self.scaling.start()
        self.start()

    def ask(self, _: Any, **__: Any) -> int:
        return self.waiting

    def start(self) -> None:
        """Start what is planned."""
        by_process: dict[int, list[WorkerHandle]] = {}
        for name in self.to_start:
            by_process.setdefault(self.scaling.process_of[name], []).append(WorkerHandle(name))
        for some in by_process.values():
            ChildProcess(some)
            for one in some:
                one.status.state = shared_status.IDLE
                self.workers[one.name] = one
        self.to_start.clear()

    def follow(self, waiting: int = 0, busy: str = "") -> list[str]:
        """Advance the clock, with some busy workers; return the numbers of all."""
        self.now += 0.6
        self.waiting = waiting
        for name, one in self.workers.items():
            one.status.state = shared_status.BUSY if name[-1] in busy else shared_status.IDLE
        self.scaling.follow(None)  # type: ignore[arg-type]
        self.start()
        for name in [name for name, one in self.workers.items() if one.verb]:
            del self.workers[name]
        return [name.removeprefix("host/") for name in sorted(self.workers)]


def test_as_many_are_added_as_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(monkeypatch, min_workers=2, max_workers=6)
    assert pool.follow() == ["1", "2"]
    assert pool.follow(waiting=1, busy="1") == ["1", "2"], "a free one takes it"
    assert pool.follow(waiting=2, busy="12") == ["1", "2", "3", "4"]
    assert pool.follow(waiting=100, busy="1234") == ["1", "2", "3", "4", "5", "6"]
    for _ in range(12):
        assert len(pool.follow(busy="16")) == 6
    for _ in range(12):
        left = pool.follow(busy="16")
    assert left == ["1", "6"], "busy ones stay"
    for _ in range(20):
        left = pool.follow()
    assert left == ["1", "6"], "never fewer than the minimum"


def test_crew_grows_by_few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(monkeypatch, min_workers=1, max_workers=8, kind="thread")
    assert len(pool.follow(waiting=1, busy="1")) == 2
    assert len(pool.follow(waiting=1, busy="12")) == 4, "it doubles, or there would be many small processes"
    assert len(pool.follow(waiting=9, busy="1234")) == 8
    assert len({one.process for one in pool.workers.values()}) == 4
    for _ in range(20):
        left = pool.follow(busy="3")
    assert left == ["3"], "those of the last process leave first, and no busy one"


def test_paused_consumer_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(monkeypatch, min_workers=1, max_workers=6)
    pool.workers["host/1"].status.pause_requested = 1
    assert pool.follow(waiting=100) == ["1"]
    pool.workers["host/1"].status.pause_requested = 0
    assert len(pool.follow(waiting=100)) == 6


def test_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(monkeypatch, workers=2)
    assert pool.scaling.handle("+999") == (2, 1000)
    assert pool.scaling.handle("-1000") == (1000, 0)
    assert pool.scaling.is_kept
