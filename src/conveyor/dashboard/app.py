"""The page as an ASGI application: its routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import conveyor
from conveyor.dashboard import api, assets, known_tasks, metrics, pages
from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.api import ApiDesk
from conveyor.dashboard.live import Live
from conveyor.dashboard.page import Book
from conveyor.dashboard.sampler import Sampler
from conveyor.dashboard.site import Site
from conveyor.errors import StoreError
from conveyor.monitor.actions import OperationRunner
from conveyor.store import Client

if TYPE_CHECKING:
    from starlette.requests import Request

    from conveyor.dashboard.access.policy import Policy


def application(client: Client, policy: Policy, tasks: tuple[str, ...] = ()) -> Starlette:
    """Give the application for one server; the guard is to stand before it."""
    book = Book(pages.ALL)
    facts = {"read_only": policy.read_only, "insecure": policy.insecure, "release": conveyor.__version__}
    sampler = Sampler(client, book)
    site = Site(client, sampler, book, facts)
    live = Live(sampler)
    known_tasks.use(tasks)
    # Nobody waits for an operation: it goes on when the server is back.
    patient = Client(client.url, revive=client.revive, name=client.name)
    desk = ApiDesk(client, sampler, OperationRunner(patient), policy)

    async def healthy(_: Request) -> Response:
        """Answer that this process lives; asks nobody."""
        return PlainTextResponse("ok\n")

    def ready(_: Request) -> Response:
        """Answer whether the server answers; no more than that, since anybody may ask."""
        try:
            sampler.fresh()
        except StoreError:
            return PlainTextResponse("the server does not answer\n", 503)
        return PlainTextResponse("ok\n")

    routes = [
        Route("/static/{version}/{name:path}", assets.asset),
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/api/v1/events", live.stream),
        Route("/api/v1/snapshot", live.snapshot),
        metrics.route(sampler),
        *api.routes(desk),
        Route("/{path:path}", site.answer),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _unrouted})


async def _unrouted(request: Request, error: Exception) -> Response:
    """Refuse what no route is for: paths with line breaks in them, whole addresses in place of a path, methods."""
    if isinstance(error, HTTPException) and error.status_code == 405:  # noqa: PLR2004
        headers = tuple((name.lower(), value) for name, value in (error.headers or {}).items())
        hint = "Pages are read by GET; what changes something is below /api/v1."
        raise refused(405, "wrong-method", f"There is nothing here for {request.method}.", hint, headers)
    raise refused(404, "unknown-path", "There is no such page.")
