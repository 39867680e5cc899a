"""All queues: how much is where in each, how fast it goes, and whether it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.issues import KINDS, kinds_of
from conveyor.dashboard.live_stats import MAX_QUEUES
from conveyor.dashboard.page import Page
from conveyor.dashboard.pages.paging import Slice, slice_of
from conveyor.monitor import charts
from conveyor.monitor.snapshot import Rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count
    from conveyor.store.query import Query

#: Queues of one page: more would make it larger than 60 KB.
ON_PAGE = 30
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
    """As of `Count.state`."""
    ended: Sequence[int] = ()
    """Jobs that ended in each of the last 30 minutes, the one that goes on as the last."""

    def lasting(self) -> tuple[object, ...]:
        """Give what no pulse keeps current."""
        state = "open" if self.state == "full" else self.state
        return self.name, state, self.jobs.maxsize, self.workers > 0, tuple(self.ended)


class Queues(NamedTuple):
    """What the page shows."""

    rows: Slice[QueueRow]
    all: int
    """Queues there are, those that the filter leaves out included."""
    text: str
    needs: str
    """What must be so of the queues, as a key of `attention.KINDS`; empty: anything."""
    needs_text: str
    """The same in words."""
    pulsed: bool
    """Whether every pulse tells of all queues."""

    def version_key(self) -> object:
        """Give what the pulse does not keep current."""
        if not self.pulsed:
            return tuple(self)
        return self.rows._replace(items=[]), [row.lasting() for row in self.rows.items], self[1:-1]


def row_of(snapshot: Snapshot, name: str) -> QueueRow:
    """Give the line of a queue that the snapshot knows."""
    count = snapshot.queues[name]
    workers = snapshot.workers_of(name)
    busy = sum(worker.is_busy_on(name) for worker in workers)
    return QueueRow(name, count, snapshot.rates.get(name, Rate()), len(workers), busy, count.state)


def names_on_page(wanted: PageRequest, snapshot: Snapshot) -> Slice[str]:
    """Give the names of the queues that the page shows, by name."""
    text = wanted.filters.get("name", "").strip()[:LONGEST_FILTER].casefold()
    needs = _needs(wanted)
    names = sorted(
        name
        for name, count in snapshot.queues.items()
        if text in name.casefold() and (not needs or needs in kinds_of(snapshot, name, count))
    )
    return slice_of(names, names, wanted, ON_PAGE)


def _needs(wanted: PageRequest) -> str:
    needs = wanted.filters.get("needs", "")
    return needs if needs in KINDS else ""


def _slow(wanted: PageRequest, snapshot: Snapshot) -> Query[dict[str, list[int]]]:
    return charts.sparkline(names_on_page(wanted, snapshot).items, snapshot.at)


def _view(
    wanted: PageRequest, snapshot: Snapshot, answers: tuple[None, Mapping[str, Sequence[int]]]
) -> Queues:
    ended = answers[1]
    found, needs = names_on_page(wanted, snapshot), _needs(wanted)
    rows = [row_of(snapshot, name)._replace(ended=ended.get(name, ())) for name in found.items]
    return Queues(
        rows=Slice(rows, *found[1:]),
        all=len(snapshot.queues),
        text=wanted.filters.get("name", "").strip()[:LONGEST_FILTER],
        needs=needs,
        needs_text=f"{found.total:,} {KINDS[needs].many}" if needs else "",
        pulsed=len(snapshot.queues) <= MAX_QUEUES,
    )


QUEUES = Page("queues", "/queues", "Queues", _view, slow=_slow, menu="Queues", key="q", section="Queues")
