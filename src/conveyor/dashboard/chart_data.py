"""What the charts show: a history in points, and each chart as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.monitor import charts
from conveyor.monitor.format import duration, number
from conveyor.store import keys
from conveyor.store.query import together
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.monitor.charts import Point
    from conveyor.monitor.snapshot import Head
    from conveyor.store.query import Query


class Span(NamedTuple):
    """How far back the charts go, and in what steps."""

    name: str
    tier: str
    steps: int
    words: str


#: What can be chosen; the first is the default.
SPANS = (
    Span("hour", "minute", 60, "in the last hour"),
    Span("day", "hour", 24, "in the last 24 hours"),
    Span("month", "day", 30, "in the last 30 days"),
)

#: Queues whose gauges are added up; more would take the server too long. What all queues did is counted separately.
MAX_SUMMED = 40
#: Seconds within which consumers have noted that a job waits; they do so every ten.
NOTED_WITHIN = 15.0
#: For a history of one queue: without a note nothing is known anyway.
NO_HEADS: Mapping[str, Head] = {}


class ChartData(NamedTuple):
    """The history of one or several queues, step by step, the running step last."""

    points: Sequence[Point] = ()
    span: Span = SPANS[0]

    @property
    def succeeded(self) -> int:
        """Jobs that succeeded."""
        return sum(point.figures.succeeded for point in self.points)

    @property
    def bad(self) -> int:
        """Jobs that failed or were lost."""
        return sum(point.failed + point.figures.lost for point in self.points)

    def last_minute(self, now: float) -> int:
        """Return how many jobs finished in the minute before now, of a history by minutes.

        All of the running minute count, and those of the one before as if they had finished evenly.
        """
        if not self.points:
            return 0
        part = min(max((now - self.points[-1].at) / 60, 0.0), 1.0)
        before = sum(point.figures.finished for point in self.points[-2:-1])
        return round(self.points[-1].figures.finished + (1 - part) * before)

    @property
    def throughput(self) -> str:
        """The first chart as a sentence."""
        bad = f", {number(self.bad)} failed or were lost" if self.bad else ""
        again = sum(point.figures.retried for point in self.points)
        bad += f", {number(again)} retried" if again else ""
        jobs = "job" if self.succeeded == 1 else "jobs"
        return f"{number(self.succeeded)} {jobs} succeeded {self.span.words}{bad}"

    @property
    def latency(self) -> str:
        """The second chart as a sentence."""
        busy = [point.figures.runs for point in self.points if point.figures.runs.total]
        if not busy:
            return f"Nothing ran {self.span.words}"
        median, p95 = (duration(max(busy[-1].percentile(part) or 0.0, 0.001)) for part in (0.5, 0.95))
        return f"Median run {median}, p95 {p95}"


def span_named(name: str) -> Span:
    """Return the span of a name, the first for an unknown one."""
    return next((span for span in SPANS if span.name == name), SPANS[0])


def chart_data_of_all(
    queues: Sequence[str], now: float, span: Span = SPANS[0], heads: Mapping[str, Head] = NO_HEADS
) -> Query[ChartData]:
    """Query the history of all queues together, the busiest first; their gauges are those of the first 40."""
    last = bucket(span.tier, now)
    summed = chart_data(queues, now, span, heads)
    of_all = charts.series(keys.ALL_QUEUES, span.tier, last - span.steps + 1, last)
    return together([summed, of_all]).map(
        lambda found: ChartData(charts.with_all(found[0].points, found[1]), span)
    )


def chart_data(
    queues: Sequence[str], now: float, span: Span = SPANS[0], heads: Mapping[str, Head] = NO_HEADS
) -> Query[ChartData]:
    """Query the history of some queues together, or of the first 40 of them.

    `heads` are those of all queues in which jobs wait: without a consumer to note it, their age is unknown.
    """
    last = bucket(span.tier, now)
    chosen = list(queues)[:MAX_SUMMED]
    late = now - NOTED_WITHIN
    since = {name: late if head.put_at is None else head.put_at for name, head in heads.items()}
    since = {name: at for name, at in since.items() if at <= late}
    others = min((at for name, at in since.items() if name not in chosen), default=None)
    query = together([charts.series(queue, span.tier, last - span.steps + 1, last) for queue in chosen])
    oldest = [since.get(name) for name in chosen]
    return query.map(lambda histories: ChartData(charts.sum_of(histories, oldest, others), span))
