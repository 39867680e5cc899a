"""The page during an outage of its server: it reports it soon, and recovers automatically."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import OWN, ask, ask_all

from conveyor.dashboard import Policy, create_dashboard
from conveyor.dashboard.access.rights import Access, Role
from conveyor.dashboard.live import LiveChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from conveyor.dashboard.access.security import SecurityMiddleware
    from conveyor.dashboard.poller import PagePoller

ADMIN = Access.of("ada", Role.ADMIN)
WRITES = {
    "/queues/alpha/pause": {},
    "/jobs": {"task": "fail"},
    "/jobs/some-job/cancel": {"queue": "alpha"},
    "/jobs/some-job/signal": {"queue": "alpha", "name": "go"},
    "/workers/tell": {"verb": "stop", "targets": ["host-1/1"]},
    "/operations": {"kind": "retry", "queue": "alpha"},
}


@pytest.fixture
def guard(one_server: Any) -> SecurityMiddleware:
    """Return the served dashboard after its first query of the server."""
    page = create_dashboard(one_server.url, auth=Policy(resolve=lambda _: ADMIN), tasks=["api_tasks"])
    assert ask(page, "GET", "/readyz").status_code == 200
    return page


def post(guard: SecurityMiddleware, path: str, body: Any) -> httpx.Response:
    return ask(guard, "POST", path, headers=OWN, json=body)


@contextmanager
def stopped(server: Any) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


def test_actions_are_refused_soon_if_the_server_is_unavailable(
    guard: SecurityMiddleware, one_server: Any
) -> None:
    requests = [("POST", f"/api/v1{path}", {"headers": OWN, "json": body}) for path, body in WRITES.items()]
    begun = time.monotonic()
    with stopped(one_server):
        answers = ask_all(guard, requests)
        took = time.monotonic() - begun
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(503, "server-away")] * len(WRITES)
    assert took < 9.0
    assert post(guard, "/api/v1/jobs", {"task": "fail"}).status_code == 201


def test_hung_server_is_not_waited_for(guard: SecurityMiddleware, one_server: Any) -> None:
    begun = time.monotonic()
    os.kill(one_server.process.pid, signal.SIGSTOP)
    try:
        reply = post(guard, "/api/v1/queues/alpha/pause", {})
    finally:
        os.kill(one_server.process.pid, signal.SIGCONT)
    assert (reply.status_code, reply.json()["code"]) == (503, "server-away")
    assert time.monotonic() - begun < 9.0


class Listener:
    """A listener that keeps its messages."""

    addresses = ("/",)
    access = None

    def __init__(self) -> None:
        self.topics: list[str] = []

    def notify(self, topic: str, data: object) -> None:
        self.topics.append(topic)


def test_viewers_see_an_outage_and_the_recovery(
    guard: SecurityMiddleware, one_server: Any, eventually: Callable[..., Any]
) -> None:
    live = next(
        one.endpoint.__self__
        for one in guard._app.routes
        if isinstance(getattr(one.endpoint, "__self__", None), LiveChannel)
    )
    poller: PagePoller = live.poller
    listener = Listener()
    poller.subscribe(listener)
    try:
        eventually(lambda: "pulse" in listener.topics)
        with stopped(one_server):
            eventually(lambda: "trouble" in listener.topics)
            listener.topics.clear()
        eventually(lambda: "pulse" in listener.topics)
        assert poller.error is None
    finally:
        poller.unsubscribe(listener)
