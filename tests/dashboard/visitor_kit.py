"""Shared tools for tests of pages about queues and workers: visitors, and reports of consumers."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from asgi_client import ask

from conveyor import Queue
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.rights import Access, Role
from conveyor.dashboard.access.security import SecurityMiddleware
from conveyor.dashboard.app import application
from conveyor.store import Client, control_channel
from conveyor.wire import control_messages
from conveyor.wire.control_messages import ConsumerReport, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

LARGEST = 60 * 1024


ADA = Access.of("ada", Role.ADMIN)


class Visitor:
    """A visitor of the pages of a server."""

    def __init__(self, url: str, access: Access = ADA) -> None:
        policy = Policy(resolve=lambda _: access)
        self.client = Client(url)
        self.page = SecurityMiddleware(application(self.client, policy), policy)

    def get(self, address: str, **filters: str) -> httpx.Response:
        try:
            return ask(self.page, "GET", address, params=filters or None)
        finally:
            self.client.close()

    def see(self, address: str, status: int = 200) -> str:
        reply = self.get(address)
        assert reply.status_code == status, (address, reply.status_code, reply.text[:500])
        return reply.text


def pages_from(visitor: Visitor, address: str) -> Iterator[str]:
    """Yield the HTML of a list's pages, from one to the last; none may be too large."""
    while address:
        html = visitor.see(address)
        assert len(html.encode()) <= LARGEST
        yield html
        found = re.search(r'href="([^"]+)" rel="next"', html)
        address = found[1].replace("&amp;", "&") if found else ""


def words_of(html: str) -> str:
    """Return the text of a page as a single line."""
    inner = html.partition("<main")[2].partition("</main>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", inner).split())


def worker(name: str, **facts: Any) -> WorkerReport:
    busy = {
        "job": "job1",
        "task": "video.split",
        "queue": "video",
        "busy_for": 75.0,
        "done": 30.0,
        "total": 120.0,
        "message": "page 3",
        "attempt": 2,
        "cpu": 0.5,
        "memory": 64 << 20,
        "jobs_done": 41,
    }
    return WorkerReport(name, 4711, **({"state": "busy"} | busy | facts))


def report(name: str = "rack-0001", workers: int | list[WorkerReport] = 2, **facts: Any) -> ConsumerReport:
    crew = workers
    if isinstance(crew, int):
        crew = [worker(f"{name}/{number}") for number in range(1, crew + 1)]
    given: dict[str, Any] = {
        "host": "rack",
        "pid": 99,
        "queues": ["video"],
        "kind": "process",
        "started": time.time() - 60,
        "workers": crew,
        "version": "0.1.0",
        "cores": 8,
        "python": "3.12.1",
        "at": time.time(),
    }
    return ConsumerReport(name, **(given | facts))


def tell(server: Any, *reports: ConsumerReport) -> None:
    for one in reports:
        server.client.run(control_channel.report(one.name, control_messages.encode(one), time.time()))


def put(server: Any, name: str = "video", jobs: int = 1, maxsize: int = 0) -> None:
    queue = Queue(name, maxsize, store=server.client)
    for number in range(jobs):
        queue.put({"n": number})
