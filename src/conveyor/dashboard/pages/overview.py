"""The first page: how it goes, what needs somebody, and every queue's belt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.attention import Concern, Told, concerns
from conveyor.dashboard.figures import SPANS, Figures, figures_of_all, span_named
from conveyor.dashboard.page import Page
from conveyor.dashboard.pages.queues import row_of
from conveyor.dashboard.pulse import Pulse, pulse_of
from conveyor.monitor import charts, workers
from conveyor.store import plain
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import Wanted
    from conveyor.dashboard.pages.queues import QueueRow
    from conveyor.monitor.snapshot import Snapshot


class Overview(NamedTuple):
    """What the overview shows."""

    pulse: Pulse
    belts: Sequence[str]
    """The queues whose belts are drawn, by name."""
    rows: Sequence[QueueRow]
    """The busiest queues, by name; the page of queues has all."""
    more: int
    """Queues that are not in the table."""
    concerns: list[Concern]
    figures: Figures
    failed: int
    """Jobs that failed or were lost in the last hour."""
    minute: int
    """Jobs that ended in the last minute; by the history until a whole one was looked at."""

    def essence(self) -> object:
        """Give what the pulse does not keep current."""
        belts = [(name, self.pulse.queues[name].maxsize) for name in self.belts]
        return belts, [row.lasting() for row in self.rows], self[3:-1]


def _question(_: Wanted, __: Snapshot) -> Query[Any]:
    return together(
        [Query((plain.info("memory", optional=True),), lambda answers: answers[0]), workers.heard()]
    )


def _slow(wanted: Wanted, snapshot: Snapshot) -> Query[Any]:
    busiest = list(dict.fromkeys((*pulse_of(snapshot, 1.0).queues, *snapshot.queues)))
    span = span_named(wanted.filters.get("span", ""))
    asked: list[Query[Any]] = [
        figures_of_all(busiest, snapshot.at, span, snapshot.heads),
        charts.sparkline(snapshot.busiest.many, snapshot.at),
    ]
    if span is not SPANS[0]:
        asked.append(figures_of_all(busiest, snapshot.at))
    return together(asked)


def _view(_: Wanted, snapshot: Snapshot, answers: Any) -> Overview:
    (memory, heard), (history, sparks, *minutes) = answers
    hour = minutes[0] if minutes else history
    pulse = pulse_of(snapshot, 1.0)
    return Overview(
        pulse=pulse,
        belts=snapshot.busiest.few,
        rows=[row_of(snapshot, name)._replace(ended=sparks.get(name, ())) for name in snapshot.busiest.many],
        more=len(snapshot.queues) - len(snapshot.busiest.many),
        concerns=concerns(snapshot, Told(memory, heard, hour.points)),
        figures=history,
        failed=hour.bad,
        minute=hour.last_minute(snapshot.at) if pulse.per_minute is None else pulse.per_minute,
    )


OVERVIEW = Page(
    "overview", "/", "Overview", _view, _question, _slow, menu="Overview", key="o", section="Overview"
)
