"""The memory that a worker and its supervisor share, and what each may conclude from it."""

from __future__ import annotations

from collections import deque

import pytest

from conveyor.consumer import recovery, shared_status
from conveyor.consumer.batching import BATCH_SECONDS, MAX_JOBS, BatchSizer
from conveyor.consumer.shared_status import HeldBatch, SharedStatus
from conveyor.consumer.worker_handle import WorkerHandle, describe_exit


def batch(*ids: str, token: str = "7") -> HeldBatch:
    return HeldBatch("work", token, "nonce", list(ids))


@pytest.fixture
def worker() -> WorkerHandle:
    return WorkerHandle("host/1")


def test_new_status_has_no_batch_and_no_run() -> None:
    status = SharedStatus()
    assert status.held() is None
    assert not status.read().is_running
    assert status.read().state == shared_status.STARTING
    assert status.claim() == ("", "")


def test_batch_is_read_back_and_the_previous_one_is_intact() -> None:
    status = SharedStatus()
    assert status.hold(batch("a", "b")) == 1
    assert status.held() == batch("a", "b")
    before = status.memory[:]
    assert status.hold(batch("c")) == 2
    assert status.held() == batch("c")
    status.memory[8:16] = before[8:16]  # killed before the counter moved on
    assert status.held() == batch("a", "b")


def test_largest_batch_fits() -> None:
    status = SharedStatus()
    largest = HeldBatch("q" * 100, "9" * 20, "n" * 8, ["i" * 64] * MAX_JOBS)
    for _ in range(2):
        status.hold(largest)
        assert status.held() == largest


def test_run_is_read_with_its_own_times() -> None:
    status = SharedStatus()
    status.hold(batch("a", "b"))
    status.start(0, 100.0, 5.0)
    status.end(1)
    assert not status.read().is_running
    status.start(1, 200.0, 0.0)
    reading = status.read()
    assert (reading.position, reading.since, reading.limit, reading.jobs_done) == (1, 200.0, 0.0, 1)


def test_run_times_are_written_before_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    status = SharedStatus()
    status.hold(batch("a"))
    seen: list[tuple[bool, float, float]] = []

    class Watched:
        """Reads the shared memory after each write to it."""

        def __init__(self, inner: memoryview) -> None:
            self.inner = inner

        def __setitem__(self, place: int, value: float) -> None:
            self.inner[place] = value
            reading = status.read()
            seen.append((reading.is_running, reading.since, reading.limit))

        def __getitem__(self, place: int) -> float:
            return self.inner[place]

    for name in ("integers", "floats"):
        monkeypatch.setattr(status, name, Watched(getattr(status, name)))
    status.start(0, 100.0, 5.0)
    assert len(seen) > 1
    assert [runs for runs, *_ in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-1][1:] == (100.0, 5.0)


def test_request_applies_to_a_single_position_of_its_batch() -> None:
    status = SharedStatus()
    number = status.hold(batch("a", "b"))
    status.request(number, 1, shared_status.REQUEST_CANCEL)
    assert status.request_for(number, 1) == shared_status.REQUEST_CANCEL
    assert status.request_for(number, 0) == shared_status.NO_REQUEST
    assert status.request_for(number + 1, 1) == shared_status.NO_REQUEST


def test_long_strings_are_cut_and_odd_strings_survive() -> None:
    status = SharedStatus()
    status.task = "ä" * 1000
    assert status.task.startswith("ää")
    status.error = "\udcff and more"
    assert status.error == "? and more"
    status.set_progress(1, 2, "half")
    assert status.progress()[1:] == (1, 2, "half")
    status.clear_progress()
    assert status.progress() == (0, 0, 0, "")


def test_run_that_changed_during_the_read_is_ignored(
    worker: WorkerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.status.hold(batch("a", "b"))
    worker.status.start(0, 1.0, 0.0)
    assert worker.run_of("", "a") == (worker.status.read(), worker.status.held())
    assert worker.run_of("", "b") is None
    held = worker.status.held

    def slow_look() -> HeldBatch | None:
        found = held()
        worker.status.start(1, 2.0, 0.0)
        return found

    monkeypatch.setattr(worker.status, "held", slow_look)
    assert worker.run_of("", "a") is None


def test_prefetched_jobs_are_taken_from_a_worker_only_once(worker: WorkerHandle) -> None:
    worker.status.hold(batch("a", "b", "c"))
    assert recovery._release_prefetched(worker) == [], "nothing runs"
    worker.status.start(0, 0.0, 0.0)
    (command,) = recovery._release_prefetched(worker)
    assert command.words[-4:] == ("7", b"", "b", "c")
    assert worker.status.is_released(1)
    assert not worker.status.is_released(2)
    assert recovery._release_prefetched(worker) == []


def test_no_job_is_taken_from_a_worker_that_moves_on(
    worker: WorkerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.status.hold(batch("a", "b", "c"))
    worker.status.start(0, 0.0, 0.0)
    take = worker.status.release_rest

    def overtaken(number: int) -> None:
        worker.status.start(1, 0.0, 0.0)
        take(number)

    monkeypatch.setattr(worker.status, "release_rest", overtaken)
    assert recovery._release_prefetched(worker) == []
    assert worker.status.is_released(1), "the worker sees it before it begins the next"


@pytest.mark.parametrize(
    ("status", "told"),
    [(9, "SIGKILL"), (11, "SIGSEGV"), (3 << 8, "exit code 3"), (0, "exit code 0"), (60, "signal 60")],
)
def test_worker_exit_status_is_described(status: int, told: str) -> None:
    assert describe_exit(status) == told


def test_batches_grow_slowly_and_shrink_immediately() -> None:
    sizer = BatchSizer()
    sizes = deque([sizer.size], maxlen=20)
    for _ in range(8):
        sizer.learn(sizer.size, sizer.size * 1e-6)
        sizes.append(sizer.size)
    assert list(sizes)[:4] == [1, 4, 16, 64]
    assert sizes[-1] == MAX_JOBS
    sizer.learn(100, 1.0)
    assert sizer.size == 1
    sizer.size = 500
    sizer.learn(500, 500 * BATCH_SECONDS / 20)
    assert sizer.size == 20
    sizer.learn(0, 0.0)
    assert sizer.size == 20
    sizer.learn(5, 0.0)
    assert sizer.size == 80
    sizer.reset()
    assert sizer.size == 1


def test_arguments_belong_to_the_job_they_were_noted_for() -> None:
    status = SharedStatus()
    status.hold(batch("a"))
    assert status.arguments("a") == ""
    status.set_arguments("a", "text='ä' * 3")
    assert (status.arguments("a"), status.arguments("b")) == ("text='ä' * 3", "")
    status.set_arguments("b" * 64, "ä" * 120)
    assert status.arguments("b" * 64) == "ä" * 120
    assert status.held() == batch("a")
