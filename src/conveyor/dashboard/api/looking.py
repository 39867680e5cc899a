"""Endpoints about what people did, about the server, and about what was done over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import conveyor
from conveyor.dashboard.api import answers, inputs
from conveyor.dashboard.api.cursors import after, cursor_of
from conveyor.dashboard.api.endpoint import Endpoint
from conveyor.monitor import audit, charts
from conveyor.store import keys, plain, records
from conveyor.store.address import shown
from conveyor.store.query import Query, together
from conveyor.wire.statistics import bucket

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import Asked

_SECTIONS = ("server", "clients", "memory")


def _audit(asked: Asked) -> answers.Audit:
    before = records.checked_entry(after(asked.query.cursor))
    found = asked.desk.ask(audit.acts(before, asked.query.count))
    rows = [
        answers.made(answers.AuditLine, one.act, id=one.id, at=one.at, answers=dict(one.answers))
        for one in found
        if asked.queue in {"", one.act.queue}
    ]
    return answers.Audit(rows, cursor_of(found[-1].id) if len(found) == asked.query.count else "")


def _system(asked: Asked) -> answers.System:
    snapshot = asked.desk.snapshot()
    asked_for = [Query((plain.info(section, optional=True),), lambda told: told[0]) for section in _SECTIONS]
    facts: dict[str, str] = {}
    for section in asked.desk.ask(together(asked_for)):
        facts |= section
    crew = snapshot.worker_counts
    is_valkey = facts.get("server_name") == "valkey" or "valkey_version" in facts
    return answers.System(
        release=conveyor.__version__,
        server=shown(asked.desk.client.url),
        kind="valkey" if is_valkey else "redis",
        version=facts.get("valkey_version") or facts.get("redis_version", ""),
        uptime=int(facts.get("uptime_in_seconds") or 0),
        clients=int(facts.get("connected_clients") or 0),
        used_memory=int(facts.get("used_memory") or 0),
        maxmemory=int(facts.get("maxmemory") or 0),
        policy=facts.get("maxmemory_policy", ""),
        queues=len(snapshot.queues),
        consumers=len(snapshot.consumers),
        workers=crew.all,
        busy=crew.busy,
        leaving=crew.leaving,
        sample_seconds=asked.desk.poller.took,
    )


def _series(asked: Asked) -> answers.Series:
    query = asked.query
    snapshot = asked.desk.snapshot_with(query.queue) if query.queue else asked.desk.snapshot()
    last = bucket(query.tier, snapshot.at)
    series = charts.series(query.queue or keys.ALL_QUEUES, query.tier, max(0, last - query.count + 1), last)
    points = asked.desk.ask(series)
    return answers.Series(query.queue, query.tier, [answers.made(answers.Point, one) for one in points])


ENDPOINTS = (
    Endpoint(
        *("GET", "/audit", "List what people did", "inspect", _audit, answers.Audit, inputs.QueueRows),
        rows="acts",
    ),
    Endpoint("GET", "/system", "Tell about the server", "look", _system, answers.System),
    Endpoint(
        *("GET", "/statistics", "Show what queues did over time", "look", _series, answers.Series),
        inputs.SeriesQuery,
    ),
)
