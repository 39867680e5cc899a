"""One queue: its belt, its books, who works on it, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard import known_tasks
from conveyor.dashboard.chart_data import ChartData, chart_data, span_named
from conveyor.dashboard.live_stats import MAX_QUEUES, QueueStats, queue_stats
from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages.queues import QueueRow, row_of
from conveyor.dashboard.pages.workers import row_of as worker_row
from conveyor.monitor import charts, job_list
from conveyor.store.query import Query, together
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.dashboard.pages.workers import WorkerRow
    from conveyor.monitor.charts import TaskFigures
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.snapshot import Snapshot

#: Workers that are listed, those at work on this queue first; the workers page has all.
MOST_WORKERS = 12
#: Jobs in line, and tasks, that are listed.
MOST_JOBS, MOST_TASKS = 10, 8
#: Hours that tasks are counted for, the one that goes on included: minutes do not know all tasks.
HOURS = 2


class Queue(NamedTuple):
    """What the page shows."""

    row: QueueRow
    stats: QueueStats
    workers: Sequence[WorkerRow]
    shared: int
    """Workers that take from other queues, too."""
    charts: ChartData
    tasks: Sequence[TaskFigures]
    """In this hour and the last, those of which most ended first."""
    next: Sequence[JobRow]
    pulsed: bool
    """Whether pulses tell of this queue."""
    begun: bool = True
    """Whether anything was ever put on it; else there are only workers that listen."""

    def version_key(self) -> object:
        """Give what the pulse does not keep current."""
        if not self.pulsed:
            return tuple(self)
        books = self.row.jobs._replace(ready=0, delayed=0, leased=0, accepted=0, finished=0, blocked=0)
        return self.row.lasting(), books, self.row.jobs.imbalance, self[2:]


def _question(wanted: PageRequest, snapshot: Snapshot) -> Query[Sequence[JobRow]]:
    queue = wanted.parts["queue"]
    if queue not in snapshot.queues:
        return Query((), lambda _: ())
    asked = job_list.page(queue, "waiting", count=MOST_JOBS, labels_of=known_tasks.labels)
    return Query(asked.commands, lambda answers: asked.read(answers).rows)


def _slow(wanted: PageRequest, snapshot: Snapshot) -> Query[list[Any]]:
    queue = wanted.parts["queue"]
    if queue not in snapshot.queues:
        return Query((), lambda _: [ChartData(), []])
    hour = bucket("hour", snapshot.at)
    tasks = charts.by_task(queue, "hour", hour - HOURS + 1, hour)
    return together([chart_data([queue], snapshot.at, span_named(wanted.filters.get("span", ""))), tasks])


def _view(wanted: PageRequest, snapshot: Snapshot, answers: tuple[Sequence[JobRow], Any]) -> Queue:
    name = wanted.parts["queue"]
    waiting, (hour, tasks) = answers
    crews = [one for one in snapshot.consumers if name in one.queues]
    begun = name in snapshot.queues
    snapshot = snapshot.with_queue(name)
    if name not in snapshot.queues:
        raise NoSuchThing(
            f"no queue is called {name:.120}",
            hint="A queue begins when a job is put on it; names are exact.",
            may_come="queue",
        )
    rows = [worker_row(worker, crew, snapshot.at) for crew in crews for worker in crew.workers]
    rows.sort(key=lambda row: (row.queue != name, not row.job, row.name))
    return Queue(
        row=row_of(snapshot, name),
        stats=queue_stats(snapshot, name),
        workers=rows[:MOST_WORKERS],
        shared=sum(len(crew.workers) for crew in crews if len(crew.queues) > 1),
        charts=hour,
        tasks=tasks[:MOST_TASKS],
        next=waiting,
        pulsed=begun and len(snapshot.queues) <= MAX_QUEUES,
        begun=begun,
    )


QUEUE = Page("queue", "/queues/{queue}", "Queue", _view, _question, _slow, section="Queues")
