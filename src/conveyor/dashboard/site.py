"""How a page, a part of one, or a problem becomes a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response

from conveyor.dashboard import assets
from conveyor.dashboard.access.request import has_streams, link_root, path_of
from conveyor.dashboard.page import NoSuchThing, version_of
from conveyor.dashboard.rendering import render
from conveyor.dashboard.searches import TRY_AGAIN, Busy
from conveyor.errors import ConveyorError, StoreError, StoreRefused
from conveyor.store.address import shown

if TYPE_CHECKING:
    from starlette.requests import Request

    from conveyor.dashboard.page import Book, Page, Wanted
    from conveyor.dashboard.sampler import Sampler
    from conveyor.dashboard.sights import Sight
    from conveyor.store import Client

#: The request header by which a browser asks for the inner part of a page that it has open.
PART = "conveyor-part"
#: Pages whose HTML is remembered for as long as what they show is.
MOST_MADE = 100


class Site:
    """All pages of one server."""

    def __init__(self, client: Client, sampler: Sampler, book: Book, facts: dict[str, Any]) -> None:
        self.client = client
        self.sampler = sampler
        self.book = book
        self.facts = facts
        """What every page shows: read_only, insecure, label and so on."""
        self._made: dict[tuple[str, ...], tuple[Sight, bytes]] = {}
        """HTML of the last moment, so that twenty who look at the same page cost little more than one."""

    def answer(self, request: Request) -> Response:
        """Answer with the page of the request's path: whole, or its inner part, or that nothing has changed."""
        path = path_of(request.scope)
        found = self.book.of_path(path, dict(request.query_params))
        if found is None:
            return self.problem(request, 404, "There is no such page", path)
        page, wanted = found
        missing = page.missing(wanted, request.state.access)
        if missing is not None:
            return self.problem(request, 403, "You may not see this page", f"it needs the right to {missing}")
        try:
            sight = self.sampler.look(page, wanted)
        except ConveyorError as error:
            return self._fault(request, error)
        return self._page(request, page, wanted, sight)

    def _fault(self, request: Request, error: ConveyorError) -> Response:
        if isinstance(error, StoreRefused):  # as the API; nothing comes back by itself
            reason = str(error).rpartition("refused: ")[2]
            return self.problem(request, 502, f"The server refuses: {reason}", str(error), error.hint)
        if isinstance(error, StoreError):
            return self.problem(request, 503, "The server does not answer", str(error), error.hint)
        if isinstance(error, Busy):
            answer = self.problem(request, 429, error.message.capitalize(), "", error.hint)
            answer.headers["retry-after"] = str(TRY_AGAIN)
            return answer
        if isinstance(error, NoSuchThing):
            return self.problem(request, 404, str(error), "", error.hint, heals=error.may_come)
        return self.problem(request, 400, str(error), "", error.hint)

    def _page(self, request: Request, page: Page, wanted: Wanted, sight: Sight) -> Response:
        """Answer with a page, or with its inner part, or that nothing has changed."""
        access = request.state.access
        tag = f'"{sight.version}-{version_of(access)}-{assets.version()}"'
        part = request.headers.get(PART) == "main"
        headers = {"etag": tag, "cache-control": "no-cache", "vary": f"{PART}, cookie, authorization"}
        if part and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        name = "part.html" if part else "layout.html"
        key = (name, wanted.address, version_of(access), request.scope.get("root_path", ""))
        made = self._made.get(key)
        if made is None or made[0] is not sight:
            template = f"{page.name}.html"
            context = self._context(request, sight)
            body = render(
                name,
                **context,
                page=page,
                address=getattr(sight.view, "address", "") or wanted.address,
                wanted=wanted,
                template=template,
            )
            if len(self._made) >= MOST_MADE:
                self._made.clear()
            made = self._made[key] = (sight, body.encode())
        return HTMLResponse(made[1], headers=headers)

    def problem(
        self, request: Request, status: int, what: str, why: str = "", hint: str = "", *, heals: str = ""
    ) -> Response:
        """Report that something is wrong: what, why, what to try.

        A page about an unavailable server, or one that `heals`, loads again as soon as it would show something else.
        """
        body = render(
            "problem.html",
            **self._facts(request),
            status=status,
            heals=heals,
            what=what,
            why=why,
            hint=hint,
        )
        return HTMLResponse(body, status_code=status, headers={"cache-control": "no-store"})

    def _facts(self, request: Request) -> dict[str, Any]:
        root = link_root(request.scope)
        return {
            "root": root,
            "streams": has_streams(request.scope),
            "static": f"{root}/static/{assets.version()}",
            "menu": [one for one in self.book.pages if one.menu],
            "server": shown(self.client.url),
            **self.facts,
        }

    def _context(self, request: Request, sight: Sight) -> dict[str, Any]:
        access = request.state.access
        return {
            **self._facts(request),
            "access": access,
            "may": access.may,
            "snapshot": sight.snapshot,
            "view": sight.view,
            "version": sight.version,
            "sampler": self.sampler,
        }
