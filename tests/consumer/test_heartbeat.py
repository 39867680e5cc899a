"""Job reports of a supervisor: only lasting jobs, measured from their start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from conveyor import Queue, clock
from conveyor.consumer.heartbeat import Heartbeat
from conveyor.errors import StoreUnavailable
from conveyor.monitor import Inspector, workers
from conveyor.store import control_channel
from conveyor.wire import control_messages

if TYPE_CHECKING:
    import pytest


class Acting:
    """Stands for a worker: it reports a job, since `began`."""

    def __init__(self) -> None:
        self.pid, self.released_batch, self.job_id, self.began = 1, 0, "", 0.0
        self.status = SimpleNamespace(progress=lambda: (0, 0.0, 0.0, ""))
        usage = SimpleNamespace(read=lambda _: (0.0, 0))
        self.process = SimpleNamespace(workers=[self], usage=usage)
        self.now = 100.0

    def running(self) -> None:
        return None

    def resting(self) -> None:
        return None

    def jobs(self) -> tuple[str, list[str]]:
        return "work", [self.job_id] if self.job_id else []

    def report(self) -> control_messages.WorkerReport:
        busy_for = self.now - self.began
        return control_messages.WorkerReport(
            "host-1/1", 1, "busy", 7, self.job_id, "cut", "work", busy_for, attempt=1
        )


def test_heartbeat_reports_long_jobs_but_not_new_ones(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker: Any = Acting()
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: worker.now)
    heartbeat = Heartbeat(
        one_server.client, control_messages.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, [])
    )

    def told(at: float, job: str, began: float) -> control_messages.WorkerReport:
        worker.now, worker.job_id, worker.began = at, job, began
        heartbeat.send([worker])
        (report,) = workers.reports(["host-1"]).ask(one_server.client)
        return report.workers[0]

    first = told(100.0, "short", 99.9)
    assert (first.state, first.queue, first.job, first.task, first.attempt) == ("busy", "work", "", "", 0)
    assert told(100.5, "another", 100.45).job == ""
    lasting = told(101.0, "another", 100.45)
    assert (lasting.job, lasting.task, round(lasting.busy_for, 2)) == ("another", "cut", 0.55)
    assert told(101.5, "a third", 101.4).job == "", "the one before is over"


def test_progress_of_equal_ids_on_two_queues_is_sent_once_each(one_server: Any) -> None:
    acting: list[Any] = [Acting(), Acting()]
    for counter, (queue, worker) in enumerate(zip(("pdf", "mail"), acting, strict=True), 1):
        worker.jobs = lambda queue=queue: (queue, ["invoice-17"])
        worker.status = SimpleNamespace(progress=lambda counter=counter: (counter, 1.0, 2.0, ""))
    heartbeat = Heartbeat(
        one_server.client, control_messages.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, [])
    )
    assert len(heartbeat._new_progress(acting)) == 2
    assert heartbeat._new_progress(acting) == []


def test_run_time_is_measured_from_the_start_of_the_job(one_server: Any) -> None:
    Queue("work", store=one_server.client).put(1)
    busy = control_messages.WorkerReport("host-1/1", 1, "busy", job="j", busy_for=2.0)
    idle = control_messages.WorkerReport("host-1/2", 2, "idle")
    report = control_messages.ConsumerReport(
        "host-1", "host", 1, ["work"], "process", 0.0, [busy, idle], at=100.0
    )
    assert [one.busy_for for one in workers.aged(report, 104.0).workers] == [6.0, 0.0]
    assert workers.aged(report, 90.0) == report, "the clock of its machine is ahead"
    assert workers.aged(report, 9000.0).workers[0].busy_for == 22.0, (
        "it would be gone by then: its clock is wrong"
    )
    now = one_server.raw.time()[0]
    told = control_messages.ConsumerReport(
        "host-1", "host", 1, ["work"], "process", 0.0, [busy], at=now - 5.0
    )
    one_server.client.run(control_channel.report("host-1", control_messages.encode(told), now))
    (found,) = Inspector(one_server.client).workers("work")
    assert 7.0 <= found.busy_for < 22.1


def test_supervisor_forgets_unused_queues_once_an_hour(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more queues than one query covers; the one in use stays."""
    worker: Any = Acting()
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: worker.now)
    heartbeat = Heartbeat(
        server.client, control_messages.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, [])
    )

    def sweep(at: float) -> None:
        for step in range(20):
            worker.now = at + step
            heartbeat.send([worker])

    names = [f"once{number}" for number in range(300)]
    long_ago = server.raw.time()[0] * 1000 - 31 * 86_400_000
    for name in names:
        server.raw.sadd("conveyor:queues", name)
        server.raw.hset(f"conveyor:{{{name}}}:meta", mapping={"version": 1, "unused": f"  {long_ago}"})
    Queue("work", store=server.client).put(1)
    sweep(100.0)
    assert server.raw.scard("conveyor:queues") == 301
    sweep(170.0)
    assert server.raw.smembers("conveyor:queues") == {b"work"}
    assert server.raw.keys("conveyor:{once*") == []
    server.raw.sadd("conveyor:queues", "once")
    server.raw.hset("conveyor:{once}:meta", mapping={"version": 1, "unused": f"  {long_ago}"})
    sweep(3600.0)
    assert server.raw.scard("conveyor:queues") == 2
    server.raw.delete("conveyor:sweep")  # an hour is over on the server, too
    sweep(3800.0)
    assert server.raw.smembers("conveyor:queues") == {b"work"}


def test_single_consumer_an_hour_sweeps_in_few_round_trips(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker: Any = Acting()
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: worker.now)
    monkeypatch.setattr("conveyor.store.forgetting.FORGET_WITHIN", 30.0)  # the machine may be busy
    client, trips = server.client, []
    beats = [
        Heartbeat(client, control_messages.ConsumerReport(name, "host", 1, ["work"], "process", 0.0, []))
        for name in "ab"
    ]
    long_ago = server.raw.time()[0] * 1000 - 31 * 86_400_000
    for number in range(300):
        server.raw.sadd("conveyor:queues", f"once{number}")
        server.raw.hset(f"conveyor:{{once{number}}}:meta", mapping={"version": 1, "unused": f"  {long_ago}"})
    for one in beats:
        one._sweep_at = 0.0
    run_all = client.run_all
    monkeypatch.setattr(
        client, "run_all", lambda told, **limits: trips.append(told) or run_all(told, **limits)
    )
    for _ in range(40):
        for one in beats:
            trips.clear()
            one._sweep(worker.now) if worker.now >= one._sweep_at else None
            assert len(trips) <= 6
            assert one is beats[0] or len(trips) <= 1, "the other one has begun"
    assert server.raw.keys("conveyor:{once*") == []
    assert server.raw.scard("conveyor:queues") == 0


def test_failing_sweep_does_not_disturb_a_heartbeat(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = Heartbeat(
        one_server.client, control_messages.ConsumerReport("a", "host", 1, ["work"], "process", 0.0, [])
    )

    def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("conveyor.store.forgetting.forget_unused", fail)
    heartbeat._sweep_at = 0.0
    heartbeat.send([])
    assert heartbeat._sweep_at > clock.monotonic() + 3000.0


def test_gauges_of_many_queues_are_queried_in_batches(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"work{number}" for number in range(50)]
    for name in names:
        Queue(name, store=one_server.client).put(1)
    heartbeat = Heartbeat(
        one_server.client, control_messages.ConsumerReport("a", "host", 1, names, "process", 0.0, [])
    )
    run_all, asked = one_server.client.run_all, []

    def watch(told: Any, **limits: Any) -> Any:
        asked.append(sum(one.script is not None and one.script.name == "rows" for one in told))
        return run_all(told, **limits)

    monkeypatch.setattr(one_server.client, "run_all", watch)
    for _ in range(4):
        heartbeat._gauge_at = 0.0
        heartbeat.send([])
    assert max(asked) <= 16
    assert len(one_server.raw.keys("conveyor:{work*}:minute:*")) == len(names)


def test_gauges_without_a_reply_do_not_make_the_server_silent(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: now)
    Queue("work", store=one_server.client).put(1)
    heartbeat = Heartbeat(
        one_server.client, control_messages.ConsumerReport("a", "host", 1, ["work"], "process", 0.0, [])
    )
    tries: list[float] = []

    def fail(_: Any) -> Any:
        tries.append(now)
        raise StoreUnavailable

    monkeypatch.setattr("conveyor.store.records.oldest_waiting", fail)
    for now in (100.0, 101.0, 109.0, 110.0):  # noqa: B007 - the clock
        heartbeat.send([])
    assert tries == [100.0, 110.0]
