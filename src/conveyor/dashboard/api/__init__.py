"""The JSON API: `/api/v1`. The pages write through it alone, so it can do all that they can.

ENDPOINTS lists what there is; the routes and `/api/v1/openapi.json` are made of it. Events and snapshot are the live
channel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.access.security import allowed
from conveyor.dashboard.api import enqueue, job, jobs, operations, queues, reports, schedules, tasks, workers
from conveyor.dashboard.api.endpoint import ApiContext, ApiRequest, Endpoint
from conveyor.dashboard.api.openapi import document
from conveyor.dashboard.api.problems import problem_of
from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["BASE", "ENDPOINTS", "ApiContext", "routes"]

BASE = "/api/v1"
#: In the order of the description.
ENDPOINTS = tuple(
    one
    for module in (queues, jobs, enqueue, job, workers, schedules, operations, tasks, reports)
    for one in vars(module).values()
    if isinstance(one, Endpoint)
)
_JSON = "application/json"
_EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def routes(context: ApiContext) -> list[Route]:
    """Return the routes of the whole API; those of the live channel must come before them."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in ENDPOINTS:
        by_path.setdefault(one.path, {})[one.method] = one
    description = document(ENDPOINTS, BASE)

    def openapi(http: Request) -> Response:
        """Return the description of the API."""
        allowed(http.scope, "look")
        return Response(description, media_type=_JSON)

    def unknown(http: Request) -> Response:
        """Refuse a request for an unknown endpoint."""
        allowed(http.scope, "look")
        hint = f"{BASE}/openapi.json lists what there is"
        raise Problem(404, "no-endpoint", "There is no such endpoint.", hint)

    return [
        Route(f"{BASE}/openapi.json", openapi),
        *(
            Route(BASE + path, _handler(context, some), methods=_EVERY_METHOD)
            for path, some in by_path.items()
        ),
        Route("/api", unknown, methods=_EVERY_METHOD),
        Route("/api/{rest:path}", unknown, methods=_EVERY_METHOD),
    ]


def _handler(context: ApiContext, methods: dict[str, Endpoint]) -> Any:
    async def handle(http: Request) -> Response:
        """Handle one request in a thread."""
        endpoint = methods.get("GET" if http.method == "HEAD" else http.method)
        if endpoint is None:
            detail = f"This is not an endpoint for {http.method}."
            allow = (("allow", ", ".join(methods)),)
            raise Problem(405, "wrong-method", detail, headers=allow)
        body = await http.body()
        return await anyio.to_thread.run_sync(_run, context, endpoint, http, body)

    return handle


def _run(context: ApiContext, endpoint: Endpoint, http: Request, body: bytes) -> Response:
    try:
        query = endpoint.read_query(http.query_params)
        request = ApiRequest(context, http.scope, http.path_params, query, endpoint.read_body(body))
        data, status = endpoint.run(request)
    except ConveyorError as error:
        raise problem_of(error) from error  # the middleware responds
    return Response(data, status, media_type=_JSON)
