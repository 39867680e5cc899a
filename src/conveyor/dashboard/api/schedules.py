"""Endpoints about schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import Done, QueueRows, Why, position_after, struct_from
from conveyor.monitor import schedules as monitored
from conveyor.monitor.job_list import encode_cursor
from conveyor.store.schedules import stored_one

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import ApiRequest
    from conveyor.monitor.actions import ScheduleResult
    from conveyor.schedules import ScheduleInfo


class ScheduleLine(Struct, frozen=True):
    """A schedule: when a task runs again and again, and what it has done."""

    queue: str
    name: str
    task: str
    when: str
    """In words."""
    cron: str
    """Empty for a period."""
    every: float | None
    """Seconds; null for a cron expression."""
    timezone: str
    jitter: float
    """Seconds."""
    missed_policy: str
    """skip, one or all."""
    overlap_policy: str
    """allow, skip or queue."""
    module: str
    """The module that defines it; empty if it was added at run time."""
    paused: bool
    next_at: float | None
    """Seconds since 1970; null if it is paused."""
    last_at: float | None
    """Seconds since 1970; null if it has not run yet."""
    last_job: str
    """Id of the last job, or empty."""
    fired: int
    skipped: int
    missed: int


class Schedules(Struct, frozen=True):
    """Schedules, by queue and name."""

    schedules: list[ScheduleLine]
    next: str


class Ran(Done, frozen=True):
    """A job that was put."""

    job: str = ""


@endpoint("GET", "/schedules", "look", Schedules, query=QueueRows, rows="schedules")
def list_schedules(request: ApiRequest) -> Schedules:
    """List recurring jobs of a queue or of all."""
    queue, first, count = request.query.queue, position_after(request.query.cursor), request.query.count
    found = request.context.ask(monitored.of_queue(queue) if queue else monitored.all_schedules())
    more = encode_cursor(str(first + count)) if first + count < len(found) else ""
    return Schedules([_line(one) for one in found[first : first + count]], more)


@endpoint("POST", "/queues/{queue}/schedules/{name}/pause", "act", Done, body=Why)
def pause_schedule(request: ApiRequest) -> Done:
    """Pause a schedule."""
    return _done(request.actions.pause_schedule(*_target(request), request.body.reason), "is paused")


@endpoint("POST", "/queues/{queue}/schedules/{name}/resume", "act", Done, body=Why)
def resume_schedule(request: ApiRequest) -> Done:
    """Resume a schedule from its next instant on."""
    return _done(request.actions.resume_schedule(*_target(request), request.body.reason), "is resumed")


@endpoint("POST", "/queues/{queue}/schedules/{name}/run", "act", Ran, body=Why)
def run_schedule(request: ApiRequest) -> Ran:
    """Enqueue a job of a schedule now."""
    result = request.actions.run_schedule(*_target(request), request.body.reason)
    return struct_from(Ran, result, message=f"a job of {result.name} is enqueued")


@endpoint("POST", "/queues/{queue}/schedules/{name}/remove", "act", Done, body=Why)
def remove_schedule(request: ApiRequest) -> Done:
    """Remove a schedule."""
    return _done(request.actions.remove_schedule(*_target(request), request.body.reason), "is removed")


def _target(request: ApiRequest) -> tuple[str, str]:
    """Return the queue and the name of a schedule. Refuses (404) an unknown one."""
    queue, name = request.queue, request.parts["name"]
    if request.context.ask(stored_one(queue, name)) is None:
        raise Problem(404, "unknown-schedule", f"Unknown schedule {name!r:.110} of {queue!r:.110}.")
    return queue, name


def _done(result: ScheduleResult, state: str) -> Done:
    return struct_from(Done, result, message=f"{result.name} {state}")


def _line(info: ScheduleInfo) -> ScheduleLine:
    timing = info.schedule
    return struct_from(
        ScheduleLine,
        info,
        when=info.timing,
        cron=timing.cron if timing else "",
        every=timing.period if timing else None,
        timezone=timing.timezone if timing else "",
        jitter=timing.max_delay if timing else 0.0,
        missed_policy=timing.missed if timing else "",
        overlap_policy=timing.overlap if timing else "",
        next_at=info.next_at and info.next_at.timestamp(),
        last_at=info.last_at and info.last_at.timestamp(),
    )
