"""The JSON API: `/api/v1`. The page writes through it alone, so it can all that the page can.

`table.ENDPOINTS` lists what there is; the routes and `/api/v1/openapi.json` are made of it. Events and snapshot are
the live channel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from conveyor.dashboard.access.problems import Problem, Refused
from conveyor.dashboard.access.rights import Forbidden
from conveyor.dashboard.access.security import allowed
from conveyor.dashboard.api import problems
from conveyor.dashboard.api.desk import ApiContext
from conveyor.dashboard.api.endpoint import Asked, Endpoint
from conveyor.dashboard.api.openapi import document
from conveyor.dashboard.api.table import ENDPOINTS
from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["BASE", "ApiContext", "routes"]

BASE = "/api/v1"
_JSON = "application/json"
_EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def routes(desk: ApiContext) -> list[Route]:
    """Give the routes of the whole API; those of the live channel must come before them."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in ENDPOINTS:
        by_path.setdefault(one.path, {})[one.method] = one
    description = document(ENDPOINTS, BASE)

    def openapi(request: Request) -> Response:
        """Answer with the description of the API."""
        allowed(request.scope, "look")
        return Response(description, media_type=_JSON)

    def nothing(request: Request) -> Response:
        """Answer that there is no such endpoint."""
        allowed(request.scope, "look")
        hint = f"{BASE}/openapi.json lists what there is"
        return problems.answer(Problem(404, "no-endpoint", "There is no such endpoint.", hint))

    made = [
        Route(BASE + path, _answering(desk, methods), methods=_EVERY_METHOD)
        for path, methods in by_path.items()
    ]
    return [
        Route(f"{BASE}/openapi.json", openapi),
        *made,
        Route("/api", nothing, methods=_EVERY_METHOD),
        Route("/api/{rest:path}", nothing, methods=_EVERY_METHOD),
    ]


def _answering(desk: ApiContext, methods: dict[str, Endpoint]) -> Any:
    async def answer(request: Request) -> Response:
        """Answer one request; the work is done in a thread."""
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            headers = (("allow", ", ".join(methods)),)
            detail = f"This is no endpoint for {request.method}."
            return problems.answer(Problem(405, "wrong-method", detail, headers=headers))
        body = await request.body()
        return await anyio.to_thread.run_sync(_work, desk, endpoint, request, body)

    return answer


def _work(desk: ApiContext, endpoint: Endpoint, request: Request, body: bytes) -> Response:
    try:
        query = endpoint.read_query(request.query_params)
        asked = Asked(desk, request.scope, request.path_params, query, endpoint.read_body(body))
        data, status = endpoint.run(asked)
    except Forbidden:
        raise
    except Refused as error:
        return problems.answer(error.problem)
    except ConveyorError as error:
        return problems.answer(problems.problem_of(error), problems.more_of(error))
    return Response(data, status, media_type=_JSON)
