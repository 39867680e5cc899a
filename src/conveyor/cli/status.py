"""`conveyor status`: queues and workers on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from conveyor.cli import exits
from conveyor.cli.desk import open_inspector
from conveyor.cli.output import Column, count_of, document, note, screen, table
from conveyor.cli.queues import EMPTY, QueueLine, queue_lines, state_text
from conveyor.cli.workers import EMPTY as NO_WORKERS
from conveyor.cli.workers import consumer_document, worker_table
from conveyor.monitor import workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.cli.commands.look import Status
    from conveyor.wire.control_messages import ConsumerReport

_COLUMNS = (
    Column("QUEUE"),
    Column("WAITING", number=True),
    Column("DELAYED", number=True),
    Column(""),
    Column("RUNNING", number=True),
    Column("DEAD", number=True),
    Column("WORKERS", number=True),
    Column("STATE"),
)
#: ListenReply of the longest bar.
_BAR = 20


def show(asked: Status) -> int:
    """Show queues and workers."""
    inspector = open_inspector(quiet=asked.json)
    lines, consumers = queue_lines(inspector), inspector.consumers()
    if asked.json:
        document(
            "status/v1",
            queues=[line.as_document() for line in lines],
            consumers=[consumer_document(one) for one in consumers],
            workers=workers.counts(consumers)._asdict(),
        )
        return exits.OK
    if lines:
        longest = max(line.count.qsize for line in lines)
        table(_COLUMNS, [_row(line, longest) for line in lines])
    else:
        note(EMPTY)
    screen().print()
    screen().print(_workers_line(consumers))
    if any(one.workers for one in consumers):
        worker_table(consumers)
    return exits.OK


def _row(line: QueueLine, longest: int) -> Sequence[str | Text]:
    count = line.count
    return (
        line.name,
        f"{count.ready:,}",
        f"{count.delayed:,}",
        _bar(line, longest),
        f"{count.leased:,}",
        Text(f"{count.dead:,}", style="red" if count.dead else ""),
        f"{line.workers:,}",
        state_text(line.state),
    )


def _bar(line: QueueLine, longest: int) -> Text:
    """Draw how full a queue is: of its bound, or compared with the longest queue where it has none."""
    whole = line.count.maxsize or longest
    share = min(1.0, line.count.qsize / whole) if whole else 0.0
    filled = max(round(share * _BAR), 1 if line.count.qsize else 0)
    bar = Text("█" * filled, style="yellow" if line.state == "full" else "cyan")
    if line.count.maxsize:
        bar.append("░" * (_BAR - filled), style="dim")
    return bar


def _workers_line(consumers: Sequence[ConsumerReport]) -> str:
    crew = workers.counts(consumers)
    if not crew.all:
        return NO_WORKERS
    leaving = f", {crew.leaving:,} leaving" if crew.leaving else ""
    consumers_text = count_of(len(consumers), "consumer")
    return f"{count_of(crew.all, 'worker')} in {consumers_text}, {crew.busy:,} busy{leaving}"
