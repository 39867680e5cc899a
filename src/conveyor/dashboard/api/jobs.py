"""Endpoints about jobs in lists, and about groups of dead ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from conveyor.dashboard import known_tasks
from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.api import answers, inputs, job_answers
from conveyor.dashboard.api.cursors import cursor_of, place_after
from conveyor.dashboard.api.endpoint import Endpoint
from conveyor.monitor import failures, history, job_list, merging, silence, snapshot
from conveyor.wire.call import ITEM_WORD

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import Asked
    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow

#: Jobs that one search looks at.
SEARCHED = 2000
#: Queues whose dead jobs are sorted into groups at once.
MOST_GROUPED = 50


def _list(asked: Asked) -> job_answers.Jobs:
    query = asked.query
    if query.outcome and query.state != "ended":
        raise refused(
            422,
            "bad-query",
            f"Jobs that are {query.state} have no outcome to choose.",
            "Ask for state=ended.",
        )
    if query.text:
        asked.allowed("inspect")  # those who may not see arguments must not search in them either
    if not query.queue:
        return _of_all(asked)
    asked.desk.snapshot_with(query.queue)
    return _live(asked) if query.state in inputs.LIVE else _ended(asked)


def _of_all(asked: Asked) -> job_answers.Jobs:
    """List the jobs of all queues."""
    query, queues = asked.query, asked.desk.snapshot().queues
    is_live = query.state in inputs.LIVE
    index = query.state if is_live else "ended"
    names = snapshot.fullest(queues, list(queues), index)  # also those without any: one may just have come
    counts = [snapshot.in_state(queues[name], index) for name in names]
    limits = merging.Limits(query.count, SEARCHED)
    shown = asked.may("inspect")
    found: merging.Merged[Any]
    if is_live:
        wanted = job_list.Wanted(query.task, query.worker, query.text)
        found = asked.desk.ask(
            merging.jobs(names, query.state, query.cursor, wanted, limits, known_tasks.labels),
            costly=any(wanted),
        )
        rows = [_row(asked, one, shown=shown) for one in found.rows]
    else:
        matching = _matching(query)
        found = asked.desk.ask(merging.finishes(names, query.cursor, matching, limits), costly=any(matching))
        rows = [_finish(one.finish, one.queue, shown=shown) for one in found.rows]
    left_out = sum(count > 0 for count in counts[merging.MOST_QUEUES :])
    return job_answers.Jobs(rows, found.next, sum(counts) if is_live else None, not shown, left_out)


def _live(asked: Asked) -> job_answers.Jobs:
    query, shown = asked.query, asked.may("inspect")
    wanted = job_list.Wanted(query.task, query.worker, query.text)
    place = (query.queue, query.state)
    found = asked.desk.ask(
        job_list.search(
            *place, wanted, query.cursor, job_list.Limits(SEARCHED, query.count), known_tasks.labels
        )
        if any(wanted)
        else job_list.page(*place, query.cursor, query.count, labels_of=known_tasks.labels),
        costly=any(wanted),
    )
    rows = [_row(asked, one, shown=shown) for one in found.rows]
    return job_answers.Jobs(rows, found.next, found.total, not shown)


def _row(asked: Asked, one: JobRow, *, shown: bool) -> job_answers.JobLine:
    return answers.made(
        job_answers.JobLine,
        one,
        state=asked.query.state,
        task=one.task or ITEM_WORD,
        arguments=one.arguments if shown else None,
        message=one.message if shown else None,
        progress=job_answers.progress_of(one.progress),
        silent_since=silence.of_job(asked.desk.snapshot(), one.worker, one.since),
    )


def _ended(asked: Asked) -> job_answers.Jobs:
    query, shown = asked.query, asked.may("inspect")
    matching = _matching(query)
    asks = history.finishes(query.queue, query.cursor, query.count, matching)
    page = asked.desk.ask(asks, costly=any(matching))
    rows = [_finish(one, query.queue, shown=shown) for one in page.finishes]
    return job_answers.Jobs(rows, page.next, None, not shown)


def _matching(query: inputs.JobRows) -> history.Matching:
    state = query.outcome if query.state == "ended" else query.state
    return history.Matching(query.task, state, query.worker, "", query.text)


def _finish(one: Finish, queue: str, *, shown: bool) -> job_answers.JobLine:
    return answers.made(
        job_answers.JobLine,
        one.note,
        queue=queue,
        task=one.note.task or ITEM_WORD,
        put_at=UNSET,
        arguments=one.note.arguments if shown else None,
        message=None,
        since=one.note.at,
    )


def _dead(asked: Asked) -> dict[str, int]:
    """Return the number of dead jobs by queue, or of the named queue alone."""
    queues = asked.desk.snapshot_with(asked.queue).queues if asked.queue else asked.desk.snapshot().queues
    return {name: count.dead for name, count in queues.items() if asked.queue in {"", name}}


def _failures(asked: Asked) -> job_answers.Failures:
    first, count = place_after(asked.query.cursor), min(asked.query.count, failures.MOST_SAMPLES)
    every = asked.desk.ask(failures.groups(failures.looked_at(_dead(asked))))
    page = every[first : first + count]
    samples = {one.group: one for one in asked.desk.ask(failures.samples(page))}
    shown = asked.may("inspect")
    rows = []
    for group in page:
        row, sample = answers.made(job_answers.FailureGroup, group), samples.get(group)
        if sample is not None:
            row = answers.made(
                job_answers.FailureGroup,
                group,
                task=sample.task,
                kind=sample.kind,
                message=sample.message if shown else None,
                where=sample.where if shown else None,
            )
        rows.append(row)
    more = cursor_of(str(first + count)) if len(every) > first + count else ""
    return job_answers.Failures(rows, more, hidden=bool(page) and not shown)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/jobs",
        "List jobs of a queue or of all",
        "look",
        _list,
        job_answers.Jobs,
        inputs.JobRows,
        rows="jobs",
    ),
    Endpoint(
        *("GET", "/failures", "Tell which dead jobs failed alike", "look", _failures, job_answers.Failures),
        inputs.QueueRows,
        rows="failures",
    ),
)
