"""All queues: how much is where in each, how fast it goes, and whether it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.issues import KINDS, kinds_of
from conveyor.dashboard.live_stats import MAX_QUEUES, QueueStats, queue_stats
from conveyor.dashboard.page import Page, Slice, slice_of
from conveyor.monitor import charts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query

#: Queues of one page: more would make it larger than 60 KB.
ON_PAGE = 30
#: Characters of the filter that count.
MAX_FILTER = 100


class QueueRow(NamedTuple):
    """One queue's line."""

    name: str
    stats: QueueStats
    ended: Sequence[int] = ()
    """Jobs that finished in each of the last 30 minutes, the running one last."""

    def lasting(self) -> tuple[object, ...]:
        """Return what the live numbers do not keep current."""
        stats = self.stats
        state = "open" if stats.state == "full" else stats.state
        return self.name, state, stats.maxsize, stats.workers > 0, tuple(self.ended)


class QueuesView(NamedTuple):
    """What the page shows."""

    rows: Slice[QueueRow]
    all: int
    """Number of queues, those that the filter leaves out included."""
    text: str
    needs: str
    """The issue that the queues must have, as a key of `issues.KINDS`, or ""."""
    needs_text: str
    """The same in words."""
    live: bool
    """True if the live numbers include all queues."""

    def version_key(self) -> object:
        """Return what the live numbers do not keep current."""
        if not self.live:
            return tuple(self)
        return self.rows._replace(items=[]), [row.lasting() for row in self.rows.items], self[1:-1]


def _text(request: PageRequest) -> str:
    return request.filters.get("name", "").strip()[:MAX_FILTER]


def _needs(request: PageRequest) -> str:
    needs = request.filters.get("needs", "")
    return needs if needs in KINDS else ""


def _names(request: PageRequest, snapshot: Snapshot) -> Slice[str]:
    """Return the names of the queues that the page shows."""
    text, needs = _text(request).casefold(), _needs(request)
    names = sorted(
        name
        for name, count in snapshot.queues.items()
        if text in name.casefold() and (not needs or needs in kinds_of(snapshot, name, count))
    )
    return slice_of(names, names, request, ON_PAGE)


def _slow(request: PageRequest, snapshot: Snapshot) -> Query[dict[str, list[int]]]:
    return charts.sparkline(_names(request, snapshot).items, snapshot.at)


def _view(
    request: PageRequest, snapshot: Snapshot, replies: tuple[None, Mapping[str, Sequence[int]]]
) -> QueuesView:
    found, needs = _names(request, snapshot), _needs(request)
    rows = [QueueRow(name, queue_stats(snapshot, name), replies[1].get(name, ())) for name in found.items]
    return QueuesView(
        rows=Slice(rows, *found[1:]),
        all=len(snapshot.queues),
        text=_text(request),
        needs=needs,
        needs_text=f"{found.total:,} {KINDS[needs].many}" if needs else "",
        live=len(snapshot.queues) <= MAX_QUEUES,
    )


QUEUES = Page("queues", "/queues", "Queues", _view, slow=_slow, menu="Queues", key="q")
