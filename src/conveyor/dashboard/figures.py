"""What the charts show: a history in points, and each chart as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.rendering import duration, number
from conveyor.inspector import statistics
from conveyor.statistics import bucket
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.inspector.statistics import Point

#: Minutes that the charts show.
MINUTES = 60
#: Queues whose histories are added up; asking for more would take the server too long.
MOST_QUEUES = 40


class Figures(NamedTuple):
    """An hour of one or several queues, minute by minute, the running minute last."""

    points: Sequence[Point] = ()
    queues: int = 1
    """How many queues were added up."""

    @property
    def done(self) -> int:
        """Jobs that succeeded."""
        return sum(point.succeeded for point in self.points)

    @property
    def bad(self) -> int:
        """Jobs that failed or were lost."""
        return sum(point.failed + point.lost for point in self.points)

    @property
    def throughput(self) -> str:
        """The first chart as a sentence."""
        bad = f", {number(self.bad)} failed or were lost" if self.bad else ""
        return f"{number(self.done)} jobs succeeded in the last {MINUTES} minutes{bad}"

    @property
    def latency(self) -> str:
        """The second chart as a sentence."""
        busy = [point for point in self.points if point.run_p95 is not None]
        if not busy:
            return f"Nothing ran in the last {MINUTES} minutes"
        last = busy[-1]
        return f"Lately half of the runs took up to {duration(last.run_p50)}, 95 % up to {duration(last.run_p95)}"


def figures(queues: Sequence[str], now: float) -> Query[Figures]:
    """Ask for the last hour of some queues together, of the first 40 of them where there are more."""
    minute = bucket("minute", now)
    chosen = list(queues)[:MOST_QUEUES]
    asked = together([statistics.series(queue, "minute", minute - MINUTES + 1, minute) for queue in chosen])

    def read(answers: Sequence[Any]) -> Figures:
        histories: list[list[Point]] = asked.read(answers)
        points = statistics.sum_of(histories) if len(histories) > 1 else [*histories, []][0]
        return Figures(points, len(chosen))

    return Query(asked.commands, read)
