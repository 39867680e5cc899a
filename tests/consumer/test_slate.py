"""The memory that a worker and its supervisor share, and what each may conclude from it."""

from __future__ import annotations

from collections import deque

import pytest

from conveyor.consumer import relief
from conveyor.consumer import shared_status as slates
from conveyor.consumer.pace import BATCH_SECONDS, MOST_JOBS, Pace
from conveyor.consumer.shared_status import HeldBatch, Slate
from conveyor.consumer.worker_handle import Worker, how_it_ended


def batch(*ids: str, token: str = "7") -> HeldBatch:
    return HeldBatch("work", token, "nonce", list(ids))


@pytest.fixture
def worker() -> Worker:
    return Worker("host/1")


def test_new_status_has_no_batch_and_no_run() -> None:
    slate = Slate()
    assert slate.held() is None
    assert not slate.glance().runs
    assert slate.glance().state == slates.STARTING
    assert slate.claim() == ("", "")


def test_batch_is_read_back_and_the_previous_one_is_intact() -> None:
    slate = Slate()
    assert slate.hold(batch("a", "b")) == 1
    assert slate.held() == batch("a", "b")
    before = slate.memory[:]
    assert slate.hold(batch("c")) == 2
    assert slate.held() == batch("c")
    slate.memory[8:16] = before[8:16]  # killed before the counter moved on
    assert slate.held() == batch("a", "b")


def test_largest_batch_fits() -> None:
    slate = Slate()
    largest = HeldBatch("q" * 100, "9" * 20, "n" * 8, ["i" * 64] * MOST_JOBS)
    for _ in range(2):
        slate.hold(largest)
        assert slate.held() == largest


def test_run_is_read_with_its_own_times() -> None:
    slate = Slate()
    slate.hold(batch("a", "b"))
    slate.start(0, 100.0, 5.0)
    slate.end(1)
    assert not slate.glance().runs
    slate.start(1, 200.0, 0.0)
    glance = slate.glance()
    assert (glance.place, glance.since, glance.limit, glance.jobs_done) == (1, 200.0, 0.0, 1)


def test_run_times_are_written_before_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    slate = Slate()
    slate.hold(batch("a"))
    seen: list[tuple[bool, float, float]] = []

    class Watched:
        """Reads the shared memory after each write to it."""

        def __init__(self, inner: memoryview) -> None:
            self.inner = inner

        def __setitem__(self, place: int, value: float) -> None:
            self.inner[place] = value
            glance = slate.glance()
            seen.append((glance.runs, glance.since, glance.limit))

        def __getitem__(self, place: int) -> float:
            return self.inner[place]

    for name in ("_whole", "_real"):
        monkeypatch.setattr(slate, name, Watched(getattr(slate, name)))
    slate.start(0, 100.0, 5.0)
    assert len(seen) > 1
    assert [runs for runs, *_ in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-1][1:] == (100.0, 5.0)


def test_request_applies_to_a_single_position_of_its_batch() -> None:
    slate = Slate()
    number = slate.hold(batch("a", "b"))
    slate.want(number, 1, slates.WISH_CANCEL)
    assert slate.wish(number, 1) == slates.WISH_CANCEL
    assert slate.wish(number, 0) == slates.NO_WISH
    assert slate.wish(number + 1, 1) == slates.NO_WISH


def test_long_strings_are_cut_and_odd_strings_survive() -> None:
    slate = Slate()
    slate.set_task("ä" * 1000)
    assert slate.task().startswith("ää")
    slate.set_error("\udcff and more")
    assert slate.error() == "? and more"
    slate.set_progress(1, 2, "half")
    assert slate.progress()[1:] == (1, 2, "half")
    slate.clear_progress()
    assert slate.progress() == (0, 0, 0, "")


def test_run_that_changed_during_the_read_is_ignored(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.slate.hold(batch("a", "b"))
    worker.slate.start(0, 1.0, 0.0)
    assert worker.run_of("", "a") == (worker.slate.glance(), worker.slate.held())
    assert worker.run_of("", "b") is None
    held = worker.slate.held

    def slow_look() -> HeldBatch | None:
        found = held()
        worker.slate.start(1, 2.0, 0.0)
        return found

    monkeypatch.setattr(worker.slate, "held", slow_look)
    assert worker.run_of("", "a") is None


def test_prefetched_jobs_are_taken_from_a_worker_only_once(worker: Worker) -> None:
    worker.slate.hold(batch("a", "b", "c"))
    assert relief._give_back(worker) == [], "nothing runs"
    worker.slate.start(0, 0.0, 0.0)
    (command,) = relief._give_back(worker)
    assert command.words[-4:] == ("7", b"", "b", "c")
    assert worker.slate.is_taken(1)
    assert not worker.slate.is_taken(2)
    assert relief._give_back(worker) == []


def test_no_job_is_taken_from_a_worker_that_moves_on(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.slate.hold(batch("a", "b", "c"))
    worker.slate.start(0, 0.0, 0.0)
    take = worker.slate.take_rest

    def overtaken(number: int) -> None:
        worker.slate.start(1, 0.0, 0.0)
        take(number)

    monkeypatch.setattr(worker.slate, "take_rest", overtaken)
    assert relief._give_back(worker) == []
    assert worker.slate.is_taken(1), "the worker sees it before it begins the next"


@pytest.mark.parametrize(
    ("status", "told"),
    [(9, "SIGKILL"), (11, "SIGSEGV"), (3 << 8, "exit code 3"), (0, "exit code 0"), (60, "signal 60")],
)
def test_worker_exit_status_is_described(status: int, told: str) -> None:
    assert how_it_ended(status) == told


def test_batches_grow_slowly_and_shrink_immediately() -> None:
    pace = Pace()
    sizes = deque([pace.size], maxlen=20)
    for _ in range(8):
        pace.learn(pace.size, pace.size * 1e-6)
        sizes.append(pace.size)
    assert list(sizes)[:4] == [1, 4, 16, 64]
    assert sizes[-1] == MOST_JOBS
    pace.learn(100, 1.0)
    assert pace.size == 1
    pace.size = 500
    pace.learn(500, 500 * BATCH_SECONDS / 20)
    assert pace.size == 20
    pace.learn(0, 0.0)
    assert pace.size == 20
    pace.learn(5, 0.0)
    assert pace.size == 80
    pace.reset()
    assert pace.size == 1


def test_arguments_belong_to_the_job_they_were_noted_for() -> None:
    slate = Slate()
    slate.hold(batch("a"))
    assert slate.arguments("a") == ""
    slate.set_arguments("a", "text='ä' * 3")
    assert (slate.arguments("a"), slate.arguments("b")) == ("text='ä' * 3", "")
    slate.set_arguments("b" * 64, "ä" * 120)
    assert slate.arguments("b" * 64) == "ä" * 120
    assert slate.held() == batch("a")
