"""All workers, by host and consumer: what each is doing, and what it uses."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.api.models import struct_from
from conveyor.dashboard.page import Page, slice_of
from conveyor.monitor import workers
from conveyor.wire.control_messages import SILENT, ConsumerReport, WorkerReport
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.dashboard.page import PageRequest, Slice
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.monitor.workers import WorkerPosition

#: Lines of one page: workers, and the heads of their consumers and hosts.
ROOM = 46
#: Choices that a filter offers; others can be typed.
MAX_CHOICES = 20
STATES = ("busy", "idle", "paused", "leaving", "starting", SILENT)
MAX_FILTER = 255
#: No program has done or used so much.
_ABSURD = 1e300


class WorkerRow(WorkerReport, frozen=True, kw_only=True):
    """One worker's line: its report, with moments in place of running times."""

    since: float
    """When the current job began, seconds since 1970; 0 without one."""
    kill_at: float
    """When it is killed if the job has not ended by then; 0 without a cancellation."""
    heard: float
    """When its silent consumer last reported; 0 if it is not silent."""


class ConsumerView(ConsumerReport, frozen=True, kw_only=True):
    """One consumer, and those of its workers that are shown."""

    rows: Sequence[WorkerRow]
    all: int
    """Number of its workers."""
    busy: int
    jobs: int
    """Jobs that its workers run or hold."""
    paused: int
    leaving: int

    @property
    def short(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("-")[2] or self.name

    @property
    def silent(self) -> bool:
        """True if it missed its heartbeats."""
        return any(row.heard for row in self.rows)


class Choice(NamedTuple):
    """The filters, and the consumers that they select, which can be commanded as one."""

    queue: str
    host: str
    state: str
    consumers: Sequence[str]
    """Of the requested queue or host; empty without such a filter."""
    workers: int
    """Number of their workers."""


class WorkersView(NamedTuple):
    """What the page shows."""

    hosts: Sequence[tuple[str, Sequence[ConsumerView]]]
    """The consumers that are shown by the name of their machine."""
    places: Slice[Any]
    """Where this page is in the list; its items are in `hosts`."""
    shown: int
    all: int
    choice: Choice
    queue_choices: Sequence[str]
    host_choices: Sequence[str]


def row_of(worker: WorkerReport, report: ConsumerReport, at: float) -> WorkerRow:
    """Return a worker's line; `at` is the time by the server, for consumers that do not say when they reported."""
    reported = report.at or at
    return struct_from(
        WorkerRow,
        worker,
        busy=worker.is_busy,
        busy_for=0.0,
        kill_in=0.0,
        since=round(reported - worker.busy_for, 1) if worker.job else 0.0,
        done=_finite(worker.done),
        message=redacted_text(worker.message),
        cpu=round(_finite(worker.cpu), 2),
        kill_at=float(round(reported + worker.kill_in)) if worker.cancelling else 0.0,
        heard=reported if worker.state == SILENT else 0.0,
    )


def consumer_of(report: ConsumerReport, rows: Sequence[WorkerRow]) -> ConsumerView:
    """Return a consumer with some of its workers."""
    return struct_from(
        ConsumerView,
        report,
        workers=[],
        rows=rows,
        **workers.counts([report])._asdict(),
        jobs=sum(worker.is_busy or bool(worker.job) for worker in report.workers),
        paused=sum(worker.paused for worker in report.workers),
    )


def _finite(number: float) -> float:
    """Return a number that a program reported, or 0 for one that a page cannot show."""
    return number if math.isfinite(number) and abs(number) < _ABSURD else 0.0


def _is_in(state: str, worker: WorkerReport | None) -> bool:
    if worker is None:
        return not state
    is_also = {"paused": worker.paused, "busy": worker.is_busy}.get(state, False)
    return not state or state == worker.state or is_also


def _sizes(places: Sequence[WorkerPosition]) -> Iterator[int]:
    host, consumer = "", ""
    for place in places:
        yield 1 + (place.report.host != host) + (place.report.name != consumer)
        host, consumer = place.report.host, place.report.name


def _hosts(places: Sequence[WorkerPosition], at: float) -> list[tuple[str, Sequence[ConsumerView]]]:
    hosts: dict[str, list[ConsumerView]] = {}
    for _, some in groupby(places, key=lambda place: place.report.name):
        crew = list(some)
        report = crew[0].report
        rows = [row_of(place.worker, report, at) for place in crew if place.worker is not None]
        hosts.setdefault(report.host, []).append(consumer_of(report, rows))
    return list(hosts.items())


def _choice(request: PageRequest, reports: Sequence[ConsumerReport]) -> Choice:
    names = ("queue", "host", "state")
    queue, host, state = (request.filters.get(name, "").strip()[:MAX_FILTER] for name in names)
    chosen = [one for one in reports if _fits(one, queue, host)] if queue or host else []
    workers = sum(len(one.workers) for one in chosen)
    return Choice(queue, host, state if state in STATES else "", [one.name for one in chosen], workers)


def _fits(report: ConsumerReport, queue: str, host: str) -> bool:
    return (not queue or queue in report.queues) and (not host or host == report.host)


def _view(request: PageRequest, snapshot: Snapshot, _: object) -> WorkersView:
    choice = _choice(request, snapshot.consumers)
    reports = [one for one in snapshot.consumers if _fits(one, choice.queue, choice.host)]
    places = [place for place in workers.positions(reports) if _is_in(choice.state, place.worker)]
    found = slice_of(places, [place.key for place in places], request, ROOM, list(_sizes(places)))
    return WorkersView(
        hosts=_hosts(found.items, snapshot.at),
        places=found._replace(items=()),
        shown=len(found.items),
        all=len(snapshot.workers()),
        choice=choice,
        queue_choices=sorted({queue for one in snapshot.consumers for queue in one.queues})[:MAX_CHOICES],
        host_choices=sorted({one.host for one in snapshot.consumers})[:MAX_CHOICES],
    )


WORKERS = Page("workers", "/workers", "Workers", _view, menu="Workers", key="w")
