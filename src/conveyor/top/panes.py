"""What each tab shows of a sight: columns, rows, and a line above them. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from conveyor import clock
from conveyor.monitor.snapshot import Rate
from conveyor.top.belt import belt, state_of
from conveyor.top.table import Column, Row
from conveyor.top.words import COLOURS, clean, elapsed, memory, number, progress, rate, right
from conveyor.wire.control_messages import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store.commands import Count
    from conveyor.top.watch import Sight
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport


class Pane(NamedTuple):
    """One tab."""

    name: str
    title: str
    columns: Callable[[Sight], Sequence[Column]]
    rows: Callable[[Sight, str, Sequence[int]], list[Row]]
    """Gets what they must contain, and the widths of the columns."""
    empty: Callable[[Sight, str], str]
    """What is said where there are no rows."""


QUEUE_COLUMNS = (
    Column("queue", 10, grows=2),
    Column("belt", 24, grows=3),
    Column("waiting", 7, number=True),
    Column("run", 4, number=True),
    Column("in/s", 5, number=True),
    Column("out/s", 5, number=True),
    Column("delayed", 7, number=True, roomy=True),
    Column("dead", 5, number=True),
    Column("bound", 7, number=True, roomy=True),
    Column("", 2),
)
WORKER_COLUMNS = (
    Column("worker", 14, grows=2, end=True),
    Column("state", 8),
    Column("task", 10, grows=2, end=True),
    Column("job", 14, roomy=True),
    Column("queue", 10, grows=1, roomy=True),
    Column("for", 7, number=True),
    Column("progress", 13, grows=3),
    Column("cpu", 4, number=True),
    Column("mem", 5, number=True),
    Column("runs", 7, number=True, roomy=True),
)
FAILURE_COLUMNS = (
    Column("jobs", 5, number=True),
    Column("queue", 10, grows=1),
    Column("task", 12, grows=1, end=True),
    Column("error", 24, grows=6),
    Column("where", 18, grows=2, roomy=True, end=True),
    Column("last", 7, number=True),
)


def contains(text: str, *fields: str) -> bool:
    """Tell whether one of these has a text in it, in upper or lower case."""
    return not text or any(text.casefold() in field.casefold() for field in fields)


def queue_rows(sight: Sight, text: str, widths: Sequence[int]) -> list[Row]:
    """Give a row for each queue."""
    found = []
    for name, count in sight.snapshot.queues.items():
        if not contains(text, name):
            continue
        per_second = sight.snapshot.rates.get(name, Rate())
        cells = (
            Text(name),
            belt(count, sight.snapshot.workers_of(name), widths[1]),
            number(count.ready),
            number(count.leased),
            rate(per_second.accepted),
            rate(per_second.ended),
            number(count.delayed),
            number(count.dead, "red"),
            right(f"{count.maxsize:,}" if count.maxsize else "none", "" if count.maxsize else "dim"),
            _queue_sign(count),
        )
        found.append(Row(name, cells))
    return found


def _queue_sign(count: Count) -> Text:
    if count.shutdown:
        return Text("✕", "red")
    return Text("⏸", "bold yellow") if count.paused else Text("")


def worker_rows(sight: Sight, text: str, widths: Sequence[int]) -> list[Row]:
    """Give a row for each worker."""
    room = widths[6]
    return [
        Row(worker.name, _worker_cells(sight, consumer, worker, room))
        for consumer in sight.snapshot.consumers
        for worker in consumer.workers
        if contains(text, worker.name, worker.task, worker.job, worker.state, consumer.host, *consumer.queues)
    ]


def _worker_cells(
    sight: Sight, consumer: ConsumerReport, worker: WorkerReport, room: int
) -> tuple[Text, ...]:
    state = state_of(worker)
    word = "busy, ⏸" if state == "busy" and worker.paused else state
    begun = (sight.begun or {}).get(worker.name)
    return (
        Text(clean(worker.name)),
        Text(word, COLOURS.get(state, "dim")),
        Text(clean(worker.task)),
        Text(worker.job),
        Text(worker.queue or ", ".join(consumer.queues), "" if worker.queue else "dim"),
        right(_ran(worker, begun)),
        progress(worker.done, worker.total, worker.message, room),
        right(f"{worker.cpu:.0%}", "" if worker.cpu else "dim"),
        right(memory(worker.memory) if worker.memory else ""),
        number(worker.jobs_done),
    )


def _ran(worker: WorkerReport, begun: float | None) -> str:
    """Say how long a worker's job runs; of a silent one that is known up to its last report."""
    if worker.state == SILENT and worker.job:
        return f"≥{elapsed(worker.busy_for)}"
    return elapsed(clock.monotonic() - begun) if begun is not None and worker.job else ""


def failure_rows(sight: Sight, text: str, widths: Sequence[int]) -> list[Row]:  # noqa: ARG001 - as all panes
    """Give a row for each group of dead letters."""
    found = []
    for sample in sight.failures:
        group = sample.group
        if not contains(text, *group.queues, sample.task, sample.kind, sample.message, sample.where):
            continue
        cells = (
            number(group.count),
            Text(group.queue if len(group.queues) == 1 else f"{len(group.queues):,} queues"),
            Text(clean(sample.task) or "?"),
            Text.assemble((sample.kind or "lost", "red"), f" {clean(sample.message)}"),
            Text(clean(sample.where), "dim"),
            right(elapsed(sight.now() - group.last_seen)),
        )
        found.append(Row(f"group {group.fingerprint}", cells))
    return found


def _of_filter(text: str, otherwise: str) -> str:
    return f"Nothing here contains {text!r}. Esc takes the filter away." if text else otherwise


QUEUES = Pane(
    "queues",
    "Queues",
    lambda _: QUEUE_COLUMNS,
    queue_rows,
    lambda _, text: _of_filter(text, "No queues yet. `conveyor produce` puts the first job."),
)
WORKERS = Pane(
    "workers",
    "Workers",
    lambda _: WORKER_COLUMNS,
    worker_rows,
    lambda _, text: _of_filter(text, "No workers. `conveyor consume QUEUE` starts some."),
)
FAILURES = Pane(
    "failures",
    "Failures",
    lambda _: FAILURE_COLUMNS,
    failure_rows,
    lambda _, text: _of_filter(
        text, "No dead letters. A job that fails for good is listed here, with its like."
    ),
)
