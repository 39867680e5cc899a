"""One queue: its belt, its books, who works on it, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages.queues import QueueRow, row_of
from conveyor.dashboard.pages.workers import WorkerRow
from conveyor.dashboard.pages.workers import row_of as worker_row
from conveyor.dashboard.pulse import QueuePulse, queue_pulse
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import Wanted
    from conveyor.inspector.snapshot import Snapshot

#: Workers that are listed, those at work on this queue first; the workers page has all.
MOST_WORKERS = 12


class Queue(NamedTuple):
    """What the page shows."""

    row: QueueRow
    pulse: QueuePulse
    workers: Sequence[WorkerRow]
    shared: int
    """Workers that take from other queues, too."""
    pulsed: bool
    """Whether pulses tell of this queue."""

    def essence(self) -> object:
        """Give what the pulse does not keep current."""
        if not self.pulsed:
            return tuple(self)
        books = self.row.jobs._replace(ready=0, leased=0, accepted=0, finished=0, blocked=0)
        return self.row.lasting(), books, self.row.jobs.imbalance, self.workers, self.shared


def _question(_: Wanted, __: Snapshot) -> Query[Any]:
    return Query((), lambda _: None)


def _view(wanted: Wanted, snapshot: Snapshot, _: Any) -> Queue:
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
        pulsed=True,
    )


QUEUE = Page("queue", "/queues/{queue}", "Queue", _view, _question, section="Queues")
