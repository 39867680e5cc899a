"""Leases: a notice of the server ends only the run of the worker, batch and position it is meant for."""

from __future__ import annotations

import itertools
import math
import signal
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import go, lines

from conveyor import Queue
from conveyor.consumer import shared_status
from conveyor.consumer.control import ControlHandler
from conveyor.consumer.heartbeat import Heartbeat
from conveyor.consumer.scaling import Scaling
from conveyor.consumer.settings import ConsumerSettings
from conveyor.consumer.shared_status import HeldBatch
from conveyor.consumer.worker_handle import WorkerHandle
from conveyor.store import commands, connect, keys
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.store.command import Command

_numbers = itertools.count(1)


@pytest.fixture
def queue(one_server: Any) -> Queue:
    """Return a queue."""
    return Queue(f"leased{next(_numbers)}", store=connect(one_server.url))


def leases(one_server: Any, queue: Queue) -> dict[bytes, float]:
    """Return when the leases of a queue end."""
    return dict(one_server.raw.zrange(keys.key(queue.name, "leased"), 0, -1, withscores=True))


def renewals(one_server: Any, queue: Queue, eventually: Callable[..., Any], times: int) -> None:
    """Wait until the leases of a queue that do not end meanwhile have been renewed so often."""
    for _ in range(times):
        before = leases(one_server, queue)

        def are_renewed(before: dict[bytes, float] = before) -> bool:
            now = leases(one_server, queue)
            return bool(now) and all(now.get(one, math.inf) > end for one, end in before.items())

        eventually(are_renewed)


@pytest.mark.usefixtures("short_lease")
def test_released_jobs_run_elsewhere_undisturbed(
    one_server: Any,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    running = consume(workers=2)
    _, second = eventually(lambda: len(running.workers()) == 2 and running.workers())
    eventually(lambda: {one.state for one in running.report().workers} == {"idle"})
    second.suspend()
    queue.pause()
    queue.submit_many(jobs.nothing, [()] * 600)
    held = queue.submit_many(jobs.hold, [(str(path), "first"), (str(path), "second")])
    queue.resume()
    eventually(lambda: lines(path))
    second.resume()
    eventually(lambda: len(lines(path)) == 2)
    renewals(one_server, queue, eventually, 3)
    go(path)
    assert [job.result(30) for job in held] == ["first", "second"]
    queue.join(10)
    assert (queue.count().cancelled, queue.count().finished) == (0, 602)
    assert len(lines(path)) == 2


@pytest.mark.usefixtures("short_lease")
def test_lost_lease_ends_only_its_own_run(
    one_server: Any,
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    running = consume(workers=2)
    first, second = eventually(lambda: len(running.workers()) == 2 and running.workers())
    eventually(lambda: {one.state for one in running.report().workers} == {"idle"})
    first.suspend()
    job = queue.submit(jobs.hold, str(path), "it")
    eventually(lambda: lines(path))
    first.resume()
    running.signal(signal.SIGSTOP)
    eventually(lambda: len(lines(path)) == 2)
    assert [int(line.split()[1]) for line in lines(path)] == [second.pid, first.pid]
    running.signal(signal.SIGCONT)
    renewals(one_server, queue, eventually, 3)
    go(path)
    assert job.result(30) == "it"
    eventually(lambda: running.report().workers[1].state == "idle")
    assert len(lines(path)) == 2
    assert queue.count().cancelled == 0
    told = capfd.readouterr().err
    assert f"worker {running.name}/2 lost its lease of job {job.id}" in told


class TwoWorkers:
    """Two workers with a heartbeat and a control handler; the second one runs a job the first one held before."""

    def __init__(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = queue.client
        self.jobs = [job.id for job in queue.submit_many(jobs.nothing, [()] * 3)]
        self.signals: list[str] = []
        self.workers: dict[str, WorkerHandle] = {}
        for number, want in ((1, 3), (2, 1)):
            worker = self.workers[f"host/{number}"] = WorkerHandle(f"host/{number}")
            monkeypatch.setattr(
                worker.process, "signal", lambda _, name=worker.name: self.signals.append(name)
            )
            batch = queue.client.run(commands.claim(queue.name, worker.name, f"n{number}", want, 60.0))
            names = [job.id for job in batch.jobs]
            worker.status.hold(HeldBatch(queue.name, batch.token, f"n{number}", names))
            if number == 1:
                queue.client.run(commands.release(queue.name, batch.token, self.jobs[1:]))
        self.heartbeat = Heartbeat(
            queue.client, control_messages.ConsumerReport("host", "host", 1, [queue.name], "process", 0.0, [])
        )
        scaling = Scaling("host", ConsumerSettings(), self.workers, {})
        self.handler = ControlHandler(
            "host", self.workers, {}, lambda *_: None, self.heartbeat.hurry, scaling
        )

    def start(self, number: int, place: int) -> None:
        self.workers[f"host/{number}"].status.start(place, 0.0, 0.0)

    def renew(self) -> None:
        """Renew all leases and handle the server's reply."""
        self.heartbeat.hurry()
        self.heartbeat.send(self.workers.values())
        for notice in self.heartbeat.take_notices():
            self.handler.handle_notice(notice)


def test_cancel_selects_the_run_with_the_newest_token(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    both = TwoWorkers(queue, monkeypatch)
    both.start(1, 1)
    both.start(2, 0)
    assert both.handler.cancel(queue.name, both.jobs[1])
    assert both.signals == ["host/2"]
    assert both.workers["host/2"].status.request_for(1, 0) == shared_status.REQUEST_CANCEL


def test_cancel_found_by_a_renewal_ends_the_run_of_the_holder(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = TwoWorkers(queue, monkeypatch)
    both.start(1, 1)
    both.start(2, 0)
    both.client.run(commands.cancel(queue.name, both.jobs[1], b"cancelled", 60.0))
    both.renew()
    assert both.workers["host/1"].status.request_for(1, 1) == shared_status.REQUEST_RETURN
    assert both.workers["host/2"].status.request_for(1, 0) == shared_status.REQUEST_CANCEL
    assert sorted(both.signals) == ["host/1", "host/2"]
    both.renew()
    assert len(both.signals) == 2, "told once"
    assert (both.workers["host/1"].cancelling, both.workers["host/2"].cancelling) == (
        None,
        (queue.name, both.jobs[1]),
    )


def test_notice_is_void_if_the_worker_has_moved_on(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    both = TwoWorkers(queue, monkeypatch)
    both.start(1, 1)
    both.heartbeat.send(both.workers.values())
    both.start(1, 2)
    notices = both.heartbeat.take_notices()
    assert {(one.held.run[1], one.lost) for one in notices} == {(1, True), (2, True)}
    for notice in notices:
        if notice.held.run[1] == 1:
            both.handler.handle_notice(notice)
    assert both.signals == []


def test_renewals_are_sent_in_chunks(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    both = TwoWorkers(queue, monkeypatch)
    names = [f"job{number:04}" for number in range(1200)]
    both.workers["host/1"].status.hold(HeldBatch(queue.name, "1", "n", names))
    both.start(1, 0)
    sent: list[int] = []
    run_all = both.client.run_all

    def noting(told: list[Command], **options: Any) -> list[Any]:
        sent.extend(len(one.words) for one in told if one.script and one.script.name == "renew")
        return run_all(told, **options)

    monkeypatch.setattr(both.client, "run_all", noting)
    both.heartbeat.send(both.workers.values())
    assert len(sent) == 3
    assert max(sent) <= 3 * commands.MAX_RENEWED + 30
    assert len(both.heartbeat.take_notices()) == 1200


@pytest.mark.usefixtures("short_lease")
def test_results_keep_their_leases_if_a_job_holds_the_gil(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    queue.pause()
    queue.submit_many(jobs.nothing, [()] * 21)
    queue.submit_many(jobs.mark, [(str(path), "once")] * 3)
    queue.submit(jobs.hold_gil, str(path.with_name("gil")), 3)
    queue.resume()
    consume(workers=1)
    queue.join(20)
    assert lines(path) == ["once"] * 3
    assert queue.count().lapsed == 0
