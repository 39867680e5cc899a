"""The API behind the guard, called by users with different rights."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asgi_client import OWN, ask
from starlette.applications import Starlette

from conveyor.dashboard import api, metrics, pages
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.rights import Access, Role
from conveyor.dashboard.access.security import SecurityMiddleware
from conveyor.dashboard.page import PageRegistry
from conveyor.dashboard.poller import PagePoller
from conveyor.monitor.bulk import OperationRunner

if TYPE_CHECKING:
    import httpx

    from conveyor.dashboard.access.request import Scope
    from conveyor.store import Client


def access_by_header(scope: Scope) -> Access | None:
    """Trust the caller's stated name: `viewer`, `operator` or `admin`.

    Maybe with `+right` for further rights.
    """
    told = dict(scope["headers"]).get(b"x-who", b"").decode()
    if not told:
        return None
    role, *more = re.split(r"(?=[+])", told)
    found = Access.of(role, Role.of(role))
    for one in more:
        word: Any = one[1:]
        found = replace(found, rights=found.rights | {word})
    return found


class Api:
    """The API of a server; `ask` sends a request and returns the response."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.runner = OperationRunner(client, pause=0.0)
        policy = Policy(resolve=access_by_header)
        self.poller = PagePoller(client, PageRegistry(pages.ALL))
        desk = api.ApiContext(client, self.poller, self.runner, policy)
        routes = [metrics.route(self.poller), *api.routes(desk)]
        app = Starlette(routes=routes)
        self.guard = SecurityMiddleware(app, policy)
        self.read_only = SecurityMiddleware(app, replace(policy, read_only=True))

    def ask(
        self, method: str, path: str, who: str = "admin", *, read_only: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request, by default as an admin and from the page itself."""
        headers = {
            "x-who": who,
            **(OWN if method not in {"GET", "HEAD"} else {}),
            **options.pop("headers", {}),
        }
        return ask(self.read_only if read_only else self.guard, method, path, headers=headers, **options)

    def get(self, path: str, who: str = "admin", **params: Any) -> Any:
        """GET a path below /api/v1 that must work, and return its JSON."""
        response = self.ask("GET", f"/api/v1{path}", who, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any = None, who: str = "admin", **headers: str) -> Any:
        """POST to a path below /api/v1 that must work, and return its JSON."""
        response = self.ask("POST", f"/api/v1{path}", who, json=body or {}, headers=headers)
        assert response.status_code < 300, response.text
        return response.json()

    def refusal(
        self, method: str, path: str, body: Any = None, who: str = "admin", **headers: str
    ) -> tuple[int, str]:
        """Send a request that must be refused; return status and code."""
        more = {} if method == "GET" else {"json": body or {}}
        response = self.ask(method, f"/api/v1{path}", who, headers=headers, **more)
        assert response.headers["content-type"] == "application/problem+json", response.text
        problem = response.json()
        assert problem["status"] == response.status_code
        return response.status_code, problem["code"]

    def close(self) -> None:
        """End its thread."""
        self.runner.close()
