"""`conveyor jobs` lists jobs of a queue that are not over, or are dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.cli import exits
from conveyor.cli.desk import existing_queue, open_inspector
from conveyor.cli.output import Column, count_of, document, duration, moment, note, table
from conveyor.cli.tasks import labels_of
from conveyor.cli.workers import progress_text
from conveyor.redaction import redacted_text
from conveyor.store import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.cli.commands.look import Jobs
    from conveyor.inspector import Inspector, JobLine
    from conveyor.store.commands import Count

    Row = dict[str, Any]

#: What is told of a job besides its id, task and arguments, by state: field of the document to title of the column.
_FACTS = {
    "waiting": {"place": "PLACE"},
    "delayed": {"due_in": "DUE IN"},
    "running": {"worker": "WORKER", "running_for": "FOR", "progress": "PROGRESS"},
    "dead": {"died": "DIED", "error": "ERROR"},
}


def show(asked: Jobs) -> int:
    """List some jobs."""
    inspector = open_inspector(quiet=asked.json)
    existing_queue(inspector, asked.queue)
    lines = inspector.jobs(asked.queue, asked.state, asked.first, asked.count, labels_of(asked.tasks))
    rows = _LOOKS[asked.state](inspector, asked, lines)
    in_all = _in_all(inspector.queues().get(asked.queue), asked.state)
    if asked.json:
        document("jobs/v1", queue=asked.queue, state=asked.state, first=asked.first, total=in_all, jobs=rows)
        return exits.OK
    if not rows:
        note(f"No {asked.state} jobs in {asked.queue}{' from there on' if asked.first else ''}.")
        return exits.OK
    _print(asked.state, rows)
    last = asked.first + len(rows)
    if last < in_all or asked.first:
        more = f"; next: --first {last}" if last < in_all else ""
        note(f"{asked.first + 1:,} to {last:,} of {count_of(in_all, asked.state + ' job')}{more}")
    return exits.OK


def _print(state: str, rows: Sequence[Row]) -> None:
    columns = [Column("JOB"), Column("TASK", may_shrink=True), Column("ARGUMENTS", may_shrink=True)]
    facts = _FACTS[state]
    shrinking, numbers = {"progress", "error", "worker"}, {"place", "due_in", "running_for", "died"}
    columns += [Column(title, name in numbers, name in shrinking) for name, title in facts.items()]
    table(
        columns,
        [
            (row["id"], row["task"], row["arguments"], *(_text(name, row[name]) for name in facts))
            for row in rows
        ],
    )


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in {"due_in", "running_for"}:
        return duration(value)
    if name == "died":
        return f"{duration(max(0.0, clock.wall() - value.timestamp()))} ago"
    return str(value)


def _in_all(count: Count | None, state: str) -> int:
    if count is None:
        return 0
    return {"waiting": count.ready, "delayed": count.delayed, "running": count.leased, "dead": count.dead}[
        state
    ]


def _start(line: JobLine) -> Row:
    return {"id": line.id, "task": line.task, "arguments": line.arguments}


def _waiting(_: Inspector, asked: Jobs, lines: Sequence[JobLine]) -> list[Row]:
    return [{**_start(line), "place": place} for place, line in enumerate(lines, asked.first + 1)]


def _delayed(inspector: Inspector, _: Jobs, lines: Sequence[JobLine]) -> list[Row]:
    now = inspector.client.run(plain.server_time())
    return [{**_start(line), "due_in": round(max(0.0, line.score / 1000 - now), 3)} for line in lines]


def _running(inspector: Inspector, asked: Jobs, lines: Sequence[JobLine]) -> list[Row]:
    workers = {worker.job: worker for worker in inspector.workers(asked.queue) if worker.job}
    rows = []
    for line in lines:
        worker = workers.get(line.id)
        known = (
            (worker.name, round(worker.busy_for, 3), progress_text(worker)) if worker else (None, None, None)
        )
        rows.append({**_start(line), **dict(zip(_FACTS["running"], known, strict=True))})
    return rows


def _dead(inspector: Inspector, asked: Jobs, lines: Sequence[JobLine]) -> list[Row]:
    rows = []
    for line, settled in zip(lines, inspector.endings(asked.queue, [one.id for one in lines]), strict=True):
        error = None if settled is None else settled.error()
        rows.append(
            {
                **_start(line),
                "died": moment(line.score / 1000),
                "error": None if error is None else redacted_text(str(error)),
            }
        )
    return rows


_LOOKS: dict[str, Callable[[Inspector, Jobs, Sequence[JobLine]], list[Row]]] = {
    "waiting": _waiting,
    "delayed": _delayed,
    "running": _running,
    "dead": _dead,
}
