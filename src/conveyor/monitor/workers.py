"""Questions about consumers and their workers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.store import control_channel
from conveyor.store.query import Query
from conveyor.wire import control_messages
from conveyor.wire.control_messages import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.store.control_channel import LastSeen
    from conveyor.wire.control_messages import Acknowledgement, ConsumerReport, WorkerReport


#: Workers of one report that are read: a consumer has no more.
MOST_WORKERS = 1000


class Found(NamedTuple):
    """Whom a name means."""

    consumer: ConsumerReport
    worker: WorkerReport | None
    """None where the name is the consumer's own."""


class WorkerCounts(NamedTuple):
    """How many workers some consumers have."""

    all: int
    busy: int
    """Those that run a job, leaving ones included."""
    leaving: int
    """Those that take no more jobs and do not come back; some of them finish a job."""


class Place(NamedTuple):
    """A worker in the order of all; a consumer that has none takes one place, too."""

    key: str
    """Sorts places by host, consumer and worker, and stays the same while others come and go."""
    report: ConsumerReport
    worker: WorkerReport | None


def consumers() -> Query[list[str]]:
    """Which consumers are on the list, those that reported last first; some may be gone."""
    return Query((control_channel.consumer_names(),), lambda answers: list(answers[0]))


def heard() -> Query[list[LastSeen]]:
    """When each consumer on the list last reported, those that did last first; one that left is not on it."""
    return Query((control_channel.last_seen(),), lambda answers: list(answers[0]))


def reports(names: Sequence[str]) -> Query[list[ConsumerReport]]:
    """What each consumer last reported; without those not heard of for 20 seconds or not readable.

    Of a report with more than 1,000 workers the first 1,000 are read.
    """
    if not names:
        return Query((), lambda _: [])
    return Query((control_channel.reports(names),), _read)


def answers(order_id: str) -> Query[list[Acknowledgement]]:
    """What was answered to a control command in the last minute, in the order of coming; it stays there for others.

    At most 500 answers; without those that cannot be read.
    """
    return Query((control_channel.acknowledgements(order_id),), _read_answers)


def counts(reports: Iterable[ConsumerReport]) -> WorkerCounts:
    """Count the workers of some consumers: the same numbers for every surface."""
    workers = [worker for report in reports for worker in report.workers]
    leaving = sum(worker.state == "leaving" for worker in workers)
    return WorkerCounts(len(workers), sum(worker.is_busy for worker in workers), leaving)


def by_host(reports: Iterable[ConsumerReport]) -> dict[str, list[ConsumerReport]]:
    """Sort consumers by the machine they run on, by name; those of one machine by theirs."""
    hosts: dict[str, list[ConsumerReport]] = {}
    for report in sorted(reports, key=lambda one: (one.host, one.name)):
        hosts.setdefault(report.host, []).append(report)
    return hosts


def places(reports: Iterable[ConsumerReport]) -> list[Place]:
    """Give all workers in their order: by host, consumer and number."""
    found = []
    for report in reports:
        if not report.workers:
            found.append(Place(f"{report.host}/{report.name}/", report, None))
        for worker in report.workers:
            number = worker.name.rpartition("/")[2]
            found.append(Place(f"{report.host}/{report.name}/{number:0>6}", report, worker))
    return sorted(found, key=lambda place: place.key)


def running_job(reports: Iterable[ConsumerReport], job_id: str) -> WorkerReport | None:
    """Give the worker that runs a job, None if nobody says so."""
    workers = (worker for report in reports for worker in report.workers)
    return next((worker for worker in workers if job_id and worker.job == job_id), None)


def aged(report: ConsumerReport, now: float) -> ConsumerReport:
    """Give a report as it would read at `now` by the server's clock: its jobs have run on, unless it is silent."""
    age = min(max(0.0, now - report.at), control_channel.REPORT_KEEP) if report.at else 0.0
    told = [
        msgspec.structs.replace(one, busy_for=one.busy_for + age) if one.job and one.state != SILENT else one
        for one in report.workers
    ]
    return msgspec.structs.replace(report, workers=told)


def find(reports: Iterable[ConsumerReport], name: str) -> Found | None:
    """Give the consumer or the worker of exactly this name, None if there is none."""
    for report in reports:
        if report.name == name:
            return Found(report, None)
        if report.name == control_messages.consumer_of(name):
            worker = next((one for one in report.workers if one.name == name), None)
            return None if worker is None else Found(report, worker)
    return None


def _read_answers(replies: Sequence[Any]) -> list[Acknowledgement]:
    found = []
    for data in replies[0]:
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            found.append(control_messages.decode_acknowledgement(data))
    return found


def _read(answers: Sequence[Any]) -> list[ConsumerReport]:
    found = []
    for data in answers[0]:
        try:
            if data is not None:
                report = control_messages.decode_report(data)
                few = report.workers[:MOST_WORKERS]
                found.append(msgspec.structs.replace(report, workers=few))
        except (msgspec.MsgspecError, ValueError):
            continue
    return found
