"""One queue: its belt, its books, who works on it, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages.queues import QueueRow, row_of
from conveyor.dashboard.pages.workers import row_of as worker_row
from conveyor.dashboard.pulse import MOST_QUEUES, QueuePulse, queue_pulse
from conveyor.dashboard.rendering import duration, number
from conveyor.inspector import listing, statistics
from conveyor.statistics import bucket
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import Wanted
    from conveyor.dashboard.pages.workers import WorkerRow
    from conveyor.inspector.listing import JobRow
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.inspector.statistics import Point, TaskFigures

#: Workers that are listed, those at work on this queue first; the workers page has all.
MOST_WORKERS = 12
#: Jobs in line, and tasks, that are listed.
MOST_JOBS, MOST_TASKS = 10, 8
#: Minutes that the charts show.
MINUTES = 60


class Figures(NamedTuple):
    """What the queue did lately, minute by minute and by task, and what is next."""

    points: Sequence[Point] = ()
    tasks: Sequence[TaskFigures] = ()
    """In this hour and the one before."""
    next: Sequence[JobRow] = ()

    @property
    def throughput(self) -> str:
        """The first chart as a sentence."""
        went, failed = (
            sum(point.succeeded for point in self.points),
            sum(point.failed + point.lost for point in self.points),
        )
        bad = f", {number(failed)} failed or were lost" if failed else ""
        return f"{number(went)} jobs succeeded in the last {MINUTES} minutes{bad}"

    @property
    def latency(self) -> str:
        """The second chart as a sentence."""
        busy = [point for point in self.points if point.run_p95 is not None]
        if not busy:
            return f"Nothing ran in the last {MINUTES} minutes"
        last = busy[-1]
        return f"Lately half of the runs took up to {duration(last.run_p50)}, 95 % up to {duration(last.run_p95)}"

    @property
    def oldest(self) -> float | None:
        """When the job that is next was put, seconds since 1970; None where none waits."""
        return self.next[0].put_at if self.next else None


class Queue(NamedTuple):
    """What the page shows."""

    row: QueueRow
    pulse: QueuePulse
    workers: Sequence[WorkerRow]
    shared: int
    """Workers that take from other queues, too."""
    figures: Figures
    pulsed: bool
    """Whether pulses tell of this queue."""

    def essence(self) -> object:
        """Give what the pulse does not keep current."""
        if not self.pulsed:
            return tuple(self)
        books = self.row.jobs._replace(ready=0, leased=0, accepted=0, finished=0, blocked=0)
        figures = self.figures._replace(points=self.figures.points[:-1])
        return self.row.lasting(), books, self.row.jobs.imbalance, self.workers, self.shared, figures


def _question(wanted: Wanted, snapshot: Snapshot) -> Query[Figures]:
    queue = wanted.parts["queue"]
    if queue not in snapshot.queues:
        return Query((), lambda _: Figures())
    minute, hour = bucket("minute", snapshot.at), bucket("hour", snapshot.at)
    asked = together(
        [
            statistics.series(queue, "minute", minute - MINUTES + 1, minute),
            statistics.by_task(queue, "hour", hour - 1, hour),
            listing.page(queue, "waiting", count=MOST_JOBS),
        ]
    )

    def read(answers: Sequence[Any]) -> Figures:
        points, tasks, jobs = asked.read(answers)
        return Figures(points, tasks[:MOST_TASKS], jobs.rows)

    return Query(asked.commands, read)


def _view(wanted: Wanted, snapshot: Snapshot, figures: Figures) -> Queue:
    name = wanted.parts["queue"]
    if name not in snapshot.queues:
        raise NoSuchThing(
            f"no queue is called {name:.120}", hint="A queue begins when a job is put on it; names are exact."
        )
    crews = [one for one in snapshot.consumers if name in one.queues]
    rows = [worker_row(worker, crew, snapshot.at) for crew in crews for worker in crew.workers]
    rows.sort(key=lambda row: (row.queue != name, not row.job, row.name))
    return Queue(
        row=row_of(snapshot, name),
        pulse=queue_pulse(snapshot, name),
        workers=rows[:MOST_WORKERS],
        shared=sum(len(crew.workers) for crew in crews if len(crew.queues) > 1),
        figures=figures,
        pulsed=len(snapshot.queues) <= MOST_QUEUES,
    )


QUEUE = Page("queue", "/queues/{queue}", "Queue", _view, _question, section="Queues")
