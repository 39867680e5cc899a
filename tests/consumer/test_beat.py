"""What a supervisor reports of jobs: those that last, from their start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from conveyor import Queue, control
from conveyor.consumer.beat import Beat
from conveyor.inspector import Inspector, workers
from conveyor.store import plain

if TYPE_CHECKING:
    import pytest


class Acting:
    """Stands for a worker: it says that it is at a job, since when `began` says."""

    def __init__(self) -> None:
        self.pid, self.relieved, self.job_id, self.began = 1, 0, "", 0.0
        self.slate = SimpleNamespace(progress=lambda: (0, 0.0, 0.0, ""))
        self.vitals = SimpleNamespace(take=lambda _: (0.0, 0))
        self.now = 100.0

    def running(self) -> None:
        return None

    def job(self) -> tuple[str, str]:
        return "work", self.job_id

    def report(self) -> control.WorkerReport:
        busy_for = self.now - self.began
        return control.WorkerReport("host-1/1", 1, "busy", 7, self.job_id, "cut", "work", busy_for, attempt=1)


def test_a_job_that_has_only_just_begun_is_not_reported_and_one_that_lasts_is_soon(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker: Any = Acting()
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: worker.now)
    beat = Beat(one_server.client, control.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, []))

    def told(at: float, job: str, began: float) -> control.WorkerReport:
        worker.now, worker.job_id, worker.began = at, job, began
        beat.beat([worker])
        (report,) = workers.reports(["host-1"]).ask(one_server.client)
        return report.workers[0]

    first = told(100.0, "short", 99.9)
    assert (first.state, first.queue, first.job, first.task, first.attempt) == ("busy", "work", "", "", 0)
    assert told(100.5, "another", 100.45).job == ""
    lasting = told(101.0, "another", 100.45)
    assert (lasting.job, lasting.task, round(lasting.busy_for, 2)) == ("another", "cut", 0.55)
    assert told(101.5, "a third", 101.4).job == "", "the one before is over"


def test_how_long_a_job_runs_is_told_from_its_start_and_not_as_of_the_last_report(one_server: Any) -> None:
    Queue("work", store=one_server.client).put(1)
    busy = control.WorkerReport("host-1/1", 1, "busy", job="j", busy_for=2.0)
    idle = control.WorkerReport("host-1/2", 2, "idle")
    report = control.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, [busy, idle], at=100.0)
    assert [one.busy_for for one in workers.aged(report, 104.0).workers] == [6.0, 0.0]
    assert workers.aged(report, 90.0) == report, "the clock of its machine is ahead"
    assert workers.aged(report, 9000.0).workers[0].busy_for == 22.0, (
        "it would be gone by then: its clock is wrong"
    )
    now = one_server.raw.time()[0]
    told = control.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, [busy], at=now - 5.0)
    one_server.client.run_all(plain.report("host-1", control.encode(told), now))
    (found,) = Inspector(one_server.client).workers("work")
    assert 7.0 <= found.busy_for < 22.1


def test_supervisor_forgets_unused_queues_once_an_hour(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More queues than one look takes; the one in use stays."""
    worker: Any = Acting()
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: worker.now)
    beat = Beat(server.client, control.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, []))

    def sweep(at: float) -> None:
        for step in range(20):
            worker.now = at + step
            beat.beat([worker])

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
    sweep(3800.0)
    assert server.raw.smembers("conveyor:queues") == {b"work"}
