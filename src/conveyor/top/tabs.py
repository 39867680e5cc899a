"""The tabs of queues, workers and failures: the columns and rows that each shows of a poll result."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from conveyor import clock
from conveyor.monitor import belt
from conveyor.monitor.format import STATE_COLORS, safe, short_size, timer, together
from conveyor.top.table import Column, Row, number, progress, rate, right
from conveyor.wire.control_messages import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store.commands import Count
    from conveyor.top.poller import PollResult
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport

#: Icon and color of a worker by its letter on the belt, in the order in which they are drawn, and its meaning.
ICONS = {
    belt.BUSY: ("▶", "green", "running a job"),
    belt.BUSY_ELSEWHERE: ("▷", "green", "running another queue's job"),
    belt.IDLE: ("⏸", "", "waiting for a job"),
    belt.STARTING: ("◌", "cyan", "starting"),
    belt.LEAVING: ("◁", "yellow", "leaving"),
    belt.PAUSED: ("■", "yellow", "paused"),
    belt.SILENT_ICON: ("?", "red", "silent"),
}
#: Columns for blocked producers and for workers on both sides of the belt.
BLOCKED_WIDTH, ICONS_WIDTH = 4, 8


class Tab(NamedTuple):
    """One tab."""

    name: str
    title: str
    columns: Callable[[PollResult], Sequence[Column]]
    rows: Callable[[PollResult, str, Sequence[int]], list[Row]]
    """Takes what the rows must contain, and the widths of the columns."""
    empty: Callable[[PollResult, str], str]
    """Returns the text that is shown instead of rows."""


QUEUE_COLUMNS = (
    Column("queue", 10, grows=2),
    Column("belt", 24, grows=3),
    Column("waiting", 7, number=True),
    Column("run", 4, number=True),
    Column("in/s", 5, number=True),
    Column("out/s", 5, number=True),
    Column("deferred", 8, number=True, wide_only=True),
    Column("delayed", 7, number=True, wide_only=True),
    Column("dead", 5, number=True),
    Column("limit", 7, number=True, wide_only=True),
    Column("", 2),
)
WORKER_COLUMNS = (
    Column("worker", 14, grows=2, keep_end=True),
    Column("state", 8),
    Column("task", 10, grows=2, keep_end=True),
    Column("job", 14, wide_only=True),
    Column("queue", 10, grows=1, wide_only=True),
    Column("for", 7, number=True),
    Column("progress", 13, grows=3),
    Column("cpu", 4, number=True),
    Column("mem", 5, number=True),
    Column("runs", 7, number=True, wide_only=True),
)
FAILURE_COLUMNS = (
    Column("jobs", 5, number=True),
    Column("queue", 10, grows=1),
    Column("task", 12, grows=1, keep_end=True),
    Column("error", 24, grows=6),
    Column("where", 18, grows=2, wide_only=True, keep_end=True),
    Column("last", 7, number=True),
)


def queue_rows(result: PollResult, text: str, widths: Sequence[int]) -> list[Row]:
    """Return a row for each queue."""
    snapshot = result.snapshot
    found = []
    for name, count in snapshot.queues.items():
        if not _contains(text, name):
            continue
        per_second = snapshot.rate_of(name)
        cells = (
            Text(name),
            draw_belt(name, count, snapshot.workers_of(name), widths[1]),
            number(count.ready),
            number(count.leased),
            rate(per_second.accepted),
            rate(per_second.ended),
            number(count.deferred),
            number(count.delayed),
            number(count.dead, "red"),
            right(f"{count.maxsize:,}" if count.maxsize else "none", "" if count.maxsize else "dim"),
            Text("✕", "red") if count.shutdown else Text("⏸" if count.paused else "", "bold yellow"),
        )
        found.append(Row(name, cells))
    return found


def draw_belt(queue: str, count: Count, workers: Sequence[WorkerReport], width: int) -> Text:
    """Return the belt of a queue in `width` columns; the jobs are at the workers' end."""
    room = max(4, width - BLOCKED_WIDTH - ICONS_WIDTH - 2)
    drawn = belt.belt_of(queue, count, workers, room)
    color = "red" if count.is_full else "yellow" if count.paused else "blue"
    text = Text(no_wrap=True)
    text.append((f"{min(count.blocked, 999)}»" if count.blocked else "").rjust(BLOCKED_WIDTH), "bold red")
    text.append(" " * (1 + room - drawn.slots))
    text.append(("▯" if count.maxsize else "·") * (drawn.slots - drawn.filled), "dim")
    text.append("▮" * drawn.filled, color).append(" ")
    counted = Counter(belt.letter_of(worker, queue) for worker in workers)
    for letter, (icon, icon_color, _) in ICONS.items():
        if many := counted[letter]:
            text.append(icon * many if len(workers) <= ICONS_WIDTH else f"{icon}{many}", icon_color)
    return text


def worker_rows(result: PollResult, text: str, widths: Sequence[int]) -> list[Row]:
    """Return a row for each worker."""
    return [
        Row(worker.name, _worker_cells(result, consumer, worker, widths[6]), (worker.queue, worker.job))
        for consumer in result.snapshot.consumers
        for worker in consumer.workers
        if _contains(
            text, worker.name, worker.task, worker.job, worker.state, consumer.host, *consumer.queues
        )
    ]


def _worker_cells(
    result: PollResult, consumer: ConsumerReport, worker: WorkerReport, room: int
) -> tuple[Text, ...]:
    state = f"{worker.state}, ⏸" if worker.state == "busy" and worker.paused else worker.state
    started = result.started.get(worker.name)
    return (
        Text(safe(worker.name)),
        Text(safe(state), STATE_COLORS.get(worker.state, "dim")),
        Text(safe(worker.task)),
        Text(together(worker)),
        Text(worker.queue or ", ".join(consumer.queues), "" if worker.queue else "dim"),
        right(_running_time(worker, started)),
        progress(worker, room),
        right(f"{worker.cpu:.0%}", "" if worker.cpu else "dim"),
        right(short_size(worker.memory) if worker.memory else ""),
        number(worker.jobs_done),
    )


def _running_time(worker: WorkerReport, started: float | None) -> str:
    """Return the time that a worker's job has been running; of a silent one it is known up to its last report."""
    if worker.state == SILENT and worker.job:
        return f"≥{timer(worker.busy_for)}"
    return timer(clock.monotonic() - started) if started is not None and worker.job else ""


def failure_rows(result: PollResult, text: str, _: Sequence[int]) -> list[Row]:
    """Return a row for each group of dead jobs."""
    found = []
    for group in result.failures:
        if not _contains(text, *group.queues, group.task, group.kind, group.message, group.where):
            continue
        cells = (
            number(group.count),
            Text(group.queue if len(group.queues) == 1 else f"{len(group.queues):,} queues"),
            Text(safe(group.task) or "?"),
            Text.assemble((safe(group.kind) or "lost", "red"), f" {safe(group.message)}"),
            Text(safe(group.where), "dim"),
            right(timer(result.now() - group.last_seen)),
        )
        found.append(Row(f"group {group.fingerprint}", cells, (group.queue, group.newest)))
    return found


def _contains(text: str, *fields: str) -> bool:
    return not text or any(text.casefold() in field.casefold() for field in fields)


def _empty(message: str) -> Callable[[PollResult, str], str]:
    return lambda _, text: f"No row contains {text!r}. Esc clears the filter." if text else message


def _always(columns: Sequence[Column]) -> Callable[[PollResult], Sequence[Column]]:
    return lambda _: columns


QUEUES = Tab(
    *("queues", "Queues", _always(QUEUE_COLUMNS), queue_rows),
    _empty("No queues yet. Put the first job with `conveyor produce`."),
)
WORKERS = Tab(
    *("workers", "Workers", _always(WORKER_COLUMNS), worker_rows),
    _empty("No workers. Start some with `conveyor consume QUEUE`."),
)
FAILURES = Tab(
    *("failures", "Failures", _always(FAILURE_COLUMNS), failure_rows),
    _empty("No dead jobs. Jobs that fail finally are listed here, grouped by failure."),
)
