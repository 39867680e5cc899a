"""Endpoints about jobs in lists, and about groups of dead ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, Struct, UnsetType

from conveyor.dashboard import known_tasks
from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import Progress, QueueRows, Short, position_after, progress_of, struct_from
from conveyor.monitor import failures, history, job_list, merged_list, snapshot
from conveyor.monitor.job_list import encode_cursor
from conveyor.wire.call import ITEM_WORD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.dashboard.api.endpoint import ApiRequest
    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.store.commands import Count
    from conveyor.store.query import Query

#: Jobs that one search reads.
SEARCHED = 2000
LIVE = ("waiting", "deferred", "delayed", "running", "dead")
OUTCOMES = ("done", "failed", "retried", "timed out", "lost", "cancelled", "expired")
JOB_STATES = (*LIVE, "ended", *OUTCOMES)


class JobLine(Struct, frozen=True):
    """A job, or a run that has ended, in a list."""

    id: str
    queue: str
    state: str
    task: str
    """`item` for what `Queue.put` put."""
    arguments: str | None
    put_at: float | UnsetType | None = UNSET
    """Null if the job is too long to read; not there for a run that has ended."""
    due_at: float | None = None
    since: float | None = None
    """When it was claimed, died or ended. All times are seconds since 1970."""
    elapsed: float | None = None
    worker: str = ""
    silent_since: float | None = None
    """When the worker of a running job gave its last sign of life; null unless its consumer is silent."""
    retries: int = 0
    crashes: int = 0
    attempt: int = 0
    """Which attempt it is at, waits for or ended with, from 1."""
    progress: Progress | None = None
    kind: str = ""
    """Type of the error."""
    message: str | None = ""
    waits_for: str | None = ""
    """What a deferred job waits for; for those with the right to inspect."""


class Jobs(Struct, frozen=True):
    """Jobs of one queue or of all. A page may be empty and still have a `next`, if few match."""

    jobs: list[JobLine]
    next: str
    total: int | None
    """Jobs in this state; null for runs that have ended."""
    hidden: bool
    left_out: int = 0
    """Queues with such jobs that were not queried: of all queues, only the 20 with the most are."""


class JobRows(QueueRows, frozen=True):
    """A page of jobs, of a queue or of all. `ended` are all runs that ended, those below it the ones that did so."""

    state: Literal[JOB_STATES] = "waiting"  # type: ignore[valid-type]
    outcome: Literal["", *OUTCOMES] = ""  # type: ignore[valid-type]
    """How it ended; goes with the state `ended` alone."""
    task: Short = ""
    worker: Short = ""
    text: Short = ""
    """Appears in id, arguments or error; needs the right to inspect."""


class FailureGroup(Struct, frozen=True):
    """Dead jobs that failed alike, in one queue or several; times are seconds since 1970."""

    queue: str
    """Where the one is that died last."""
    queues: list[str]
    """All queues that have some, those with the most first."""
    fingerprint: str
    count: int
    newest: str
    first_seen: float
    last_seen: float
    task: str = ""
    kind: str = ""
    message: str | None = ""
    where: str | None = ""


class Failures(Struct, frozen=True):
    """Groups of dead jobs, the one with the latest death first."""

    failures: list[FailureGroup]
    next: str
    hidden: bool


@endpoint("GET", "/jobs", "look", Jobs, query=JobRows, rows="jobs")
def list_jobs(request: ApiRequest) -> Jobs:
    """List jobs of a queue or of all."""
    query = request.query
    if query.outcome and query.state != "ended":
        detail = f"Jobs that are {query.state} have no outcome to choose."
        raise Problem(422, "bad-query", detail, "ask for state=ended")
    if query.text:
        request.allowed("inspect")  # clients that may not see arguments must not search in them either
    if not query.queue:
        return _merged(request, request.context.snapshot().queues)
    queues = request.context.snapshot_with(query.queue).queues
    if query.state in LIVE and not any(_wanted(request)):
        return _page(request)
    return _merged(request, {query.queue: queues[query.queue]})


@endpoint("GET", "/failures", "look", Failures, query=QueueRows, rows="failures")
def list_failures(request: ApiRequest) -> Failures:
    """Show which dead jobs failed alike."""
    first, count = position_after(request.query.cursor), min(request.query.count, failures.MAX_GROUPS)
    every = request.context.ask(failures.groups(failures.read_counts(_dead(request))))
    page = request.context.ask(failures.with_details(every[first : first + count]))
    shown = request.may("inspect")
    texts = {} if shown else {"message": None, "where": None}
    rows = [struct_from(FailureGroup, group, **texts) for group in page]
    next_page = encode_cursor(str(first + count)) if len(every) > first + count else ""
    return Failures(rows, next_page, hidden=bool(page) and not shown)


def _merged(request: ApiRequest, queues: Mapping[str, Count]) -> Jobs:
    """List the jobs of some queues, or search them."""
    query, shown = request.query, request.may("inspect")
    is_live = query.state in LIVE
    index = query.state if is_live else "ended"
    names = snapshot.fullest(queues, list(queues), index)  # also those without any: one may just have come
    counts = [snapshot.in_state(queues[name], index) for name in names]
    limits = merged_list.MergeLimits(query.count, SEARCHED)
    found: merged_list.MergedPage[Any]
    listing: Query[Any]
    if is_live:
        wanted = _wanted(request)
        listing = merged_list.jobs(names, query.state, query.cursor, wanted, limits, known_tasks.labels)
        found = request.context.ask(listing, costly=any(wanted))
        rows = [_row(request, one) for one in found.rows]
    else:
        matching = _matching(query)
        listing = merged_list.finishes(names, query.cursor, matching, limits)
        found = request.context.ask(listing, costly=any(matching))
        rows = [_finish(request, one) for one in found.rows]
    left_out = sum(count > 0 for count in counts[merged_list.MAX_QUEUES :])
    return Jobs(rows, found.next, sum(counts) if is_live else None, not shown, left_out)


def _page(request: ApiRequest) -> Jobs:
    """List the jobs of one queue."""
    query = request.query
    listing = job_list.page(query.queue, query.state, query.cursor, query.count, labels_of=known_tasks.labels)
    found = request.context.ask(listing)
    rows = [_row(request, one) for one in found.rows]
    return Jobs(rows, found.next, found.total, not request.may("inspect"))


def _wanted(request: ApiRequest) -> job_list.JobFilter:
    return job_list.JobFilter(request.query.task, request.query.worker, request.query.text)


def _matching(query: JobRows) -> history.HistoryFilter:
    state = query.outcome if query.state == "ended" else query.state
    return history.HistoryFilter(query.task, state, query.worker, "", query.text)


def _row(request: ApiRequest, one: JobRow) -> JobLine:
    shown = request.may("inspect")
    return struct_from(
        JobLine,
        one,
        state=request.query.state,
        task=one.task or ITEM_WORD,
        arguments=one.arguments if shown else None,
        message=one.message if shown else None,
        waits_for=one.waits_for if shown else None,
        progress=progress_of(one.progress),
        silent_since=request.context.snapshot().job_silent_since(one.worker, one.since),
    )


def _finish(request: ApiRequest, one: Finish) -> JobLine:
    return struct_from(
        JobLine,
        one.note,
        queue=one.queue,
        task=one.note.task or ITEM_WORD,
        put_at=UNSET,
        arguments=one.note.arguments if request.may("inspect") else None,
        message=None,
        since=one.note.at,
    )


def _dead(request: ApiRequest) -> dict[str, int]:
    """Return the number of dead jobs by queue, or of the named queue alone."""
    context, queue = request.context, request.queue
    queues = context.snapshot_with(queue).queues if queue else context.snapshot().queues
    return {name: count.dead for name, count in queues.items() if queue in {"", name}}
