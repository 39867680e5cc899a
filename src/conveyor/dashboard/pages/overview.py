"""The first page: how it goes, what needs attention, and every queue's belt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.chart_data import SPANS, ChartData, chart_data_of_all, span_named
from conveyor.dashboard.issues import Issue, IssueInputs, issues
from conveyor.dashboard.live_stats import LiveStats, live_stats
from conveyor.dashboard.page import Page
from conveyor.dashboard.pages.queues import QueueRow
from conveyor.monitor import charts, workers
from conveyor.store import fitness
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot


class OverviewView(NamedTuple):
    """What the page shows."""

    stats: LiveStats
    belts: Sequence[str]
    """The queues whose belts are drawn, by name."""
    rows: Sequence[QueueRow]
    """The busiest queues, by name; the page of queues has all."""
    more: int
    """Queues that are not in the table."""
    issues: list[Issue]
    charts: ChartData
    failed: int
    """Jobs that failed or were lost in the last hour."""
    minute: int
    """Jobs that finished in the last minute; by the history until a whole one was polled."""

    def version_key(self) -> object:
        """Return what the live numbers do not keep current."""
        belts = [(name, self.stats.queues[name].maxsize) for name in self.belts]
        return belts, [row.lasting() for row in self.rows], self[3:-1]


def _question(_: PageRequest, __: Snapshot) -> Query[Any]:
    memory = Query((fitness.info("memory", optional=True),), lambda replies: replies[0])
    return together([memory, workers.last_reports()])


def _slow(request: PageRequest, snapshot: Snapshot) -> Query[Any]:
    busiest = list(dict.fromkeys((*live_stats(snapshot, 1.0).queues, *snapshot.queues)))
    span = span_named(request.filters.get("span", ""))
    queries: list[Query[Any]] = [
        chart_data_of_all(busiest, snapshot.at, span, snapshot.heads),
        charts.sparkline(snapshot.busiest.many, snapshot.at),
    ]
    if span is not SPANS[0]:
        queries.append(chart_data_of_all(busiest, snapshot.at))
    return together(queries)


def _view(_: PageRequest, snapshot: Snapshot, replies: Any) -> OverviewView:
    (memory, heard), (history, sparks, *minutes) = replies
    hour = minutes[0] if minutes else history
    stats = live_stats(snapshot, 1.0)
    return OverviewView(
        stats=stats,
        belts=snapshot.busiest.few,
        rows=[QueueRow(name, stats.queues[name], sparks.get(name, ())) for name in snapshot.busiest.many],
        more=len(snapshot.queues) - len(snapshot.busiest.many),
        issues=issues(snapshot, IssueInputs(memory, heard, hour.points)),
        charts=history,
        failed=hour.bad,
        minute=hour.last_minute(snapshot.at) if stats.per_minute is None else stats.per_minute,
    )


OVERVIEW = Page("overview", "/", "Overview", _view, _question, _slow, menu="Overview", key="o")
