"""`conveyor jobs` lists jobs of a queue that are not over, or are dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor import clock
from conveyor.cli import exits
from conveyor.cli.desk import existing_queue, open_inspector
from conveyor.cli.output import Column, count_of, document, duration, moment, note, table
from conveyor.cli.tasks import labels_of
from conveyor.cli.workers import progress_text
from conveyor.monitor import silence
from conveyor.store import commands
from conveyor.wire import control_messages
from conveyor.wire.call import ITEM_WORD
from conveyor.wire.control_messages import SILENT
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from conveyor.cli.commands.look import Jobs
    from conveyor.monitor import Inspector, JobLine
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count, State

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
            (
                row["id"],
                row["task"] or ITEM_WORD,
                row["arguments"],
                *(_text(name, row[name], row) for name in facts),
            )
            for row in rows
        ],
    )


def _text(name: str, value: Any, row: Row) -> str:
    if value is None:
        return ""
    if row.get("silent_since") is not None:
        if name == "worker":
            return f"{value} (silent)"
        if name == "running_for":
            return f"at least {duration(value)}"
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
    now = inspector.client.run(commands.server_time())
    return [{**_start(line), "due_in": round(max(0.0, line.score / 1000 - now), 3)} for line in lines]


def _running(inspector: Inspector, asked: Jobs, lines: Sequence[JobLine]) -> list[Row]:
    seen = inspector.presence()
    workers = {worker.job: worker for worker in seen.workers() if worker.job and worker.state != SILENT}
    unsaid = [line.id for line in lines if line.id not in workers]  # by a worker that is heard of
    asks = [commands.state(asked.queue, job) for job in unsaid]
    found = dict(zip(unsaid, inspector.client.run_all(asks) if asks else [], strict=True))
    rows = []
    for line in lines:
        worker = workers.get(line.id)
        known = (
            (worker.name, round(worker.busy_for, 3), progress_text(worker), None)
            if worker
            else _of_lease(seen, found[line.id])
        )
        rows.append({**_start(line), **dict(zip((*_FACTS["running"], "silent_since"), known, strict=True))})
    return rows


def _of_lease(seen: Snapshot, now: State) -> tuple[str | None, float | None, str | None, datetime | None]:
    """Tell of a running job what its lease says: its worker, for how long, how far, and since when that is silent."""
    if now.state != "leased" or not isinstance(now.detail, bytes):
        return None, None, None, None  # it has ended meanwhile
    token, worker = now.detail.decode(errors="replace").split(" ")[:2]
    begun = int(token) / 1e6  # a token is the time of its claim in microseconds
    heard = silence.of_job(seen, worker, begun)
    running_for = round(max(0.0, (seen.at if heard is None else heard) - begun), 3)
    progress = progress_text(control_messages.decode_progress(now.progress)) if now.progress else ""
    return worker, running_for, progress, None if heard is None else moment(heard)


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
