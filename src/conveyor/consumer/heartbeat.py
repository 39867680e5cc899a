"""The regular messages of a supervisor to the server: renewed leases, progress, and reports on its workers."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor import clock, events
from conveyor.consumer.health import Isolation
from conveyor.consumer.settings import HEARTBEAT, LEASE, RENEWAL
from conveyor.consumer.settlement import Tally
from conveyor.errors import StoreError, StoreRefused
from conveyor.store import commands, control_channel, forgetting, leases, records
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conveyor.consumer.worker_handle import WorkerHandle
    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.wire.control_messages import WorkerReport

#: Seconds after its last report that a killed consumer is removed from the list.
FORGET_AFTER = 3600.0
#: Seconds that a job must run to be reported.
MIN_REPORTED = 0.4
#: Seconds that a heartbeat is tried: enough for a new connection if the old one broke.
PATIENCE = 0.25
#: Seconds between two records of the numbers of waiting and running jobs.
GAUGE_EVERY = 10.0
#: Queues in one such record. One job's bytes are read of each: a mebibyte together at most.
MAX_GAUGED = 16
#: Seconds after its start, and between two times, that a consumer removes unused queues.
FIRST_SWEEP, SWEEP_EVERY = 60.0, 3600.0
#: How the end of a worker is counted, by what became of its job; a released job is not counted.
_COUNTED = {"cancelled": "cancelled", "tried again": "retried", "dead": "lost"}


class HeldJob(NamedTuple):
    """One job that a worker holds, as of the renewal of its lease."""

    worker: WorkerHandle
    run: tuple[int, int]
    """Its batch and position in this worker's shared status."""
    queue: str
    id: str
    token: str
    progress: str


class Notice(NamedTuple):
    """The server's notice about one held job: its lease has expired, or else it was cancelled.

    It applies to this worker, batch and position only. By now the job may run elsewhere, under a valid lease.
    """

    held: HeldJob
    lost: bool


@dataclass
class _Gauge:
    """Queues whose job counts are recorded together, and whether they had jobs the last time."""

    queues: list[str]
    had_work: bool = False


class Heartbeat:
    """Sends changes immediately, renewals and full reports at intervals."""

    def __init__(
        self, client: Client, report: control_messages.ConsumerReport, isolation: Isolation | None = None
    ) -> None:
        self.client = client
        self.report = report
        self.isolation = isolation or Isolation()
        self.limits = 0, 0
        """Limits between which the number of workers follows what waits, or zeros if it does not."""
        self.notices: list[Notice] = []
        self._last_full = self._renewed = float("-inf")
        self._is_first = True
        self._reported: list[tuple[str, str, bool, str, bool]] = []
        self._progress: dict[tuple[str, str], int] = {}
        names = report.queues
        self._gauges = deque(
            _Gauge(names[first : first + MAX_GAUGED]) for first in range(0, len(names), MAX_GAUGED)
        )
        self._gauge_at = float("-inf")
        self._sweep_at = clock.monotonic() + FIRST_SWEEP
        self._sweep_cursor: str | None = None  # how far the current sweep is, if there is one
        self._tally = Tally(report.name)

    def send(self, workers: Iterable[WorkerHandle]) -> None:
        """Send what is due. Raises StoreError; notices received before are in `notices`.

        A worker with an unreadable status is left out, so that the others keep their leases.
        """
        now, reports = clock.monotonic(), []
        for worker in workers:
            with self.isolation:
                reports.append((worker, _without_new_job(worker.report())))
        workers = [worker for worker, _ in reports]
        is_full = now - self._last_full >= HEARTBEAT
        if is_full or now - self._renewed >= RENEWAL:
            self._renew(workers)
            self._renewed = now
        progress = self._new_progress(workers)
        if progress:
            with contextlib.suppress(StoreRefused):  # a full server refuses it, and still takes reports
                self.client.run_all(progress, patience=PATIENCE)
        changes = [(one.name, one.state, one.paused, one.job, one.cancelling) for _, one in reports]
        if is_full or changes != self._reported or progress:
            self._report([_with_usage(*both) for both in reports])
            self._reported = changes
        if is_full:
            self._last_full = now
        self._send_tally()
        if now >= self._sweep_at:
            self._sweep(now)
        self._gauge(now)

    def hurry(self) -> None:
        """Make the next heartbeat a full one."""
        self._last_full = float("-inf")

    def take_notices(self) -> list[Notice]:
        """Return the notices about leases, once."""
        notices, self.notices = self.notices, []
        return notices

    def count_recovery(self, worker: WorkerHandle, ended: dict[str, str]) -> None:
        """Count and report what became of the running job of a worker that ended, or of those that ran together."""
        for job, became in ended.items():
            events.emit(events.JobRecovered(job, became))
        held, task = worker.status.held(), worker.status.task
        if held is None:
            return
        if not worker.killed:
            self._tally.add_event(held.queue, task, "died")
        elapsed = max(0.0, clock.monotonic() - worker.status.read().since)
        for became in ended.values():
            if counted := _COUNTED.get(became):
                if became == "dead" and worker.timed_out is not None:
                    counted = "timeout"
                self._tally.add(held.queue, task, counted, elapsed)

    def last_tally(self) -> list[Command]:
        """Return the commands for what was counted and not yet sent, before the supervisor exits."""
        return self._tally.commands(resting=True)

    def _renew(self, workers: Iterable[WorkerHandle]) -> None:
        renewals = leases.renewals(_held_jobs(workers), LEASE)
        for renewed in self.client.run_all(renewals, patience=PATIENCE) if renewals else ():
            self.notices += [Notice(held, lost=True) for held in renewed.lost]
            self.notices += [Notice(held, lost=False) for held in renewed.cancelled]

    def _new_progress(self, workers: Iterable[WorkerHandle]) -> list[Command]:
        changed: dict[str, list[tuple[str, bytes]]] = {}
        counters: dict[tuple[str, str], int] = {}
        for worker in workers:
            queue, jobs = worker.jobs()
            counter, done, total, message = worker.status.progress()
            if not jobs or not counter:
                continue
            counters |= {(queue, job): counter for job in jobs}
            if new := [job for job in jobs if self._progress.get((queue, job)) != counter]:
                data = control_messages.encode(control_messages.Progress(done, total, message))
                changed.setdefault(queue, []).extend((job, data) for job in new)
        self._progress = counters
        return [records.set_progress(queue, some) for queue, some in changed.items()]

    def _report(self, workers: list[WorkerReport]) -> None:
        now = clock.wall()
        least, most = self.limits
        report = msgspec.structs.replace(
            self.report, workers=workers, at=now, min_workers=least, max_workers=most
        )
        sent = [control_channel.report(self.report.name, control_messages.encode(report), now)]
        if self._is_first:
            sent.append(control_channel.forget_silent(now - FORGET_AFTER))
        self.client.run_all(sent, patience=PATIENCE)
        self._is_first = False

    def _send_tally(self) -> None:
        sent = self._tally.commands()
        if sent:
            self.client.run_all(sent, patience=PATIENCE)
            for one in sent:
                self._tally.confirm(one)

    def _gauge(self, now: float) -> None:
        """Record the numbers of waiting and running jobs of some queues; later heartbeats record the others.

        A failure does not mean that the server is silent, since the replies may be large.
        """
        if now < self._gauge_at:
            return
        self._gauge_at = now + GAUGE_EVERY / len(self._gauges)
        self._gauges.rotate(-1)
        with contextlib.suppress(StoreError):
            self._record(self._gauges[-1])

    def _record(self, gauge: _Gauge) -> None:
        """Record these queues, unless they have no jobs and had none before."""
        has_work = self.client.run(commands.any_work(gauge.queues), patience=PATIENCE)
        if has_work or gauge.had_work:
            query = records.oldest_waiting(gauge.queues)
            oldest = query.read(self.client.run_all(query.commands, patience=PATIENCE))
            sent = [commands.tally(queue, self.report.name, 0, at, []) for queue, at in oldest.items()]
            self.client.run_all(sent, patience=PATIENCE)
            gauge.had_work = has_work

    def _sweep(self, now: float) -> None:
        """Remove unused queues, some at a time; one consumer does so, once an hour."""
        try:
            begin = forgetting.begin_sweep(self.report.name, SWEEP_EVERY)
            if self._sweep_cursor is not None or self.client.run(begin, patience=PATIENCE):
                self._sweep_cursor = forgetting.forget_unused(self.client, self._sweep_cursor or "0")
        except StoreError:  # leases come first
            self._sweep_cursor = None
        if self._sweep_cursor is None:
            self._sweep_at = now + SWEEP_EVERY


def _held_jobs(workers: Iterable[WorkerHandle]) -> Iterator[HeldJob]:
    """Yield the jobs whose leases must be renewed."""
    for worker in workers:
        found = worker.running()
        if found is None:
            yield from _resting_jobs(worker)
            continue
        reading, batch = found
        if batch.is_gathered:
            progress = commands.LEAVING if worker.verb else commands.STARTED
            yield from (HeldJob(worker, reading.run, batch.queue, *one, progress) for one in batch.leases())
            continue
        is_settled = worker.status.settled_batch == reading.batch
        is_released = worker.released_batch == reading.batch
        first = reading.position if is_settled else 0  # earlier results may not have been sent yet
        end = reading.position + 1 if is_settled or is_released else len(batch.ids)
        for position in range(first, end):
            progress = commands.HELD
            if position == reading.position:  # a stopping worker may be killed before the run ends
                progress = commands.LEAVING if worker.verb else commands.STARTED
            run = (reading.batch, position)
            yield HeldJob(worker, run, batch.queue, batch.ids[position], batch.token, progress)
        before = worker.status.held(back=1)
        if before is not None and worker.status.unconfirmed == reading.batch - 1:
            for position, job_id in enumerate(before.ids):
                run = (reading.batch - 1, position)
                yield HeldJob(worker, run, before.queue, job_id, before.token, commands.HELD)


def _resting_jobs(worker: WorkerHandle) -> Iterator[HeldJob]:
    found = worker.resting()
    if found is not None:
        reading, batch = found
        for position, (job_id, token) in enumerate(batch.leases()):
            yield HeldJob(worker, (reading.batch, position), batch.queue, job_id, token, commands.HELD)


def _without_new_job(report: WorkerReport) -> WorkerReport:
    """Return a report without a job that has only just started, unless a command concerns it.

    Most of these jobs finish before the report is read, and would appear as running until the next one.
    """
    if not report.job or report.busy_for > MIN_REPORTED or report.paused or report.cancelling:
        return report
    return msgspec.structs.replace(
        report, job="", task="", busy_for=0.0, done=0.0, total=0.0, message="", attempt=0
    )


def _with_usage(worker: WorkerHandle, report: WorkerReport) -> WorkerReport:
    if worker is not worker.process.workers[0]:
        return report  # the usage of its process is that of the first worker
    cpu, memory = worker.process.usage.read(worker.pid)
    return msgspec.structs.replace(report, cpu=cpu, memory=memory)
