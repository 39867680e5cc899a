"""A corrupt record is at most shown as such; every page, and all else on it, still works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import ask

from conveyor import Queue
from conveyor.dashboard import Policy, create_dashboard
from conveyor.dashboard.access.rights import Access, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

BASE = "conveyor:{spoiled}:"
JUNK = b"\xff\xfe\x00<evil>"
HUGE = "9" * 5000
PAGES = (
    *("/", "/queues", "/queues/spoiled", "/failures", "/failures?queue=spoiled", "/workers", "/audit"),
    *("/operations", "/system", "/metrics", "/jobs?state=waiting", "/jobs?state=dead", "/jobs?text=x"),
    *(f"/jobs?queue=spoiled&state={state}" for state in ("waiting", "delayed", "running", "dead", "ended")),
    *("/queues/spoiled/jobs/{job}", "/jobs/{job}", "/api/v1/jobs/{job}", "/api/v1/snapshot"),
    *("/api/v1/queues", "/api/v1/queues/spoiled", "/api/v1/jobs?queue=spoiled&state=waiting"),
    *("/api/v1/jobs?queue=spoiled&state=running", "/api/v1/audit", "/api/v1/operations", "/api/v1/workers"),
)


def lease(raw: redis.Redis, job: str, text: bytes | str) -> None:
    """Put a job into the running state under this lease."""
    raw.zrem(f"{BASE}ready", job)
    raw.zadd(f"{BASE}leased", {job: 1})
    raw.hset(f"{BASE}leases", job, text)


def minutes(raw: redis.Redis, fields: dict[Any, Any]) -> None:
    """Write into the history of now."""
    now = int(time.time() // 60)
    for minute in range(now - 2, now + 3):
        raw.hset(f"{BASE}minute:{minute}", mapping=fields)
        raw.expire(f"{BASE}minute:{minute}", 600)


def answers(raw: redis.Redis, _: str) -> None:
    """Corrupt the last replies to a control command."""
    raw.xadd("conveyor:audit", {"act": JUNK, "order": "zz"})
    raw.set("conveyor:answers:zz", "x")


SPOILED: dict[str, Callable[[Any, str], object]] = {
    "a job": lambda raw, job: raw.hset(f"{BASE}jobs", job, JUNK),
    "an id in ready": lambda raw, _: raw.zadd(f"{BASE}ready", {JUNK: 5}),
    "an id in dead": lambda raw, _: raw.zadd(f"{BASE}dead", {JUNK: 5}),
    "a group of dead": lambda raw, job: (
        raw.zadd(f"{BASE}dead", {job: 5}),
        raw.hset(f"{BASE}groups", job, JUNK),
    ),
    "tries": lambda raw, job: raw.hset(f"{BASE}tries", job, JUNK),
    "tries of many digits": lambda raw, job: raw.hset(f"{BASE}tries", job, HUGE),
    "a lease": lambda raw, job: lease(raw, job, JUNK),
    "a token of many digits": lambda raw, job: lease(raw, job, f"{'9' * 400} own S"),
    "gauges": lambda raw, _: minutes(raw, {"oldest": "zz", "depth": "x", "running": HUGE}),
    "figures": lambda raw, _: minutes(raw, {"*": JUNK, ":t": f"s={HUGE} R=zz"}),
    "names of tasks": lambda raw, _: raw.hset(f"{BASE}totals", mapping={b":\xff\n": "s=1", "*": JUNK}),
    "counts of acts": lambda raw, _: raw.hset("conveyor:acts", mapping={JUNK: "1", "a b": "zz"}),
    "an act": lambda raw, _: raw.xadd("conveyor:audit", {"act": JUNK}),
    "last words": answers,
    "the name of an operation": lambda raw, _: raw.zadd("conveyor:operations", {JUNK: 1e12}),
    "the name of a consumer": lambda raw, _: raw.zadd("conveyor:consumers", {JUNK: 2e12}),
    "the speedup experiment": lambda raw, _: raw.set("conveyor:speedup", JUNK),
    "the name of a queue": lambda raw, _: raw.sadd("conveyor:queues", JUNK),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_every_page_works_with_a_corrupt_record(one_server: Any, spoil: Callable[[Any, str], object]) -> None:
    Queue("spoiled", store=one_server.client).put_many([1, 2])
    job, good = (name.decode() for name in one_server.raw.zrange(f"{BASE}ready", 0, -1))
    spoil(one_server.raw, job)
    admin = Access.of("somebody", Role.ADMIN)
    app = create_dashboard(one_server.url, auth=Policy(resolve=lambda _: admin))
    seen = {page: ask(app, "GET", page.format(job=job)) for page in PAGES}
    one_server.raw.delete("conveyor:answers:zz")  # of a type that no test may leave behind
    assert {page: reply.status_code for page, reply in seen.items() if reply.status_code >= 400} == {}
    pages = {page: reply for page, reply in seen.items() if "html" in reply.headers["content-type"]}
    assert len(pages) > 15
    assert not [page for page, reply in pages.items() if "<evil>" in reply.text]
    assert good in seen["/jobs?queue=spoiled&state=waiting"].text
