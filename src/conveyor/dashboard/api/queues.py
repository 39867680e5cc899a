"""Endpoints about queues."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import Done, Query, RowsQuery, Why, struct_from
from conveyor.dashboard.api.operations import Begun, Matching, begin
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor import waits
from conveyor.monitor.job_list import decode_cursor, encode_cursor
from conveyor.monitor.snapshot import Rate
from conveyor.wire.terms import MAX_PERIOD, MAX_STARTS

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


class Limit(Struct, frozen=True):
    """A limit, and how much of it is used."""

    running: int
    """Max jobs that run at a time; 0 for no limit."""
    starts: int
    """Max jobs that start within `per` seconds; 0 for no limit."""
    per: float
    in_order: bool
    now_running: int
    """Jobs that run, or may be taken at once; 0 for that of the queue."""
    now_started: int
    waiting: int
    """Deferred jobs of the key."""
    until: float | None
    """Until when none may start, seconds since 1970; null if only running jobs are in the way."""


class KeyLimit(Limit, frozen=True, kw_only=True):
    """The limit of a key, which tasks set."""

    key: str | None
    """For people, without secrets; it may hold arguments, so it is null without the right to inspect."""
    id: str
    """Stands for the key in `end-rest`."""


class Limits(Struct, frozen=True):
    """The limit of a queue, and up to 50 keys that jobs wait for, those with the most first."""

    limit: Limit | None
    rests_until: float | None
    """Until when no job starts since a task asked for a rest, seconds since 1970; or null."""
    keys: list[KeyLimit]
    known: int
    """How many keys have a limit in use."""
    read: int
    """How many of them were read: of very many, those of some deferred jobs."""


class SetLimit(Why, frozen=True, kw_only=True):
    """How many jobs run at a time, and start within `per` seconds; 0: any number."""

    running: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    starts: Annotated[int, Meta(ge=0, le=MAX_STARTS)] = 0
    per: Annotated[float, Meta(ge=0.001, le=MAX_PERIOD)] = 60.0


class EndRest(Why, frozen=True, kw_only=True):
    """The `id` of a key, or empty for the whole queue."""

    key: Annotated[str, Meta(max_length=32)] = ""


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


@endpoint("GET", "/queues/{queue}/limits", "look", Limits)
def show_limits(request: ApiRequest) -> Limits:
    """Show how many jobs may run at a time, and start within a period."""
    request.context.snapshot_with(request.queue)
    found = request.context.ask(waits.limits(request.queue))
    shown = request.may("inspect")
    keys = [
        KeyLimit(
            **waits.figures(one), key=waits.key_text(one.key) if shown else None, id=waits.key_digest(one.key)
        )
        for one in found.keys
    ]
    own = None if found.queue is None else Limit(**waits.figures(found.queue))
    return Limits(own, _count(request).rest / 1000 or None, keys, found.known, found.read)


@endpoint("POST", "/queues/{queue}/limit", "act", Done, body=SetLimit)
def limit_queue(request: ApiRequest) -> Done:
    """Set how many jobs may run at a time, and start within a period."""
    request.context.check_begun(request.queue)
    body = request.body
    answer = request.actions.limit_queue(request.queue, body.running, body.starts, body.per, body.reason)
    own = answer.after.queue
    text = f"limited to {waits.limit_text(own)}" if own else "no longer limited"
    return struct_from(Done, answer, message=f"{answer.queue} is {text}")


@endpoint("POST", "/queues/{queue}/end-rest", "act", Done, body=EndRest)
def end_rest(request: ApiRequest) -> Done:
    """End the rest that a task has asked for by Throttle."""
    request.context.check_begun(request.queue)
    key = ""
    if request.body.key:
        keys = [one.key for one in request.context.ask(waits.limits(request.queue)).keys]
        key = next((one for one in keys if waits.key_digest(one) == request.body.key), "")
        if not key:
            raise Problem(404, "unknown-key", "No job waits for such a key.", "list the limits of the queue")
    answer = request.actions.end_rest(request.queue, key, request.body.reason)
    message = "Jobs start again" if answer.changed else "It did not rest"
    return Done(message, changed=answer.changed, recorded=answer.recorded)


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
