"""The tab of jobs: the lists of one queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from conveyor import clock
from conveyor.inspector.jobs import JobLine
from conveyor.top.panes import Pane, contains
from conveyor.top.questions import STATES, Ended
from conveyor.top.table import Column, Row
from conveyor.top.words import COLOURS, clean, elapsed, progress, right, took

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.control import WorkerReport
    from conveyor.inspector.history import Finish
    from conveyor.store.commands import Count
    from conveyor.top.questions import Place
    from conveyor.top.watch import Sight

_JOB = Column("job", 14)
_TASK = Column("task", 12, grows=1)
_ARGUMENTS = Column("arguments", 16, grows=4)
COLUMNS = {
    "waiting": (_JOB, _TASK, _ARGUMENTS),
    "running": (
        _JOB,
        _TASK,
        Column("worker", 12, grows=2),
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
    "finished": (
        _JOB,
        _TASK,
        Column("state", 9),
        Column("took", 7, number=True),
        Column("worker", 12, grows=2),
        Column("arguments", 16, grows=4, roomy=True),
        Column("ended", 7, number=True),
    ),
}
_EMPTY = {
    "waiting": "No jobs wait in {queue}. `conveyor produce TASK -q {queue}` puts one.",
    "running": "Nothing of {queue} runs.",
    "delayed": "No jobs of {queue} are delayed.",
    "dead": "No dead letters in {queue}.",
    "finished": "No run of {queue} has ended yet.",
}
#: Counts that have another name than the list.
_COUNTED = {"waiting": "ready", "running": "leased"}
_UNKNOWN = JobLine("", "", "…", "", 0.0)


def columns(sight: Sight) -> Sequence[Column]:
    """Give the columns of the list that is open."""
    return COLUMNS[sight.wish.state]


def rows(sight: Sight, text: str, widths: Sequence[int]) -> list[Row]:
    """Give a row for each job of the list that is open."""
    if sight.wish.state == "finished":
        return [_finish(sight, one) for one in sight.finished]
    workers = {worker.job: worker for worker in sight.snapshot.workers() if worker.job}
    found = []
    for place in sight.places:
        line = sight.known.lines.get(place.id, _UNKNOWN)
        ending = sight.known.endings.get(place.id, Ended("", ""))
        worker = workers.get(place.id)
        told = (
            place.id,
            line.task,
            line.arguments,
            ending.kind,
            ending.message,
            worker.name if worker else "",
        )
        if contains(text, *told):
            found.append(Row(place.id, _cells(sight, place, line, worker, widths)))
    return found


def _cells(
    sight: Sight, place: Place, line: JobLine, worker: WorkerReport | None, widths: Sequence[int]
) -> tuple[Text, ...]:
    job, task, arguments = (
        Text(place.id),
        Text(clean(line.task) or "item"),
        Text(clean(line.arguments), "dim"),
    )
    if sight.wish.state == "delayed":
        return job, right(elapsed(place.score / 1000 - sight.snapshot.at)), task, arguments
    if sight.wish.state == "dead":
        ending = sight.known.endings.get(place.id, Ended("", ""))
        error = Text.assemble((ending.kind or "lost", "red"), f" {clean(ending.message)}")
        return job, task, error, arguments, right(elapsed(sight.snapshot.at - place.score / 1000))
    if sight.wish.state == "waiting":
        return job, task, arguments
    if worker is None:  # just begun, or held by a worker that has others to do first
        return job, task, Text("…", "dim"), right(""), Text(""), arguments
    begun = (sight.begun or {}).get(worker.name, clock.monotonic())
    return (
        job,
        task,
        Text(clean(worker.name)),
        right(elapsed(clock.monotonic() - begun)),
        progress(worker.done, worker.total, worker.message, widths[4]),
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
            right(elapsed(sight.snapshot.at - note.at)),
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
    return f"{getattr(count, _COUNTED.get(state, state)):,}"


def empty(sight: Sight, text: str) -> str:
    """Say that there are no jobs, and what to do."""
    if text:
        where = "the last 1,000 runs" if sight.wish.state == "finished" else f"the first {len(sight.places)}"
        return f"None of {where} contains {text!r}. Esc takes the filter away."
    return _EMPTY[sight.wish.state].format(queue=sight.wish.queue or "QUEUE")


JOBS = Pane("jobs", "Jobs", columns, rows, empty)
