"""`conveyor status`, `queues` and `workers`: what is going on now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import structs
from rich.text import Text

from conveyor.cli.connection import open_inspector
from conveyor.cli.options import Json, queue_option
from conveyor.cli.output import document, note, screen, table
from conveyor.monitor import workers as worker_queries
from conveyor.monitor.format import STATE_COLORS, count_of, duration, printable, progress, size, together, utc
from conveyor.monitor.snapshot import EMPTY
from conveyor.wire.control_messages import WorkerReport
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.monitor import Inspector
    from conveyor.store.commands import Count
    from conveyor.wire.control_messages import ConsumerReport

NO_QUEUES = (
    "No queues yet. Enqueue the first jobs with `conveyor produce`, or see it all with `conveyor demo`."
)
NO_WORKERS = "No workers. Start some with `conveyor consume QUEUE`."
#: Columns of a terminal with room for all facts of workers, and the facts that narrower ones lack.
_ROOMY, _IF_ROOMY = 100, ("HOST", "CPU", "MEMORY")
#: Characters of the longest bar.
_BAR = 20


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue as lists show it."""

    name: str
    count: Count
    workers: int
    """The number of workers that take from it."""


def status(*, as_json: Json = False) -> None:
    """Show queues and workers on one screen."""
    inspector = open_inspector(quiet=as_json)
    lines, consumers = queue_lines(inspector), inspector.consumers()
    counts = worker_queries.counts(consumers)
    if as_json:
        document(
            "status/v1",
            queues=[_queue_document(line) for line in lines],
            consumers=[_consumer_document(one) for one in consumers],
            workers=counts._asdict(),
        )
        return
    if lines:
        longest = max(line.count.qsize for line in lines)
        _queue_table(lines, "", lambda line: _bar(line.count, longest))
    else:
        note(NO_QUEUES)
    summary = NO_WORKERS
    if consumers:
        leaving = f", {counts.leaving:,} leaving" if counts.leaving else ""
        consumers_text = count_of(len(consumers), "consumer")
        summary = f"{count_of(counts.all, 'worker')} in {consumers_text}, {counts.busy:,} busy{leaving}"
    screen().print(f"\n{summary}")
    if consumers:
        _worker_table(consumers)


def queues(*, as_json: Json = False) -> None:
    """List all queues with their jobs, workers and state."""
    lines = queue_lines(open_inspector(quiet=as_json))
    if as_json:
        document("queues/v1", queues=[_queue_document(line) for line in lines])
    elif lines:
        _queue_table(lines, "LIMIT", lambda line: f"{line.count.maxsize:,}" if line.count.maxsize else "none")
    else:
        note(NO_QUEUES)


def workers(
    *,
    queue: Annotated[str, queue_option("Show only workers of this queue.")] = "",
    as_json: Json = False,
) -> None:
    """List all workers with their current job and its progress."""
    consumers = open_inspector(quiet=as_json).consumers()
    consumers = [one for one in consumers if not queue or queue in one.queues]
    if as_json:
        document("workers/v1", consumers=[_consumer_document(one) for one in consumers])
    elif consumers:
        _worker_table(consumers)
    elif not any(one.trouble for one in consumers):
        note(f"No workers on {queue}. Start some with `conveyor consume {queue}`." if queue else NO_WORKERS)
    for one in consumers:
        if one.trouble and not as_json:
            note(f"Workers of {one.name} cannot start: {printable(one.trouble)}")


def queue_lines(inspector: Inspector) -> list[QueueLine]:
    """Return the lines of all queues by name, including those that only consumers know so far."""
    worker_counts: Counter[str] = Counter()
    for consumer in inspector.consumers():
        for queue in consumer.queues:
            worker_counts[queue] += len(consumer.workers)
    counts = dict.fromkeys(worker_counts, EMPTY) | inspector.queues()
    return [QueueLine(name, count, worker_counts[name]) for name, count in sorted(counts.items())]


def queue_labels(inspector: Inspector) -> dict[str, str]:
    """Return a description of each queue for a menu."""
    return {
        line.name: f"{line.count.ready:,} waiting, {count_of(line.workers, 'worker')}"
        for line in queue_lines(inspector)
    }


def _queue_table(lines: Sequence[QueueLine], title: str, extra: Callable[[QueueLine], str | Text]) -> None:
    """Print queues with one extra column."""
    rows: list[dict[str, str | Text]] = [
        {
            "QUEUE": line.name,
            "WAITING": f"{line.count.ready:,}",
            "DEFERRED": f"{line.count.deferred:,}",
            "DELAYED": f"{line.count.delayed:,}",
            "RUNNING": f"{line.count.leased:,}",
            "DEAD": Text(f"{line.count.dead:,}", style="red" if line.count.dead else ""),
            title: extra(line),
            "WORKERS": Text(
                f"{line.workers:,}", style="yellow" if line.count.live and not line.workers else ""
            ),
            "STATE": Text(state := _state(line.count), style=STATE_COLORS[state]),
        }
        for line in lines
    ]
    table(rows, numbers=("WAITING", "DEFERRED", "DELAYED", "RUNNING", "DEAD", "LIMIT", "WORKERS"))


def _state(count: Count) -> str:
    """Return the state of a queue, or that a task has asked for a rest."""
    return "throttled" if count.rest and count.state in {"open", "full"} else count.state


def _bar(count: Count, longest: int) -> Text:
    """Draw how full a queue is, or how long compared with the longest if it has no limit."""
    whole = count.maxsize or longest
    share = min(1.0, count.qsize / whole) if whole else 0.0
    filled = max(round(share * _BAR), 1 if count.qsize else 0)
    bar = Text("█" * filled, style="yellow" if count.state == "full" else "cyan")
    if count.maxsize:
        bar.append("░" * (_BAR - filled), style="dim")
    return bar


def _worker_table(consumers: Sequence[ConsumerReport]) -> None:
    left_out = set() if screen().width >= _ROOMY else {*_IF_ROOMY}
    if all(consumer.kind == "process" for consumer in consumers):
        left_out.add("KIND")
    rows = [
        {title: cell for title, cell in _worker_row(consumer, worker).items() if title not in left_out}
        for consumer in consumers
        for worker in consumer.workers or [_nobody(consumer)]
    ]
    table(
        rows,
        numbers=("PID", "FOR", "CPU", "MEMORY"),
        may_shrink=("HOST", "QUEUE", "TASK", "PROGRESS"),
    )


def _nobody(consumer: ConsumerReport) -> WorkerReport:
    """Return what is listed of a consumer that was scaled to 0, so that its name can be found."""
    return WorkerReport(consumer.name, consumer.pid, "no workers")


def _worker_row(consumer: ConsumerReport, worker: WorkerReport) -> dict[str, str | Text]:
    state = f"{worker.state}, paused" if worker.paused and worker.state == "busy" else worker.state
    return {
        "WORKER": worker.name,
        "HOST": consumer.host,
        "PID": str(worker.pid),
        "KIND": consumer.kind,
        "STATE": Text(state, style=STATE_COLORS.get(state, "dim")),
        "QUEUE": worker.queue or ", ".join(consumer.queues),
        "TASK": worker.task,
        "JOB": together(worker),
        "FOR": duration(worker.busy_for) if worker.job else "",
        "CPU": f"{worker.cpu:.0%}" if worker.memory else "",
        "MEMORY": size(worker.memory) if worker.memory else "",
        "PROGRESS": progress(worker),
    }


def _queue_document(line: QueueLine) -> dict[str, Any]:
    count = line.count
    return {
        "name": line.name,
        "state": count.state,
        "waiting": count.ready,
        "deferred": count.deferred,
        "delayed": count.delayed,
        "running": count.leased,
        "dead": count.dead,
        "maxsize": count.maxsize,
        "rests_until": utc(count.rest / 1000) if count.rest else None,
        "workers": line.workers,
        "blocked_producers": count.blocked,
        "accepted": count.accepted,
        "finished": count.finished,
        "cancelled": count.cancelled,
    }


def _consumer_document(consumer: ConsumerReport) -> dict[str, Any]:
    facts = structs.asdict(consumer)
    del facts["at"]
    facts["workers"] = [_worker_document(worker) for worker in consumer.workers]
    return {**facts, "started": utc(consumer.started)}


def _worker_document(worker: WorkerReport) -> dict[str, Any]:
    job = {
        "id": worker.job,
        "queue": worker.queue,
        "task": worker.task,
        "batch": worker.batch,
        "attempt": worker.attempt,
        "running_for": round(worker.busy_for, 3),
        "done": worker.done,
        "total": worker.total,
        "message": redacted_text(worker.message),
    }
    return {
        "name": worker.name,
        "pid": worker.pid,
        "state": worker.state,
        "busy": worker.is_busy,
        "paused": worker.paused,
        "cpu": worker.cpu,
        "memory": worker.memory,
        "jobs_done": worker.jobs_done,
        "job": job if worker.job else None,
    }
