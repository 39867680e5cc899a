"""Endpoints about the audit trail, the server, and statistics over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

import conveyor
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import MaybeQueue, Query, QueueRows, struct_from
from conveyor.monitor import audit, charts
from conveyor.monitor.job_list import decode_cursor, encode_cursor
from conveyor.store import fitness, keys, query, records
from conveyor.store.address import shown
from conveyor.wire.audit_entry import Facts  # noqa: TC001 - msgspec reads the annotations
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import ApiRequest


class AuditLine(Struct, frozen=True):
    """An action of a person."""

    id: str
    at: float
    action: str
    target: str
    queue: str
    reason: str
    before: Facts
    after: Facts
    outcome: str
    who: str
    origin: str
    answers: dict[str, str]
    """Of a control command, the last acknowledgement of each target: acknowledged, done, or why nothing was done.
    Empty if those of the actions before it in the page are too many: 500 come with one page."""


class Audit(Struct, frozen=True):
    """Actions of people, the newest first. A page of one queue's may be empty and still have a `next`."""

    acts: list[AuditLine]
    next: str


class System(Struct, frozen=True):
    """The server, and this dashboard."""

    release: str
    server: str
    kind: str
    version: str
    uptime: int
    clients: int
    used_memory: int
    maxmemory: int
    """Bytes; 0: no limit of its own."""
    policy: str
    queues: int
    consumers: int
    workers: int
    busy: int
    """Workers that run a job, leaving ones included."""
    leaving: int
    sample_seconds: float


class Point(Struct, frozen=True):
    """What a queue did in one minute, hour or day."""

    at: float
    succeeded: int
    failed: int
    cancelled: int
    lost: int
    retried: int
    started: int
    depth: int
    oldest: float | None
    """Seconds since the job at the head was put; null if no consumer has noted it."""
    running: int
    run_p50: float | None
    run_p95: float | None
    wait_p50: float | None
    wait_p95: float | None


class Series(Struct, frozen=True):
    """What a queue did, the oldest first."""

    queue: str
    tier: str
    points: list[Point]


class SeriesQuery(Query, frozen=True, kw_only=True):
    """The last `count` minutes, hours or days of a queue or of all, the running one included."""

    queue: MaybeQueue = ""
    """Empty: all queues together, without gauges."""
    tier: Literal["minute", "hour", "day"] = "minute"
    count: Annotated[int, Meta(ge=1, le=180)] = 60


@endpoint("GET", "/audit", "inspect", Audit, query=QueueRows, rows="acts")
def list_audit(request: ApiRequest) -> Audit:
    """List actions of people."""
    before = records.checked_entry(decode_cursor(request.query.cursor))
    found = request.context.ask(audit.entries(before, request.query.count))
    rows = [
        struct_from(AuditLine, one.act, id=one.id, at=one.at, answers=dict(one.answers))
        for one in found
        if request.queue in {"", one.act.queue}
    ]
    return Audit(rows, encode_cursor(found[-1].id) if len(found) == request.query.count else "")


@endpoint("GET", "/system", "look", System)
def show_system(request: ApiRequest) -> System:
    """Show the server."""
    snapshot = request.context.snapshot()
    sections = [fitness.info(name, optional=True) for name in ("server", "clients", "memory")]
    facts: dict[str, str] = {}
    for section in request.context.ask(query.Query(tuple(sections), list)):
        facts |= section
    workers = snapshot.worker_counts
    is_valkey = facts.get("server_name") == "valkey" or "valkey_version" in facts
    return System(
        release=conveyor.__version__,
        server=shown(request.context.client.url),
        kind="valkey" if is_valkey else "redis",
        version=facts.get("valkey_version") or facts.get("redis_version", ""),
        uptime=int(facts.get("uptime_in_seconds") or 0),
        clients=int(facts.get("connected_clients") or 0),
        used_memory=int(facts.get("used_memory") or 0),
        maxmemory=int(facts.get("maxmemory") or 0),
        policy=facts.get("maxmemory_policy", ""),
        queues=len(snapshot.queues),
        consumers=len(snapshot.consumers),
        workers=workers.all,
        busy=workers.busy,
        leaving=workers.leaving,
        sample_seconds=request.context.poller.took,
    )


@endpoint("GET", "/statistics", "look", Series, query=SeriesQuery)
def show_statistics(request: ApiRequest) -> Series:
    """Show what queues did over time."""
    given, context = request.query, request.context
    snapshot = context.snapshot_with(given.queue) if given.queue else context.snapshot()
    last = bucket(given.tier, snapshot.at)
    first = max(0, last - given.count + 1)
    points = context.ask(charts.series(given.queue or keys.ALL_QUEUES, given.tier, first, last))
    return Series(given.queue, given.tier, list(map(_point, points)))


def _point(one: charts.Point) -> Point:
    runs, waits = one.figures.runs, one.figures.waits
    return struct_from(
        Point,
        one.figures,
        at=one.at,
        failed=one.failed,
        depth=one.depth,
        oldest=one.oldest,
        running=one.running,
        run_p50=runs.percentile(0.5),
        run_p95=runs.percentile(0.95),
        wait_p50=waits.percentile(0.5),
        wait_p95=waits.percentile(0.95),
    )
