"""All workers, by host and consumer: what each is at, and what it takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import Page
from conveyor.dashboard.pages.paging import slice_of
from conveyor.monitor import workers as questions
from conveyor.wire.control_messages import SILENT
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.dashboard.pages.paging import Slice
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.monitor.workers import Place
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport

#: Lines of one page: workers, and the heads of their consumers and hosts.
ROOM = 46
#: Choices that a filter offers; others can be typed.
MOST_CHOICES = 20
STATES = ("busy", "idle", "paused", "leaving", "starting", SILENT)
LONGEST_FILTER = 255
#: No program has done or used so much.
_ABSURD = 1e300


class WorkerRow(NamedTuple):
    """One worker's line."""

    name: str
    number: str
    pid: int
    state: str
    busy: bool
    """Whether it runs a job, in any state but silent."""
    paused: bool
    jobs_done: int
    job: str
    task: str
    queue: str
    since: float
    """When the current job began, seconds since 1970; 0 without one."""
    attempt: int
    done: float
    fraction: float | None
    """How far the job is, 0 to 1; None where that cannot be said."""
    message: str
    cpu: float
    memory: int
    cancelling: bool
    """Whether the job is to end because somebody wants it cancelled."""
    kill_at: float
    """When it is killed if it has not ended by then; 0 where nobody wants that."""
    heard: float = 0.0
    """When its silent consumer last reported; 0 where it is not silent."""


class Crew(NamedTuple):
    """One consumer, and those of its workers that are shown."""

    name: str
    host: str
    pid: int
    queues: Sequence[str]
    started: float
    heard: float
    """When it last reported, by its machine's clock; 0 where it does not say."""
    version: str
    python: str
    cores: int
    rows: Sequence[WorkerRow]
    all: int
    """Workers that it has."""
    busy: int
    jobs: int
    """Jobs that its workers are at."""
    paused: int
    leaving: int

    @property
    def short(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("-")[2] or self.name

    @property
    def silent(self) -> bool:
        """Whether it is not heard of any more."""
        return any(row.heard for row in self.rows)


class Host(NamedTuple):
    """The consumers of one machine that are shown."""

    name: str
    crews: Sequence[Crew]


class Choice(NamedTuple):
    """What was filtered for, and what it means for all who match: the consumers that can be told as one."""

    queue: str
    host: str
    state: str
    consumers: Sequence[str]
    """Of the queue or the host asked for; empty without such a filter."""
    workers: int
    """How many these have."""


class Workers(NamedTuple):
    """What the page shows."""

    hosts: Sequence[Host]
    places: Slice[Any]
    """Where this page is in the list; its items stand in `hosts`."""
    shown: int
    consumers: int
    all: int
    choice: Choice
    queue_choices: Sequence[str]
    host_choices: Sequence[str]


def row_of(worker: WorkerReport, crew: ConsumerReport, at: float) -> WorkerRow:
    """Give a worker's line; `at` is the time by the server, for consumers that do not say when they reported."""
    has_job = bool(worker.job)
    return WorkerRow(
        name=worker.name,
        number=worker.name.rpartition("/")[2],
        pid=worker.pid,
        state=worker.state,
        busy=worker.is_busy,
        paused=worker.paused,
        jobs_done=worker.jobs_done,
        job=worker.job,
        task=worker.task,
        queue=worker.queue,
        since=round((crew.at or at) - worker.busy_for, 1) if has_job else 0.0,
        attempt=worker.attempt,
        done=_finite(worker.done),
        fraction=worker.fraction,
        message=redacted_text(worker.message),
        cpu=round(_finite(worker.cpu), 2),
        memory=worker.memory,
        cancelling=worker.cancelling,
        kill_at=float(round((crew.at or at) + worker.kill_in)) if worker.cancelling else 0.0,
        heard=(crew.at or at) if worker.state == SILENT else 0.0,
    )


def crew_of(report: ConsumerReport, rows: Sequence[WorkerRow]) -> Crew:
    """Give a consumer with some of its workers."""
    return Crew(
        name=report.name,
        host=report.host,
        pid=report.pid,
        queues=tuple(report.queues),
        started=report.started,
        heard=report.at,
        version=report.version,
        python=report.python,
        cores=report.cores,
        rows=rows,
        all=len(report.workers),
        busy=sum(worker.is_busy for worker in report.workers),
        jobs=sum(worker.is_busy or bool(worker.job) for worker in report.workers),
        paused=sum(worker.paused for worker in report.workers),
        leaving=sum(worker.state == "leaving" for worker in report.workers),
    )


def _finite(number: float) -> float:
    """Give a number that a program told, 0 where it is none that a page could show."""
    return number if math.isfinite(number) and abs(number) < _ABSURD else 0.0


def _is_in(state: str, worker: WorkerReport | None) -> bool:
    if worker is None:
        return not state
    is_also = {"paused": worker.paused, "busy": worker.is_busy}.get(state, False)
    return not state or state == worker.state or is_also


def _sizes(places: Sequence[Place]) -> Iterator[int]:
    host, consumer = "", ""
    for place in places:
        yield 1 + (place.report.host != host) + (place.report.name != consumer)
        host, consumer = place.report.host, place.report.name


def _hosts(places: Sequence[Place], at: float) -> list[Host]:
    crews: dict[str, dict[str, Crew]] = {}
    for place in places:
        of_host = crews.setdefault(place.report.host, {})
        crew = of_host.get(place.report.name) or crew_of(place.report, ())
        rows = () if place.worker is None else (row_of(place.worker, place.report, at),)
        of_host[place.report.name] = crew._replace(rows=(*crew.rows, *rows))
    return [Host(name, list(of_host.values())) for name, of_host in crews.items()]


def _choice(wanted: PageRequest, reports: Sequence[ConsumerReport]) -> Choice:
    queue, host, state = (
        wanted.filters.get(name, "").strip()[:LONGEST_FILTER] for name in ("queue", "host", "state")
    )
    state = state if state in STATES else ""
    told = [one for one in reports if _fits(one, queue, host)] if queue or host else []
    return Choice(queue, host, state, [one.name for one in told], sum(len(one.workers) for one in told))


def _fits(report: ConsumerReport, queue: str, host: str) -> bool:
    return (not queue or queue in report.queues) and (not host or host == report.host)


def _view(wanted: PageRequest, snapshot: Snapshot, _: object) -> Workers:
    choice = _choice(wanted, snapshot.consumers)
    reports = [one for one in snapshot.consumers if _fits(one, choice.queue, choice.host)]
    places = [place for place in questions.places(reports) if _is_in(choice.state, place.worker)]
    found = slice_of(places, [place.key for place in places], wanted, ROOM, list(_sizes(places)))
    queues = sorted({queue for one in snapshot.consumers for queue in one.queues})
    return Workers(
        hosts=_hosts(found.items, snapshot.at),
        places=found._replace(items=()),
        shown=len(found.items),
        consumers=len(reports),
        all=len(snapshot.workers()),
        choice=choice,
        queue_choices=queues[:MOST_CHOICES],
        host_choices=sorted({one.host for one in snapshot.consumers})[:MOST_CHOICES],
    )


WORKERS = Page("workers", "/workers", "Workers", _view, menu="Workers", key="w", section="Workers")
