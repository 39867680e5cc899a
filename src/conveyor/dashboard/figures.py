"""What the charts show: a history in points, and each chart as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.rendering import duration, number
from conveyor.monitor import charts
from conveyor.store.query import Query, together
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.monitor.charts import Point
    from conveyor.monitor.snapshot import Head


class Span(NamedTuple):
    """How far back the charts go, and in what steps."""

    name: str
    tier: str
    steps: int
    words: str


#: What can be chosen; the first is what is shown otherwise.
SPANS = (
    Span("hour", "minute", 60, "in the last hour"),
    Span("day", "hour", 24, "in the last 24 hours"),
    Span("month", "day", 30, "in the last 30 days"),
)

#: Queues whose histories are added up; asking for more would take the server too long. What all queues did together is
#: kept besides, so that only their gauges are cut, and the figures of those who may not see all queues.
MOST_SUMMED = 40
#: Seconds within which consumers have noted that a job waits; they do so every ten.
NOTED_WITHIN = 15.0
#: For a history whose queues are asked about alone: no note means that nothing is known anyway.
NO_HEADS: Mapping[str, Head] = {}


class Figures(NamedTuple):
    """The history of one or several queues, step by step, the running step last."""

    points: Sequence[Point] = ()
    span: Span = SPANS[0]
    queues: int = 1
    """How many queues these are."""
    of: int = 1
    """How many there are; more where some are left out."""

    @property
    def done(self) -> int:
        """Jobs that succeeded."""
        return sum(point.succeeded for point in self.points)

    @property
    def bad(self) -> int:
        """Jobs that failed or were lost."""
        return sum(point.failed + point.lost for point in self.points)

    def last_minute(self, now: float) -> int:
        """Give how many jobs ended in the minute before now, of a history by minutes.

        All of the running minute count, and those of the one before as if they had ended evenly.
        """
        if not self.points:
            return 0
        part = min(max((now - self.points[-1].at) / 60, 0.0), 1.0)
        before = sum(map(_ended, self.points[-2:-1]))
        return round(_ended(self.points[-1]) + (1 - part) * before)

    @property
    def throughput(self) -> str:
        """The first chart as a sentence."""
        bad = f", {number(self.bad)} failed or were lost" if self.bad else ""
        again = sum(point.retried for point in self.points)
        bad += f", {number(again)} runs are tried again" if again else ""
        jobs = "job" if self.done == 1 else "jobs"
        return f"{number(self.done)} {jobs} succeeded {self.span.words}{bad}{self.cut}"

    @property
    def cut(self) -> str:
        """How many queues are left out, in words; else empty."""
        return f" (of the {self.queues} busiest of {number(self.of)} queues)" if self.of > self.queues else ""

    @property
    def latency(self) -> str:
        """The second chart as a sentence."""
        busy = [point for point in self.points if point.run_p95 is not None]
        if not busy:
            return f"Nothing ran {self.span.words}"
        last = busy[-1]
        half, most = (duration(max(span or 0.0, 0.001)) for span in (last.run_p50, last.run_p95))
        return f"Lately half of the runs took up to {half}, 95 % up to {most}"


def _ended(point: Point) -> int:
    return point.succeeded + point.failed + point.cancelled + point.lost + point.expired


def span_named(name: str) -> Span:
    """Give the span of a name, the first for a name that none has."""
    return next((span for span in SPANS if span.name == name), SPANS[0])


def figures_of_all(
    queues: Sequence[str], now: float, span: Span = SPANS[0], heads: Mapping[str, Head] = NO_HEADS
) -> Query[Figures]:
    """Ask for the history of all queues together, the busiest first; their gauges are those of the first 40."""
    last = bucket(span.tier, now)
    some = figures(queues, now, span, heads)
    asked = together([some, charts.series_of_all(span.tier, last - span.steps + 1, last)])

    def read(answers: Sequence[Any]) -> Figures:
        summed, of_all = asked.read(answers)
        points = charts.with_all(summed.points, of_all)
        return Figures(points, span, len(queues), len(queues))

    return Query(asked.commands, read)


def figures(
    queues: Sequence[str], now: float, span: Span = SPANS[0], heads: Mapping[str, Head] = NO_HEADS
) -> Query[Figures]:
    """Ask for the history of some queues together, of the first 40 of them where there are more.

    `heads` are those of all queues in which jobs wait: where no consumer notes that, it is not known since when.
    """
    last = bucket(span.tier, now)
    chosen = list(queues)[:MOST_SUMMED]
    late = now - NOTED_WITHIN
    since = {name: late if head.put_at is None else head.put_at for name, head in heads.items()}
    since = {name: at for name, at in since.items() if at <= late}
    others = min((at for name, at in since.items() if name not in chosen), default=None)
    asked = together([charts.series(queue, span.tier, last - span.steps + 1, last) for queue in chosen])

    def read(answers: Sequence[Any]) -> Figures:
        histories: list[list[Point]] = asked.read(answers)
        points = charts.sum_of(histories, [since.get(name) for name in chosen], others)
        return Figures(points, span, len(chosen), len(queues))

    return Query(asked.commands, read)
