"""How a page, a part of one, or a problem becomes a response."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from conveyor.dashboard import rendering
from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.access.request import has_streams, link_root, path_of
from conveyor.dashboard.page import NoSuchThing, version_of
from conveyor.dashboard.poller import TRY_AGAIN, Busy
from conveyor.dashboard.rendering import render
from conveyor.errors import ConveyorError, StoreError, StoreRefused
from conveyor.store.address import shown

if TYPE_CHECKING:
    from starlette.requests import Request

    from conveyor.dashboard.page import Page, PageRequest
    from conveyor.dashboard.poller import CachedPage, PagePoller

#: The request header by which a browser asks for the inner part of a page that it has open.
PART = "conveyor-part"
#: Pages whose HTML is kept for as long as what they show is.
MAX_RENDERED = 100


class Site:
    """All pages of one server."""

    def __init__(self, poller: PagePoller, facts: dict[str, Any]) -> None:
        self.poller = poller
        self.facts = facts
        """What every page shows: read_only, insecure, release."""
        self._rendered: dict[tuple[str, ...], tuple[CachedPage, bytes]] = {}
        """HTML of the last moment, so that twenty viewers of a page cost little more than one."""

    def routes(self) -> list[Route]:
        """Return a route for each page."""
        return [
            Route(page.path, functools.partial(self._respond, page)) for page in self.poller.registry.pages
        ]

    def _respond(self, page: Page, http: Request) -> Response:
        """Return a page: whole, or its inner part, or that nothing has changed."""
        path = path_of(http.scope)
        request = page.request(path, http.path_params, dict(http.query_params))
        if request is None:
            return self.problem(http, 404, "There is no such page", path)
        missing = page.missing(request, http.state.access)
        if missing is not None:
            return self.problem(http, 403, "You may not see this page", f"it needs the right to {missing}")
        try:
            cached = self.poller.page(page, request)
        except ConveyorError as error:
            return self._error(http, error)
        return self._page(http, page, request, cached)

    def unrouted(self, http: Request, error: Any) -> Response:
        """Respond to a request without a route. Raises Problem for another method than GET."""
        if error.status_code == 405:  # noqa: PLR2004
            headers = tuple((name.lower(), value) for name, value in (error.headers or {}).items())
            hint = "read pages with GET, and send changes to /api/v1"
            raise Problem(405, "wrong-method", f"There is nothing here for {http.method}.", hint, headers)
        return self.problem(http, 404, "There is no such page", path_of(http.scope))

    def problem(
        self, http: Request, status: int, what: str, why: str = "", hint: str = "", *, heals: str = ""
    ) -> Response:
        """Return the page of a problem: what, why, what to try.

        A page about an unavailable server, or one that `heals`, loads again as soon as it would show something else.
        """
        facts = {"status": status, "heals": heals, "what": what, "why": why, "hint": hint}
        body = render("problem.html", **self._frame(http), **facts)
        return HTMLResponse(body, status_code=status, headers={"cache-control": "no-store"})

    def _error(self, http: Request, error: ConveyorError) -> Response:
        if isinstance(error, StoreRefused):  # as in the API; nothing recovers by itself
            reason = str(error).rpartition("refused: ")[2]
            return self.problem(http, 502, f"The server refuses: {reason}", str(error), error.hint)
        if isinstance(error, StoreError):
            return self.problem(http, 503, "The server is unavailable", str(error), error.hint)
        if isinstance(error, Busy):
            response = self.problem(http, 429, error.message.capitalize(), "", error.hint)
            response.headers["retry-after"] = str(TRY_AGAIN)
            return response
        if isinstance(error, NoSuchThing):
            return self.problem(http, 404, str(error), "", error.hint, heals=error.may_come)
        return self.problem(http, 400, str(error), "", error.hint)

    def _page(self, http: Request, page: Page, request: PageRequest, cached: CachedPage) -> Response:
        access = http.state.access
        tag = f'"{cached.version}-{version_of(access)}-{rendering.version()}"'
        part = http.headers.get(PART) == "main"
        headers = {"etag": tag, "cache-control": "no-cache", "vary": f"{PART}, cookie, authorization"}
        if part and http.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        template = "part.html" if part else "layout.html"
        key = (template, request.address, version_of(access), http.scope.get("root_path", ""))
        rendered = self._rendered.get(key)
        if rendered is None or rendered[0] is not cached:
            body = render(
                template,
                **self._frame(http),
                access=access,
                may=access.may,
                snapshot=cached.snapshot,
                view=cached.view,
                version=cached.version,
                poller=self.poller,
                page=page,
                request=request,
                address=getattr(cached.view, "address", "") or request.address,
                template=f"{page.name}.html",
            )
            if len(self._rendered) >= MAX_RENDERED:
                self._rendered.clear()
            rendered = self._rendered[key] = (cached, body.encode())
        return HTMLResponse(rendered[1], headers=headers)

    def _frame(self, http: Request) -> dict[str, Any]:
        root = link_root(http.scope)
        return {
            "root": root,
            "streams": has_streams(http.scope),
            "static": f"{root}/static/{rendering.version()}",
            "menu": [one for one in self.poller.registry.pages if one.menu],
            "server": shown(self.poller.client.url),
            **self.facts,
        }
