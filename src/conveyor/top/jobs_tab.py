"""The tab of jobs: the lists of one queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from conveyor import clock
from conveyor.monitor.format import STATE_COLORS, safe, short_duration, timer
from conveyor.monitor.snapshot import in_state
from conveyor.top.poller import SEARCHED, STATES
from conveyor.top.table import Column, Row, progress, right
from conveyor.top.tabs import Tab

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.top.poller import PollResult

_JOB = Column("job", 14)
_TASK = Column("task", 12, grows=1, keep_end=True)
_ARGUMENTS = Column("arguments", 16, grows=4)
_WORKER = Column("worker", 12, grows=2, keep_end=True)
COLUMNS = {
    "waiting": (_JOB, _TASK, _ARGUMENTS),
    "running": (
        *(_JOB, _TASK, _WORKER),
        Column("for", 7, number=True),
        Column("progress", 13, grows=3),
        Column("arguments", 20, grows=3, wide_only=True),
    ),
    "deferred": (_JOB, Column("waits for", 20, grows=3), _TASK, _ARGUMENTS),
    "delayed": (_JOB, Column("due in", 8, number=True), _TASK, _ARGUMENTS),
    "dead": (
        *(_JOB, _TASK),
        Column("error", 24, grows=5),
        Column("arguments", 16, grows=3, wide_only=True),
        Column("died", 7, number=True),
    ),
    "ended": (
        *(_JOB, _TASK),
        Column("state", 9),
        Column("took", 7, number=True),
        *(_WORKER, _ARGUMENTS._replace(wide_only=True)),
        Column("ended", 7, number=True),
    ),
}
_EMPTY = {
    "waiting": "No waiting jobs in {queue}. Put one with `conveyor produce TASK -q {queue}`.",
    "running": "No running jobs in {queue}.",
    "deferred": "No deferred jobs in {queue}.",
    "delayed": "No delayed jobs in {queue}.",
    "dead": "No dead jobs in {queue}.",
    "ended": "No finished runs in {queue} yet.",
}


def rows(result: PollResult, _: str, widths: Sequence[int]) -> list[Row]:
    """Return a row for each job of the open list; the server has filtered them."""
    if result.view.state == "ended":
        return [_finish_row(result, one) for one in result.finishes]
    return [Row(job.id, _cells(result, job, widths), (job.queue, job.id)) for job in result.jobs]


def _cells(result: PollResult, job: JobRow, widths: Sequence[int]) -> tuple[Text, ...]:
    name, task, arguments = Text(job.id), Text(safe(job.task) or "item"), Text(safe(job.arguments), "dim")
    now = result.now()
    match result.view.state:
        case "deferred":
            return name, Text(safe(job.waits_for)), task, arguments
        case "delayed":
            due = "a signal" if job.due_at is None else timer(job.due_at - now)
            return name, right(due), task, arguments
        case "dead":
            error = Text.assemble((safe(job.kind) or "lost", "red"), f" {safe(job.message)}")
            return name, task, error, arguments, right(timer(now - (job.since or now)))
        case "running":
            done = progress(job.progress, widths[4]) if job.progress is not None else Text()
            return name, task, *_worker_cells(result, job), done, arguments
    return name, task, arguments


def _worker_cells(result: PollResult, job: JobRow) -> tuple[Text, Text]:
    """Return the worker of a running job, and for how long it has been running there."""
    now, worker = result.now(), safe(job.worker)
    silent_since = result.snapshot.job_silent_since(job.worker, job.since)
    if silent_since is not None:
        ran = timer(silent_since - (job.since or silent_since))
        return Text.assemble(("silent", "red"), f" {worker}"), right(f"≥{ran}")
    reported = next((one.name for one in result.snapshot.workers() if one.job == job.id), "")
    started = result.started.get(reported)
    ran = timer(now - (job.since or now) if started is None else clock.monotonic() - started)
    return Text(worker), right(ran)


def _finish_row(result: PollResult, one: Finish) -> Row:
    note = one.note
    cells = (
        Text(note.id),
        Text(safe(note.task) or "item"),
        Text(note.state, STATE_COLORS.get(note.state, "")),
        right(short_duration(note.elapsed)),
        Text(safe(note.worker)),
        Text(safe(note.arguments), "dim"),
        right(timer(result.now() - note.at)),
    )
    return Row(f"{note.id} {one.entry}", cells, (result.view.queue, note.id))


def heading(result: PollResult, queue: str, state: str) -> Text:
    """Return the line above the list: the queue, and the number of its jobs in each state."""
    text = Text(f" {queue or 'no queue'}", "bold").append("   ")
    count = result.snapshot.queues.get(queue)
    for one in STATES:
        label = one if count is None else f"{one} {in_state(count, one):,}"
        text.append(f" {label} ", "reverse" if one == state else "dim")
    return text


def empty(result: PollResult, text: str) -> str:
    """Return the text that is shown instead of rows."""
    state = result.view.state
    if text:
        searched = "last 1,000 runs" if state == "ended" else f"first {SEARCHED:,} jobs"
        return f"None of the {searched} contains {text!r}. Esc clears the filter."
    return _EMPTY[state].format(queue=result.view.queue or "QUEUE")


JOBS = Tab("jobs", "Jobs", lambda result: COLUMNS[result.view.state], rows, empty)
