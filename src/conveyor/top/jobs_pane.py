"""The tab of jobs: the lists of one queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from conveyor import clock
from conveyor.monitor import silence
from conveyor.monitor.snapshot import ended
from conveyor.top.panes import Pane
from conveyor.top.questions import SEARCHED, STATES
from conveyor.top.table import Column, Row
from conveyor.top.words import COLOURS, clean, elapsed, progress, right, took

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.store.commands import Count
    from conveyor.top.watch import Sight
    from conveyor.wire.control_messages import WorkerReport

_JOB = Column("job", 14)
_TASK = Column("task", 12, grows=1, end=True)
_ARGUMENTS = Column("arguments", 16, grows=4)
COLUMNS = {
    "waiting": (_JOB, _TASK, _ARGUMENTS),
    "running": (
        _JOB,
        _TASK,
        Column("worker", 12, grows=2, end=True),
        Column("for", 7, number=True),
        Column("progress", 13, grows=3),
        Column("arguments", 20, grows=3, roomy=True),
    ),
    "delayed": (_JOB, Column("due in", 8, number=True), _TASK, _ARGUMENTS),
    "dead": (
        _JOB,
        _TASK,
        Column("error", 24, grows=5),
        Column("arguments", 16, grows=3, roomy=True),
        Column("died", 7, number=True),
    ),
    "ended": (
        _JOB,
        _TASK,
        Column("state", 9),
        Column("took", 7, number=True),
        Column("worker", 12, grows=2, end=True),
        Column("arguments", 16, grows=4, roomy=True),
        Column("ended", 7, number=True),
    ),
}
_EMPTY = {
    "waiting": "No jobs wait in {queue}. `conveyor produce TASK -q {queue}` puts one.",
    "running": "Nothing of {queue} runs.",
    "delayed": "No jobs of {queue} are delayed.",
    "dead": "No dead letters in {queue}.",
    "ended": "No run of {queue} has ended yet.",
}
#: Counts that have another name than the list.
_COUNTED = {"waiting": "ready", "running": "leased"}


def columns(sight: Sight) -> Sequence[Column]:
    """Give the columns of the list that is open."""
    return COLUMNS[sight.wish.state]


def rows(sight: Sight, text: str, widths: Sequence[int]) -> list[Row]:  # noqa: ARG001 - the server has filtered
    """Give a row for each job of the list that is open."""
    if sight.wish.state == "ended":
        return [_finish(sight, one) for one in sight.ended]
    workers = {worker.job: worker for worker in sight.snapshot.workers() if worker.job}
    return [Row(job.id, _cells(sight, job, workers.get(job.id), widths)) for job in sight.jobs]


def _cells(sight: Sight, job: JobRow, worker: WorkerReport | None, widths: Sequence[int]) -> tuple[Text, ...]:
    name, task = Text(job.id), Text(clean(job.task) or "item")
    arguments = Text(clean(job.arguments), "dim")
    now = sight.now()
    if sight.wish.state == "delayed":
        return name, right(elapsed((job.due_at or now) - now)), task, arguments
    if sight.wish.state == "dead":
        error = Text.assemble((clean(job.kind) or "lost", "red"), f" {clean(job.message)}")
        return name, task, error, arguments, right(elapsed(now - (job.since or now)))
    if sight.wish.state == "waiting":
        return name, task, arguments
    told = job.progress
    heard = silence.of_job(sight.snapshot, job.worker, job.since)
    begun = now - (job.since or now)
    if worker is not None and sight.begun and worker.name in sight.begun:
        begun = clock.monotonic() - sight.begun[worker.name]
    worker_name, ran = Text(clean(job.worker)), elapsed(begun)
    if heard is not None:
        worker_name = Text.assemble(("silent", "red"), f" {clean(job.worker)}")
        ran = f"≥{elapsed(max(0.0, heard - (job.since or heard)))}"
    return (
        name,
        task,
        worker_name,
        right(ran),
        progress(told.done, told.total, told.message, widths[4]) if told is not None else Text(),
        arguments,
    )


def _finish(sight: Sight, one: Finish) -> Row:
    note = one.note
    return Row(
        f"{note.id} {one.entry}",
        (
            Text(note.id),
            Text(clean(note.task) or "item"),
            Text(note.state, COLOURS.get(note.state, "")),
            right(took(note.elapsed)),
            Text(clean(note.worker)),
            Text(clean(note.arguments), "dim"),
            right(elapsed(sight.now() - note.at)),
        ),
    )


def heading(sight: Sight, queue: str, state: str) -> Text:
    """Give the line above the list: the queue, and its states with how many jobs each has."""
    text = Text(f" {queue or 'no queue'}", "bold").append("   ")
    count = sight.snapshot.queues.get(queue)
    for one in STATES:
        words = f" {one} {_number(count, one)} " if count is not None else f" {one} "
        text.append(words, "reverse" if one == state else "dim")
    return text


def _number(count: Count, state: str) -> str:
    number = ended(count) if state == "ended" else getattr(count, _COUNTED.get(state, state))
    return f"{number:,}"


def empty(sight: Sight, text: str) -> str:
    """Say that there are no jobs, and what to do."""
    if text:
        where = "last 1,000 runs" if sight.wish.state == "ended" else f"first {SEARCHED:,} jobs"
        return f"None of the {where} contains {text!r}. Esc takes the filter away."
    return _EMPTY[sight.wish.state].format(queue=sight.wish.queue or "QUEUE")


JOBS = Pane("jobs", "Jobs", columns, rows, empty)
