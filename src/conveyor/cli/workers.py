"""`conveyor workers`: where they are, what they run, for how long, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from conveyor.cli import exits
from conveyor.cli.desk import open_inspector
from conveyor.cli.output import Column, document, duration, moment, note, screen, table
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.cli.commands.look import Workers
    from conveyor.wire.control_messages import ConsumerReport, Progress, WorkerReport

_COLUMNS = (
    Column("WORKER"),
    Column("HOST", may_shrink=True),
    Column("PID", number=True),
    Column("STATE"),
    Column("QUEUE", may_shrink=True),
    Column("TASK", may_shrink=True),
    Column("JOB"),
    Column("FOR", number=True),
    Column("CPU", number=True),
    Column("MEMORY", number=True),
    Column("PROGRESS", may_shrink=True),
)
#: Columns of a terminal that has room for these as well; the worker's name begins with that of the host anyway.
ROOMY = 100
_WHERE_ROOMY = {"HOST", "CPU", "MEMORY"}
_MEBIBYTE = 1024 * 1024
_COLOURS = {"busy": "green", "leaving": "yellow", "paused": "yellow", "starting": "cyan", "silent": "red"}
#: What to do where nobody works.
EMPTY = "No workers. `conveyor consume QUEUE` starts some."


def show(asked: Workers) -> int:
    """List the workers."""
    consumers = open_inspector(quiet=asked.json).consumers()
    consumers = [one for one in consumers if not asked.queue or asked.queue in one.queues]
    if asked.json:
        document("workers/v1", consumers=[consumer_document(one) for one in consumers])
    elif any(one.workers for one in consumers):
        worker_table(consumers)
    else:
        note(
            f"No workers on {asked.queue}. `conveyor consume {asked.queue}` starts some."
            if asked.queue
            else EMPTY
        )
    return exits.OK


def worker_table(consumers: Iterable[ConsumerReport]) -> None:
    """Write a table of all workers of some consumers."""
    rows = [_row(consumer, worker) for consumer in consumers for worker in consumer.workers]
    shown = [
        place
        for place, column in enumerate(_COLUMNS)
        if column.title not in _WHERE_ROOMY or screen().width >= ROOMY
    ]
    table([_COLUMNS[place] for place in shown], [[row[place] for place in shown] for row in rows])


def consumer_document(consumer: ConsumerReport) -> dict[str, Any]:
    """Give a consumer and its workers for JSON."""
    return {
        "name": consumer.name,
        "host": consumer.host,
        "pid": consumer.pid,
        "kind": consumer.kind,
        "queues": consumer.queues,
        "started": moment(consumer.started),
        "version": consumer.version,
        "python": consumer.python,
        "cores": consumer.cores,
        "workers": [_document(worker) for worker in consumer.workers],
    }


def progress_text(told: WorkerReport | Progress) -> str:
    """Give how far a job is, in words."""
    share = "" if told.fraction is None else f"{told.fraction:.0%}"
    return " ".join(filter(None, (share, redacted_text(told.message))))


def _document(worker: WorkerReport) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": worker.name,
        "pid": worker.pid,
        "state": worker.state,
        "busy": worker.is_busy,
        "paused": worker.paused,
        "cpu": worker.cpu,
        "memory": worker.memory,
        "jobs_done": worker.jobs_done,
        "job": None,
    }
    if worker.job:
        document["job"] = {
            "id": worker.job,
            "queue": worker.queue,
            "task": worker.task,
            "attempt": worker.attempt,
            "running_for": round(worker.busy_for, 3),
            "done": worker.done,
            "total": worker.total,
            "message": redacted_text(worker.message),
        }
    return document


def _row(consumer: ConsumerReport, worker: WorkerReport) -> Sequence[str | Text]:
    state = f"{worker.state}, paused" if worker.paused and worker.state == "busy" else worker.state
    colour = _COLOURS.get(state, "dim")
    return (
        worker.name,
        consumer.host,
        str(worker.pid),
        Text(state, style=colour),
        worker.queue or ", ".join(consumer.queues),
        worker.task,
        worker.job,
        duration(worker.busy_for) if worker.job else "",
        f"{worker.cpu:.0%}",
        f"{worker.memory / _MEBIBYTE:,.0f} MiB",
        progress_text(worker),
    )
