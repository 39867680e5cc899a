"""The dashboard as an ASGI application: its routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import conveyor
from conveyor.dashboard import api, known_tasks, metrics, pages, rendering
from conveyor.dashboard.api import ApiContext
from conveyor.dashboard.live import LiveChannel
from conveyor.dashboard.page import PageRegistry
from conveyor.dashboard.poller import PagePoller
from conveyor.dashboard.site import Site
from conveyor.errors import StoreError
from conveyor.monitor.bulk import OperationRunner
from conveyor.store import Client

if TYPE_CHECKING:
    from starlette.requests import Request

    from conveyor.dashboard.access.policy import Policy


def application(client: Client, policy: Policy, tasks: tuple[str, ...] = ()) -> Starlette:
    """Return the application for one server; the security middleware goes before it."""
    poller = PagePoller(client, PageRegistry(pages.ALL))
    facts = {"read_only": policy.read_only, "insecure": policy.insecure, "release": conveyor.__version__}
    site = Site(poller, facts)
    live = LiveChannel(poller)
    known_tasks.use(tasks)
    # No one waits for an operation: it continues when the server is back.
    patient = Client(client.url, revive=client.revive, name=client.name)
    context = ApiContext(client, poller, OperationRunner(patient), policy)

    async def healthy(_: Request) -> Response:
        """Respond that this process lives; asks no one."""
        return PlainTextResponse("ok\n")

    def ready(_: Request) -> Response:
        """Respond whether the server replies, and no more than that, since anyone may ask."""
        try:
            poller.fresh()
        except StoreError:
            return PlainTextResponse("the server is unavailable\n", 503)
        return PlainTextResponse("ok\n")

    routes = [
        Route("/static/{version}/{name:path}", rendering.asset),
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/api/v1/events", live.stream),
        Route("/api/v1/snapshot", live.snapshot),
        metrics.route(poller),
        *api.routes(context),
        *site.routes(),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: site.unrouted})
    app.router.redirect_slashes = False  # an unknown path is 404
    return app
