"""All queues: how much is where in each, how fast it goes, and whether it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.page import Page
from conveyor.dashboard.pages.paging import Slice, slice_of
from conveyor.dashboard.pulse import MOST_QUEUES
from conveyor.inspector.snapshot import Rate

if TYPE_CHECKING:
    from conveyor.dashboard.page import Wanted
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.store.commands import Count

#: Queues of one page: more would make it larger than 60 KB.
ON_PAGE = 50
#: Characters of the filter that count.
LONGEST_FILTER = 100


class QueueRow(NamedTuple):
    """One queue's line."""

    name: str
    jobs: Count
    rate: Rate
    workers: int
    busy: int
    state: str

    def lasting(self) -> tuple[object, ...]:
        """Give what no pulse keeps current."""
        return self.name, self.state, self.jobs.maxsize, self.jobs.delayed, self.workers > 0


class Queues(NamedTuple):
    """What the page shows."""

    rows: Slice[QueueRow]
    all: int
    """Queues there are, those that the filter leaves out included."""
    text: str
    pulsed: bool
    """Whether every pulse tells of all queues."""

    def essence(self) -> object:
        """Give what the pulse does not keep current."""
        if not self.pulsed:
            return tuple(self)
        return self.rows._replace(items=[]), [row.lasting() for row in self.rows.items], self.all, self.text


def state_of(count: Count) -> str:
    """Give the word for how a queue stands: open, paused or shut."""
    return "shut" if count.shutdown else "paused" if count.paused else "open"


def row_of(snapshot: Snapshot, name: str) -> QueueRow:
    """Give the line of a queue that the snapshot knows."""
    count = snapshot.queues[name]
    workers = snapshot.workers_of(name)
    busy = sum(worker.state == "busy" and worker.queue == name for worker in workers)
    return QueueRow(name, count, snapshot.rates.get(name, Rate()), len(workers), busy, state_of(count))


def names_on_page(wanted: Wanted, snapshot: Snapshot) -> Slice[str]:
    """Give the names of the queues that the page shows, by name."""
    text = wanted.filters.get("name", "").strip()[:LONGEST_FILTER].casefold()
    names = sorted(name for name in snapshot.queues if text in name.casefold())
    return slice_of(names, str, wanted.filters, wanted.path, ON_PAGE)


def _view(wanted: Wanted, snapshot: Snapshot, _: object) -> Queues:
    found = names_on_page(wanted, snapshot)
    return Queues(
        rows=Slice([row_of(snapshot, name) for name in found.items], *found[1:]),
        all=len(snapshot.queues),
        text=wanted.filters.get("name", "").strip()[:LONGEST_FILTER],
        pulsed=len(snapshot.queues) <= MOST_QUEUES,
    )


QUEUES = Page("queues", "/queues", "Queues", _view, menu="Queues", key="q", section="Queues")
