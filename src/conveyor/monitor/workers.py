"""Consumers and their workers: what they report, and when a consumer is silent.

A consumer is silent once it has missed its heartbeats. It may still be running, so its workers' jobs are shown with the
time up to its last report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.store import control_channel
from conveyor.store.query import Query, known
from conveyor.wire import control_messages
from conveyor.wire.codec import try_decode
from conveyor.wire.control_messages import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.store.control_channel import LastSeen
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport

#: Workers of one report that are read.
MAX_WORKERS = control_messages.MAX_WORKERS
#: Seconds after its last report from which a consumer is silent: a report is due every 5, plus 3 for delays.
SILENT_AFTER = 8.0
#: Seconds until a report expires. One that claims to be older comes from a machine whose clock is wrong.
REPORT_KEEP = control_channel.REPORT_KEEP + 2.0


class NamedWorker(NamedTuple):
    """The consumer, or its worker, that has a name."""

    consumer: ConsumerReport
    worker: WorkerReport | None
    """None if the name is the consumer's own."""


class WorkerCounts(NamedTuple):
    """Numbers of workers."""

    all: int
    busy: int
    """Workers that run a job, leaving ones included."""
    leaving: int
    """Workers that take no more jobs and exit; some of them finish a job."""


class WorkerPosition(NamedTuple):
    """A worker in the order of all; a consumer without workers takes one position, too."""

    key: str
    """Sorts by host, consumer and worker, and stays the same while others come and go."""
    report: ConsumerReport
    worker: WorkerReport | None


def last_reports() -> Query[list[LastSeen]]:
    """Return when each listed consumer last reported, latest first; a consumer that exited is not listed."""
    return Query((control_channel.last_seen(),), lambda replies: list(replies[0]))


def reports(names: Sequence[str]) -> Query[list[ConsumerReport]]:
    """Return the last report of each consumer, if it is readable and at most 20 seconds old.

    A report includes 1,000 workers at most.
    """
    return Query((control_channel.reports(names),), _read_reports) if names else known([])


def counts(reports: Iterable[ConsumerReport]) -> WorkerCounts:
    """Count the workers of some consumers."""
    workers = [worker for report in reports for worker in report.workers]
    leaving = sum(worker.state == "leaving" for worker in workers)
    return WorkerCounts(len(workers), sum(worker.is_busy for worker in workers), leaving)


def positions(reports: Iterable[ConsumerReport]) -> list[WorkerPosition]:
    """Return all workers, sorted by host, consumer and number."""
    found = []
    for report in reports:
        if not report.workers:
            found.append(WorkerPosition(f"{report.host}/{report.name}/", report, None))
        for worker in report.workers:
            number = worker.name.rpartition("/")[2]
            found.append(WorkerPosition(f"{report.host}/{report.name}/{number:0>6}", report, worker))
    return sorted(found, key=lambda position: position.key)


def running_job(reports: Iterable[ConsumerReport], job_id: str, owner: str = "") -> WorkerReport | None:
    """Return the worker that reports to run a job, or None.

    Of a batch it reports only the first job: the others are found by the `owner` of their leases.
    """
    workers = [worker for report in reports for worker in report.workers]
    found = (worker for worker in workers if job_id and worker.job == job_id)
    of_batch = (worker for worker in workers if worker.batch > 1 and worker.name == owner)
    return next(found, None) or next(of_batch, None)


def find(reports: Iterable[ConsumerReport], name: str) -> NamedWorker | None:
    """Return the consumer or the worker of exactly this name, or None."""
    for report in reports:
        if report.name == name:
            return NamedWorker(report, None)
        if report.name == control_messages.consumer_of(name):
            worker = next((one for one in report.workers if one.name == name), None)
            return None if worker is None else NamedWorker(report, worker)
    return None


def aged(report: ConsumerReport, now: float) -> ConsumerReport:
    """Return a report with the running times at `now`, by the server's clock; a silent consumer's do not grow."""
    age = min(max(0.0, now - report.at), control_channel.REPORT_KEEP) if report.at else 0.0
    workers = [
        msgspec.structs.replace(one, busy_for=one.busy_for + age) if one.job and one.state != SILENT else one
        for one in report.workers
    ]
    return msgspec.structs.replace(report, workers=workers)


def silent_since(report: ConsumerReport, now: float, listed_at: float = 0.0) -> float | None:
    """Return when a silent consumer last reported, seconds since 1970, or None if it is not silent.

    `listed_at` is its last report according to the list of consumers, 0 if unknown.
    """
    last = max(report.at, listed_at)
    return last if last and SILENT_AFTER < now - last < REPORT_KEEP else None


def with_silence(report: ConsumerReport, now: float, listed_at: float = 0.0) -> ConsumerReport:
    """Return a report whose workers are in state silent if the consumer is; parameters as of `silent_since`."""
    if silent_since(report, now, listed_at) is None:
        return report
    workers = [msgspec.structs.replace(worker, state=SILENT) for worker in report.workers]
    return msgspec.structs.replace(report, workers=workers)


def _read_reports(replies: Sequence[Any]) -> list[ConsumerReport]:
    found = filter(None, (try_decode(control_messages.decode_report, data) for data in replies[0]))
    return [msgspec.structs.replace(report, workers=report.workers[:MAX_WORKERS]) for report in found]
