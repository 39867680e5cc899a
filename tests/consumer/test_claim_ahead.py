"""A worker claims its next batch while it runs one, and no job is worse off for it."""

from __future__ import annotations

import functools
import os
from threading import Event
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import make_worker

from conveyor.consumer import batching, recovery
from conveyor.consumer.health import Isolation
from conveyor.consumer.heartbeat import _held_jobs
from conveyor.consumer.shared_status import HeldBatch
from conveyor.consumer.worker_handle import WorkerHandle
from conveyor.errors import StoreUnavailable
from conveyor.store import commands
from conveyor.tasks import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor import Job, Queue
    from conveyor.consumer.worker_process import WorkerProcess
    from conveyor.store.command import Command

#: Jobs of one batch, those in front of the job that the tests replace, and those behind it.
BATCH, FRONT = 64, 40


class Burst:
    """A queue of tiny jobs, among them one that calls a function of the test, and a worker in this process."""

    def __init__(self, queue: Queue, monkeypatch: pytest.MonkeyPatch, count: int = 2 * BATCH) -> None:
        self.queue, self.calls = queue, 0
        self.handles: list[Job[Any]] = queue.submit_many(jobs.add, [(n, 1) for n in range(FRONT)])
        self.handles += queue.submit_many(jobs.nothing, [()])
        self.handles += queue.submit_many(jobs.add, [(n, 1) for n in range(count - FRONT - 1)])

        @functools.wraps(jobs.nothing)
        def call() -> None:
            self.calls += 1
            self.is_long = True
            self.then()
            self.is_long = False

        monkeypatch.setattr(jobs, "nothing", call)
        registry = Registry()
        registry.load("consumer_jobs")
        self.worker: WorkerProcess = make_worker(queue, queue.client, registry, BATCH)
        self.supervised = WorkerHandle("host/1")
        self.supervised.status = self.worker.status
        self.then: Callable[[], object] = list
        # However slow this host is, only the call of the test takes long.
        poll, self.is_long = self.worker.monitor._poll, False
        monkeypatch.setattr(self.worker.monitor, "_poll", lambda: poll() if self.is_long else None)

    def begin(self) -> None:
        """Run the first batch."""
        self.worker._run_batch(*self.worker._claim())

    def finish(self) -> None:
        """Run everything that is left, and check that each job ran once."""
        while self.worker.jobs_done < len(self.handles):
            ahead = self.worker._ahead
            name, batch = self.worker._claimed_ahead(ahead) if ahead else self.worker._claim()
            assert batch is not None
            self.worker._run_batch(name, batch)
        self.worker.monitor.rest()
        self.worker._settle_all()
        count = self.queue.count()
        assert (count.finished, count.live, count.imbalance) == (len(self.handles), 0, 0)
        assert (self.worker.jobs_done, self.calls) == (len(self.handles), 1)


@pytest.fixture
def burst(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Burst:
    return Burst(queue, monkeypatch)


def test_next_batch_is_claimed_while_one_runs(
    burst: Burst, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr(batching, "BATCH_SECONDS", 60.0)
    leased = BATCH // 2 + BATCH  # half of this one, and the next, whose claim may be on its way
    burst.then = lambda: eventually(lambda: burst.queue.count().leased == leased)
    burst.begin()
    burst.finish()


def test_jobs_claimed_ahead_return_during_a_long_job(burst: Burst, eventually: Callable[..., Any]) -> None:
    burst.then = lambda: eventually(lambda: burst.queue.count().leased == 1)
    burst.begin()
    assert burst.queue.count().qsize == 2 * BATCH - FRONT - 1
    burst.finish()


def test_jobs_claimed_ahead_return_if_a_long_job_holds_the_gil(
    burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BATCH_SECONDS", 60.0)
    monkeypatch.setattr(recovery, "LONG", 0.0)
    burst.then = lambda: recovery.release_stuck_jobs(burst.queue.client, [burst.supervised], Isolation())
    burst.begin()
    assert burst.queue.count().leased == FRONT - BATCH // 2 + 1, "what has run, and the long job"
    burst.finish()


def test_jobs_claimed_ahead_return_when_the_worker_stops(burst: Burst) -> None:
    burst.begin()
    burst.worker._settle_all()
    count = burst.queue.count()
    assert (count.finished, count.leased, count.qsize) == (BATCH, 0, BATCH)
    assert burst.worker._ahead is None
    burst.finish()


def test_earlier_jobs_return_before_those_claimed_ahead(
    burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []
    release = commands.release

    def note(queue: str, token: str, ids: Sequence[str], attempt: bytes = b"") -> Command:
        released.extend(one for one in ids if one not in released)
        return release(queue, token, ids, attempt)

    monkeypatch.setattr(commands, "release", note)
    burst.then = lambda: setattr(burst.worker, "_is_stopping", True)
    burst.begin()
    burst.worker._settle_all()
    assert released == [job.id for job in burst.handles[FRONT + 1 :]]
    burst.worker._is_stopping, burst.then = False, list
    burst.finish()


def test_monitor_takes_back_no_later_claim(burst: Burst, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be slow, as its formatters are, while the long job ends and the worker goes on."""
    monitor, is_noting, goes_on, is_done = burst.worker.monitor, Event(), Event(), Event()
    monkeypatch.setattr(monitor, "_note_arguments", lambda: (is_noting.set(), goes_on.wait(20)))
    release = monitor._release_claimed
    monkeypatch.setattr(monitor, "_release_claimed", lambda *claim: (release(*claim), is_done.set()))
    burst.then = lambda: is_noting.wait(20)
    burst.begin()
    assert burst.worker._ahead is not None
    name, batch = burst.worker._claimed_ahead(burst.worker._ahead)
    assert batch is not None
    assert burst.worker.status.wait()[1] == 0.0, "or the supervisor would take back what runs"
    goes_on.set()
    assert is_done.wait(20)
    assert burst.queue.count().leased == len(batch.jobs)
    burst.worker._run_batch(name, batch)
    burst.finish()


def test_supervisor_returns_an_unread_claim_of_a_stopped_worker(
    burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise StoreUnavailable("away")

    burst.begin()
    burst.worker._is_stopping = True
    monkeypatch.setattr(burst.worker, "_send_once", fail)
    burst.worker._settle_all()
    assert burst.queue.count().leased == BATCH
    recovery.recover(burst.queue.client, burst.supervised, recovery.ORDERLY)
    assert (burst.queue.count().leased, burst.queue.count().qsize) == (0, BATCH)
    burst.worker._is_stopping = False
    burst.finish()


def test_jobs_of_the_batch_before_return_after_a_crash(burst: Burst, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their outcomes may have been on their way."""
    burst.begin()
    assert burst.worker._ahead is not None
    monkeypatch.setattr(burst.worker.pipeline, "send", list)
    name, batch = burst.worker._claimed_ahead(burst.worker._ahead)
    assert batch is not None
    ids = [job.id for job in batch.jobs]
    burst.worker.status.hold(HeldBatch(name, batch.token, burst.worker.status.claim()[0], ids))
    recovery.recover(burst.queue.client, burst.supervised, "SIGKILL")
    count = burst.queue.count()
    assert (count.finished, count.leased, count.qsize) == (BATCH // 2, 0, 2 * BATCH - BATCH // 2)
    burst.worker.monitor.rest()


def test_leases_of_unconfirmed_outcomes_are_renewed(burst: Burst, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a task of the next batch holds the GIL, the worker cannot send them again."""
    burst.begin()
    worker = burst.worker
    assert worker._ahead is not None
    monkeypatch.setattr(worker.pipeline, "send", list)
    name, batch = worker._claimed_ahead(worker._ahead)
    assert batch is not None
    ids = [job.id for job in batch.jobs]
    worker.status.hold(HeldBatch(name, batch.token, worker.status.claim()[0], ids))
    worker.status.start(0, 0.0, 0.0)
    before = [job.id for job in burst.handles[:BATCH]]
    assert [one.id for one in _held_jobs([burst.supervised])] == [*ids, *before]
    worker._replies()
    assert [one.id for one in _held_jobs([burst.supervised])] == ids, "they are confirmed"
    worker.monitor.rest()


def test_single_job_starts_behind_the_outcomes_before_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst = Burst(queue, monkeypatch, BATCH + 1)
    burst.begin()
    assert burst.worker._ahead is not None
    burst.worker._run_batch(*burst.worker._claimed_ahead(burst.worker._ahead))
    assert burst.queue.count().finished == BATCH
    burst.finish()


def test_lost_reply_to_a_claim_ahead_is_asked_for_again(burst: Burst) -> None:
    burst.begin()
    burst.worker.pipeline.drop()
    burst.finish()


@pytest.mark.parametrize("is_between", [False, True])
def test_job_claimed_ahead_is_not_blamed_for_a_crash(
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    is_between: bool,  # noqa: FBT001 - jobs, since it crashes while it reads one
) -> None:
    burst = Burst(queue, monkeypatch, BATCH + 1)

    def crash() -> None:
        if is_between:
            burst.worker.status.end(0)
        recovery.recover(queue.client, burst.supervised, "SIGSEGV")

    burst.then = crash
    burst.begin()
    tries = {job.id: queue.client.run(commands.state(queue.name, job.id)).tries for job in burst.handles}
    assert {one for one, text in tries.items() if text} == {burst.handles[FRONT].id}
    assert queue.count().leased == 0
    burst.worker.monitor.rest()


def test_only_the_first_queue_is_claimed_from_ahead(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    burst = Burst(queue, monkeypatch)
    burst.worker.settings = burst.worker.settings.__class__((f"{queue.name}-urgent", queue.name))
    burst.begin()
    assert burst.worker._ahead is None
    burst.finish()


def test_outcome_waits_for_the_check_if_a_task_has_closed_files(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, forked: Callable[..., str]
) -> None:
    """The descriptor of the connection may be that of a file of the task by now."""

    def order() -> str:
        burst, steps = Burst(queue, monkeypatch, BATCH), []
        worker = burst.worker
        monkeypatch.setattr(worker, "_send_ahead", lambda owed: steps.append(("sent", worker._is_stopping)))
        monkeypatch.setattr(worker, "_await", lambda *_: None)
        worker._trusted = {"consumer_jobs.add", "consumer_jobs.nothing"}
        burst.then = lambda: os.close(worker.process_state._files[-1][0])
        burst.begin()
        worker._claim_when_woken(0.0)
        return str(steps)

    assert forked(order) == "[('sent', True)]"
