"""`conveyor queues`: what waits, runs and failed, and who listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from conveyor.cli import exits
from conveyor.cli.desk import open_inspector
from conveyor.cli.output import Column, document, note, table
from conveyor.monitor.snapshot import EMPTY as EMPTY_COUNT

if TYPE_CHECKING:
    from conveyor.cli.commands.look import Queues
    from conveyor.monitor import Inspector
    from conveyor.store.commands import Count

_COLUMNS = (
    Column("QUEUE"),
    Column("WAITING", number=True),
    Column("DELAYED", number=True),
    Column("RUNNING", number=True),
    Column("DEAD", number=True),
    Column("BOUND", number=True),
    Column("WORKERS", number=True),
    Column("STATE"),
)
#: What to do where there is nothing to show.
EMPTY = "No queues yet. `conveyor produce` puts the first jobs, `conveyor demo` shows it all at work."


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue as lists show it."""

    name: str
    count: Count
    workers: int
    """How many workers take from it."""

    @property
    def state(self) -> str:
        """The state in one word."""
        return self.count.state

    def as_document(self) -> dict[str, Any]:
        """Give it for JSON."""
        count = self.count
        return {
            "name": self.name,
            "state": self.state,
            "waiting": count.ready,
            "delayed": count.delayed,
            "running": count.leased,
            "dead": count.dead,
            "maxsize": count.maxsize,
            "workers": self.workers,
            "blocked_producers": count.blocked,
            "accepted": count.accepted,
            "finished": count.finished,
            "cancelled": count.cancelled,
        }


def show(asked: Queues) -> int:
    """List the queues."""
    lines = queue_lines(open_inspector(quiet=asked.json))
    if asked.json:
        document("queues/v1", queues=[line.as_document() for line in lines])
    elif lines:
        table(_COLUMNS, map(_row, lines))
    else:
        note(EMPTY)
    return exits.OK


def queue_lines(inspector: Inspector) -> list[QueueLine]:
    """Return the lines of all queues by name, with those that have only listeners."""
    listening: dict[str, int] = {}
    for consumer in inspector.consumers():
        for queue in consumer.queues:
            listening[queue] = listening.get(queue, 0) + len(consumer.workers)
    counts = dict.fromkeys(listening, EMPTY_COUNT) | inspector.queues()
    return [QueueLine(name, count, listening.get(name, 0)) for name, count in sorted(counts.items())]


def state_text(state: str) -> Text:
    """Give a queue's state in its colour."""
    return Text(state, style={"open": "green", "full": "yellow", "paused": "yellow", "shut": "red"}[state])


def _row(line: QueueLine) -> tuple[str | Text, ...]:
    count = line.count
    return (
        line.name,
        f"{count.ready:,}",
        f"{count.delayed:,}",
        f"{count.leased:,}",
        Text(f"{count.dead:,}", style="red" if count.dead else ""),
        f"{count.maxsize:,}" if count.maxsize else "none",
        Text(f"{line.workers:,}", style="yellow" if count.live and not line.workers else ""),
        state_text(line.state),
    )
