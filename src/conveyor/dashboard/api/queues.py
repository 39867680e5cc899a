"""Endpoints about queues."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import Done, Query, RowsQuery, Why, struct_from
from conveyor.dashboard.api.operations import Begun, Matching, begin
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.job_list import decode_cursor, encode_cursor
from conveyor.monitor.snapshot import Rate

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import ApiRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count


class QueueLine(Struct, frozen=True):
    """A queue: how many jobs are where, and since it began."""

    name: str
    ready: int
    """The same as `waiting`."""
    deferred: int
    """Jobs that wait for others: for jobs before them, or for their turn under a limit."""
    delayed: int
    """Jobs that are not due yet."""
    waiting: int
    """Jobs that are due, and wait for a worker."""
    qsize: int
    """Waiting, deferred and delayed ones together: what `maxsize` bounds."""
    running: int
    dead: int
    blocked: int
    """Blocked producers."""
    maxsize: int
    paused: bool
    rests_until: float | None
    """Until when no job starts since a task asked for a rest, seconds since 1970; or null."""
    shutdown: bool
    accepted: int
    finished: int
    cancelled: int
    discarded: int
    rate_in: float
    rate_out: float
    """Jobs per second, in the last step."""
    workers: int
    busy: int


class Queues(Struct, frozen=True):
    """Queues, by name."""

    queues: list[QueueLine]
    next: str


class Scaling(Struct, frozen=True):
    """For autoscalers: running jobs, and a worker for each `jobs_per_worker` that are due; 0 for a paused queue."""

    desired_workers: int
    running: int
    waiting: int
    workers: int


class ScalingQuery(Query, frozen=True):
    """Number of waiting jobs for one worker."""

    jobs_per_worker: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class Bound(Why, frozen=True, kw_only=True):
    """How many jobs may wait; 0: any number."""

    maxsize: Annotated[int, Meta(ge=0, le=1_000_000_000)]


@endpoint("GET", "/queues", "look", Queues, query=RowsQuery, rows="queues")
def list_queues(request: ApiRequest) -> Queues:
    """List queues."""
    snapshot = request.context.snapshot()
    last, count = decode_cursor(request.query.cursor), request.query.count
    names = [name for name in sorted(snapshot.queues) if name > last]
    more = encode_cursor(names[count - 1]) if len(names) > count else ""
    return Queues([_line(snapshot, name, snapshot.queues[name]) for name in names[:count]], more)


@endpoint("GET", "/queues/{queue}", "look", QueueLine)
def show_queue(request: ApiRequest) -> QueueLine:
    """Show a queue."""
    return _line(request.context.snapshot_with(request.queue), request.queue, _count(request))


@endpoint("GET", "/queues/{queue}/scaling", "look", Scaling, query=ScalingQuery)
def scale_queue(request: ApiRequest) -> Scaling:
    """Show how many workers a queue needs."""
    workers = request.context.snapshot_with(request.queue).workers_of(request.queue)
    count = _count(request)
    due = 0 if count.paused else math.ceil(count.ready / request.query.jobs_per_worker)
    return Scaling(count.leased + due, count.leased, count.ready, len(workers))


@endpoint("POST", "/queues/{queue}/pause", "act", Done, body=Why)
def pause_queue(request: ApiRequest) -> Done:
    """Pause a queue."""
    request.context.check_begun(request.queue)
    answer = request.actions.pause_queue(request.queue, request.body.reason)
    return struct_from(Done, answer, message=f"{answer.queue} is paused")


@endpoint("POST", "/queues/{queue}/resume", "act", Done, body=Why)
def resume_queue(request: ApiRequest) -> Done:
    """Resume a queue."""
    request.context.check_begun(request.queue)
    answer = request.actions.resume_queue(request.queue, request.body.reason)
    return struct_from(Done, answer, message=f"{answer.queue} is resumed")


@endpoint("POST", "/queues/{queue}/bound", "act", Done, body=Bound)
def bound_queue(request: ApiRequest) -> Done:
    """Set how many jobs may wait."""
    request.context.check_begun(request.queue)
    answer = request.actions.bound_queue(request.queue, request.body.maxsize, request.body.reason)
    limit = f"limited to {answer.after.maxsize:,} jobs" if answer.after.maxsize else "no longer limited"
    return struct_from(Done, answer, message=f"{answer.queue} is {limit}")


@endpoint("POST", "/queues/{queue}/purge", "purge", Begun, body=Why, status=202)
def purge_queue(request: ApiRequest) -> Begun:
    """Cancel all waiting, deferred and delayed jobs."""
    request.context.check_begun(request.queue)
    return begin(request, "purge", [request.queue], Matching())


def _line(snapshot: Snapshot, name: str, count: Count) -> QueueLine:
    rate = snapshot.rates.get(name, Rate())
    workers = snapshot.workers_of(name)
    return struct_from(
        QueueLine,
        count,
        name=name,
        waiting=count.ready,
        qsize=count.qsize,
        running=count.leased,
        paused=bool(count.paused),
        rests_until=count.rest / 1000 or None,
        shutdown=bool(count.shutdown),
        rate_in=round(rate.accepted, 3),
        rate_out=round(rate.ended, 3),
        workers=len(workers),
        busy=sum(worker.is_busy_on(name) for worker in workers),
    )


def _count(request: ApiRequest) -> Count:
    """Count now, so that a client that has just changed a queue sees it."""
    count: Count = request.context.ask(snapshots.queue_counts([request.queue]))[request.queue]
    return count
