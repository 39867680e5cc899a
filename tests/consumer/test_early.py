"""Between a claim and the start of a run: a cancellation, or a release by the supervisor."""

from __future__ import annotations

from threading import Event, current_thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import lines

from conveyor import Queue, clock
from conveyor.consumer import control as controls
from conveyor.consumer import shared_status
from conveyor.consumer.control import ControlHandler
from conveyor.consumer.execution import Executor
from conveyor.consumer.process_state import ProcessState
from conveyor.consumer.scaling import Scaling
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.shared_status import HeldBatch, SharedStatus
from conveyor.consumer.worker_handle import WorkerHandle
from conveyor.consumer.worker_process import WorkerProcess
from conveyor.errors import StoreUnavailable
from conveyor.monitor import Inspector
from conveyor.store import commands, keys, scripts
from conveyor.tasks import Registry
from conveyor.wire import control_messages, ids
from conveyor.wire.call import Call
from conveyor.wire.codec import Raw, encode
from conveyor.wire.outcome import Cancel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conveyor.store import Client


class OneWorker:
    """The handler of control commands to a consumer with one worker, which holds two jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worker = WorkerHandle("host/1")
        self.workers = {"host/1": worker}
        scaling = Scaling("host", ConsumerSettings(), self.workers, {})
        self.handler = ControlHandler("host", self.workers, {}, lambda *_: None, lambda: None, scaling)
        self.signals: list[int] = []
        monkeypatch.setattr(worker.process, "signal", self.signals.append)
        worker.status.hold(HeldBatch("work", "7", "nonce", ["a", "b"]))
        self.status = worker.status


CANCEL_A = control_messages.ControlCommand("order", "cancel", job="a")


def test_early_cancellation_is_kept_until_the_run_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor = OneWorker(monkeypatch)
    handler = supervisor.handler
    handler.handle(CANCEL_A)
    handler.poll()
    assert supervisor.signals == []
    supervisor.status.start(0, 0.0, 0.0)
    handler.poll()
    assert len(supervisor.signals) == 1
    assert supervisor.status.request_for(1, 0) == shared_status.REQUEST_CANCEL
    assert not handler._early
    handler.handle(CANCEL_A)
    assert len(supervisor.signals) == 1, "asked twice, told once"


def test_early_cancellation_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = OneWorker(monkeypatch)
    handler = supervisor.handler
    monkeypatch.setattr(controls, "EARLY", -1.0)
    handler.handle(CANCEL_A)
    handler.poll()
    assert not handler._early


@pytest.mark.parametrize("running", [1, 0])
def test_cancellation_applies_to_a_job_of_its_queue_only(
    monkeypatch: pytest.MonkeyPatch, running: int
) -> None:
    supervisor = OneWorker(monkeypatch)
    monkeypatch.setattr("conveyor.consumer.control.EARLY", 60.0)  # the machine may be busy
    worker, signals = WorkerHandle("host/2"), []
    monkeypatch.setattr(worker.process, "signal", signals.append)
    worker.status.hold(HeldBatch("other", "8", "nonce", ["a"]))
    supervisor.workers["host/2"] = worker
    handler = supervisor.handler
    if running:
        supervisor.status.start(0, 0.0, 0.0)
        worker.status.start(0, 0.0, 0.0)
    handler.handle(control_messages.ControlCommand("order", "cancel", job="a", queue="work"))
    worker.status.start(0, 0.0, 0.0)
    handler.poll()
    assert signals == []
    assert len(supervisor.signals) == running
    supervisor.status.start(0, 0.0, 0.0)
    handler.poll()
    assert len(supervisor.signals) == 1
    assert supervisor.workers["host/1"].cancelling == ("work", "a")
    assert signals == []


def test_cancellation_does_not_interrupt_an_import() -> None:
    executor, current = Executor(Registry()), SimpleNamespace(cancelled=False)

    def find(_: str) -> Any:
        current.cancelled = True
        executor.interrupt()
        return jobs.task(name="note")(lambda: None)

    executor.registry.find = find  # type: ignore[method-assign]
    job: Any = Call("note", Raw(encode([])), Raw(encode({})), 0.0)
    told: Any = current
    assert type(executor.run(job, told, 0, lambda: None)) is Cancel
    assert executor.knows("note"), "it was found all the same"


def test_cancellation_swallowed_by_a_preview_is_kept() -> None:
    registry, ran = Registry(), []
    registry.add(jobs.task(name="note")(lambda: ran.append(1)))
    job = Call("note", Raw(encode([])), Raw(encode({})), 0.0)
    current: Any = SimpleNamespace(cancelled=False)
    outcome = Executor(registry).run(job, current, 0, lambda: setattr(current, "cancelled", True))
    assert type(outcome) is Cancel
    assert ran == []


def test_released_jobs_are_not_run_by_their_worker(queue: Queue, path: Path) -> None:
    status, registry = SharedStatus(), Registry()

    def first(path: str) -> None:
        jobs.mark(path, "first")
        status.release_rest(1)

    registry.add(jobs.task(name="consumer_jobs.mark")(jobs.mark))
    registry.add(jobs.task(name="first")(first))
    queue.submit_many(registry.find("first"), [(str(path),)])
    handles = queue.submit_many(jobs.mark, [(str(path), "other")] * 2)
    worker = WorkerProcess("host/1", ConsumerSettings(), status, queue.client, registry)
    worker.process_state = ProcessState()
    nonce = ids.unique(8)
    status.set_claim(queue.name, nonce)
    batch: Any = queue.client.run(commands.claim(queue.name, worker.name, nonce, 3, 15.0))
    worker._run_batch(queue.name, batch)
    worker.monitor.rest()
    queue.client.run_all(worker.settler.commands())
    assert lines(path) == ["first"]
    assert [line.id for line in Inspector(queue.client).jobs(queue.name)] == [job.id for job in handles]
    assert not status.read().is_running


class Gate:
    """A client whose monitor is stopped before it sends, until the gate is opened."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.reached, self.opened, self.passed = Event(), Event(), Event()

    def run_all(self, told: Sequence[Any], **options: Any) -> list[Any]:
        if current_thread().name != "conveyor-batch-monitor":
            return self.client.run_all(told, **options)
        self.reached.set()
        self.opened.wait(20)
        answers = self.client.run_all(told, **options)
        self.passed.set()
        return answers


def test_next_claim_does_not_overtake_the_monitor(server: Any) -> None:
    queue = Queue("gated", store=server.url)
    queue.client.run_all(commands.load_scripts())  # as every consumer does
    gate, registry = Gate(queue.client), Registry()
    long = jobs.task(name="long")(lambda: gate.reached.wait(20))
    registry.add(long)
    registry.add(jobs.task(name="consumer_jobs.nothing")(jobs.nothing))
    client: Any = gate
    worker = WorkerProcess("host/1", ConsumerSettings((queue.name,)), SharedStatus(), client, registry)
    worker.process_state = ProcessState()
    done, running, *rest = [
        *queue.submit_many(jobs.nothing, [()]),
        queue.submit(long),
        *queue.submit_many(jobs.nothing, [()] * 3),
    ]
    worker.sizer.size = 4
    worker._run_batch(*worker._claim())
    assert gate.reached.is_set()
    worker.sizer.size = 2
    _, batch = worker._claim()
    assert batch
    assert [job.id for job in batch.jobs] == [job.id for job in rest[:2]]
    gate.opened.set()
    assert gate.passed.wait(20)
    count = queue.count()
    assert (count.ready, count.leased, count.finished, count.imbalance) == (1, 2, 2, 0)
    assert done.done()
    assert running.done()
    assert worker.monitor.take_unconfirmed() == []
    worker.monitor.rest()


class AwayOnce:
    """A client that gets no answer the first time that the monitor sends something."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.was_away = False

    def run_all(self, told: Sequence[Any], **options: Any) -> list[Any]:
        if current_thread().name == "conveyor-batch-monitor" and not self.was_away:
            self.was_away = True
            raise StoreUnavailable
        return self.client.run_all(told, **options)


def test_monitor_resends_results_while_a_job_runs(
    queue: Queue, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.consumer.batching.MAX_BLOCK", 0.05)
    registry = Registry()
    long = jobs.task(name="long")(lambda: eventually(lambda: queue.count().finished, 20))
    registry.add(long)
    registry.add(jobs.task(name="consumer_jobs.nothing")(jobs.nothing))
    client: Any = AwayOnce(queue.client)
    worker = WorkerProcess("host/1", ConsumerSettings((queue.name,)), SharedStatus(), client, registry)
    worker.process_state = ProcessState()
    queue.submit_many(jobs.nothing, [()])
    running = queue.submit(long)
    worker.sizer.size = 2
    worker._run_batch(*worker._claim())
    assert client.was_away
    eventually(lambda: worker.status.settled_batch == worker.batch_number, 20)
    worker._claim()
    assert running.result(30) == 1
    worker.monitor.rest()


def test_server_knows_all_verbs_if_a_consumer_is_up(
    one_server: Any, queue: Queue, consume: Callable[..., Any]
) -> None:
    one_server.raw.script_flush()
    consume()
    known = one_server.raw.script_exists(*(scripts.load(name).sha for name in scripts.names()))
    assert all(known)


def stopped(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a suspension of the host for `seconds`: only the clock that includes suspensions advances."""
    usual = clock.boottime
    monkeypatch.setattr(clock, "boottime", lambda: usual() + seconds)


@pytest.mark.parametrize("lost", [(0,), (1, 2), (0, 1, 2), ()])
def test_worker_stopped_before_the_start_runs_only_its_own_jobs(
    server: Any, path: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]
) -> None:
    queue, registry = Queue("stopped", store=server.url), Registry()
    registry.add(jobs.task(name="consumer_jobs.mark")(jobs.mark))
    handles = queue.submit_many(jobs.mark, [(str(path), str(number)) for number in range(3)])
    worker = WorkerProcess("host/1", ConsumerSettings((queue.name,)), SharedStatus(), queue.client, registry)
    worker.process_state = ProcessState()
    worker.sizer.size = 3
    monkeypatch.setattr(worker.monitor, "watch", lambda *_: None)  # it would help on a slow host
    name, batch = worker._claim()
    assert batch
    assert len(batch.jobs) == 3
    for number in lost:  # no one renews the leases, and others take the jobs
        server.raw.zadd(keys.key(queue.name, "leased"), {handles[number].id: 1})
        again: Any = queue.client.run(commands.claim(queue.name, "other", f"n{number}", 1, 60.0))
        assert [job.id for job in again.jobs] == [handles[number].id]
    stopped(16.0, monkeypatch)
    worker._run_batch(name, batch)
    queue.client.run_all(worker.settler.commands())
    assert lines(path) == [str(number) for number in range(3) if number not in lost]
    count = queue.count()
    assert (count.finished, count.leased, count.imbalance) == (3 - len(lost), len(lost), 0)


def test_batch_costs_no_extra_query_if_no_job_was_stopped(
    server: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, registry = Queue("brisk", store=server.url), Registry()
    registry.add(jobs.task(name="consumer_jobs.mark")(jobs.mark))
    queue.submit_many(jobs.mark, [(str(path), "x")] * 3)
    worker = WorkerProcess("host/1", ConsumerSettings((queue.name,)), SharedStatus(), queue.client, registry)
    worker.process_state = ProcessState()
    worker.sizer.size = 3
    monkeypatch.setattr(worker.monitor, "watch", lambda *_: None)  # it would help on a slow host
    name, batch = worker._claim()
    assert batch
    monkeypatch.setattr(worker, "_send", None)
    worker._run_batch(name, batch)
    assert lines(path) == ["x"] * 3


def test_cancellation_of_an_earlier_run_spares_a_later_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation may wait for a suspended supervisor while the job fails and is retried."""
    supervisor = OneWorker(monkeypatch)
    supervisor.status.start(0, 0.0, 0.0)
    handler = supervisor.handler
    handler.handle(control_messages.ControlCommand("late", "cancel", job="a", queue="work", token="6"))
    handler.poll()
    assert supervisor.signals == []
    handler.handle(control_messages.ControlCommand("order", "cancel", job="a", queue="work", token="7"))
    assert len(supervisor.signals) == 1
