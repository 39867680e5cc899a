"""One queue: its belt, its ledger, its workers, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard import known_tasks
from conveyor.dashboard.chart_data import ChartData, chart_data, span_named
from conveyor.dashboard.live_stats import MAX_QUEUES, queue_stats
from conveyor.dashboard.page import Page, with_queue
from conveyor.dashboard.pages.queues import QueueRow
from conveyor.dashboard.pages.workers import row_of
from conveyor.monitor import charts, job_list, waits
from conveyor.store.commands import Limits
from conveyor.store.query import Query, known, together
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.dashboard.pages.workers import WorkerRow
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count
    from conveyor.wire.statistics import Figures

#: Workers that are listed, those working on this queue first; the workers page has all.
MAX_WORKERS = 12
#: Jobs in line, and tasks, that are listed.
MAX_JOBS, MAX_TASKS = 10, 8
#: Hours that tasks are counted for, the running one included: minutes do not know all tasks.
HOURS = 2
NO_LIMITS = Limits(None, [], 0, 0)


class QueueView(NamedTuple):
    """What the page shows."""

    row: QueueRow
    jobs: Count
    workers: Sequence[WorkerRow]
    shared: int
    """Workers that take from other queues, too."""
    charts: ChartData
    tasks: Sequence[tuple[str, Figures]]
    """In this hour and the last, the most frequent first."""
    next: Sequence[JobRow]
    live: bool
    """True if the live numbers include this queue."""
    limits: Limits
    begun: bool = True
    """True if a job was ever put on it; otherwise there are only workers that listen."""

    @property
    def rests_until(self) -> float:
        """Until when no job starts, seconds since 1970, or 0."""
        return self.jobs.rest / 1000

    def version_key(self) -> object:
        """Return what the live numbers do not keep current."""
        if not self.live:
            return tuple(self)
        jobs = self.jobs
        ledger = jobs._replace(ready=0, deferred=0, delayed=0, leased=0, accepted=0, finished=0, blocked=0)
        return self.row.lasting(), ledger, jobs.imbalance, self[2:]


def _question(request: PageRequest, snapshot: Snapshot) -> Query[Any]:
    queue = request.parts["queue"]
    if queue not in snapshot.queues:
        return known(((), NO_LIMITS))
    page = job_list.page(queue, "waiting", count=MAX_JOBS, labels_of=known_tasks.labels)
    return together([page.map(lambda found: found.rows), waits.limits(queue)])


def _slow(request: PageRequest, snapshot: Snapshot) -> Query[list[Any]]:
    queue = request.parts["queue"]
    if queue not in snapshot.queues:
        return known([ChartData(), {}])
    hour = bucket("hour", snapshot.at)
    tasks = charts.by_task(queue, "hour", hour - HOURS + 1, hour)
    return together([chart_data([queue], snapshot.at, span_named(request.filters.get("span", ""))), tasks])


def _view(request: PageRequest, snapshot: Snapshot, replies: Any) -> QueueView:
    name = request.parts["queue"]
    (waiting, limits), (history, tasks) = replies
    consumers = [one for one in snapshot.consumers if name in one.queues]
    begun = name in snapshot.queues
    snapshot = with_queue(snapshot, name)
    rows = [row_of(worker, one, snapshot.at) for one in consumers for worker in one.workers]
    rows.sort(key=lambda row: (row.queue != name, not row.job, row.name))
    return QueueView(
        row=QueueRow(name, queue_stats(snapshot, name)),
        jobs=snapshot.queues[name],
        workers=rows[:MAX_WORKERS],
        shared=sum(len(one.workers) for one in consumers if len(one.queues) > 1),
        charts=history,
        tasks=list(tasks.items())[:MAX_TASKS],
        next=waiting,
        limits=limits,
        live=begun and len(snapshot.queues) <= MAX_QUEUES,
        begun=begun,
    )


QUEUE = Page("queue", "/queues/{queue}", "Queue", _view, _question, _slow, section="Queues")
