"""Why a request was refused: as problem JSON (RFC 9457) for programs, as a small page for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from conveyor.dashboard import rendering
from conveyor.dashboard.access.request import Scope, is_api, is_metrics, link_root
from conveyor.dashboard.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterable

Header = tuple[str, str]
MEDIA_TYPE = "application/problem+json"


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was not carried out, by RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """One stable word for programs."""
    hint: str = ""
    """What to try."""
    errors: dict[str, str] = {}
    """What is wrong with single values, by name; the empty name means all of them together."""
    accepted: int = 0
    """Of the jobs to put, how many are in the queue nevertheless."""
    ids: list[str] = []
    """Those jobs."""


#: Titles for statuses whose standard phrase is of little use to a person.
_TITLES = {500: "Something went wrong in the dashboard"}


class Problem(Exception):
    """Why a request was refused, to be raised or made a response. `headers` go with it.

    `code` is one stable word for programs; `more` are further fields of the document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        hint: str = "",
        headers: tuple[Header, ...] = (),
        **more: Any,
    ) -> None:
        super().__init__(detail)
        title = _TITLES.get(status) or HTTPStatus(status).phrase
        kind = f"urn:conveyor:problem:{code}"
        self.document = ProblemDocument(kind, title, status, detail, code, hint, **more)
        self.headers = headers


#: For a bug of the dashboard. It reveals nothing of the inside.
FAULT = Problem(
    500,
    "fault",
    "A bug of the dashboard prevented a response. The log of the process that serves it has the traceback.",
    "try again, or report it with that traceback; `conveyor status` shows the same meanwhile",
)


def json_response(problem: Problem) -> Response:
    """Return a problem document."""
    body = msgspec.json.encode(problem.document)
    response = Response(body, problem.document.status, media_type=MEDIA_TYPE)
    return with_headers(response, problem.headers)


def problem_response(scope: Scope, problem: Problem) -> Response:
    """Return a problem in the form that suits the client."""
    if is_api(scope):
        return json_response(problem)
    document = problem.document
    if is_metrics(scope):
        text = "\n".join(filter(None, (document.title, document.detail, document.hint)))
        return with_headers(PlainTextResponse(f"{text}\n", document.status), problem.headers)
    # It stands alone and asks the server nothing.
    facts = {"status": document.status, "what": document.title, "why": document.detail, "hint": document.hint}
    page = render("problem.html", **_frame(scope), **facts)
    return with_headers(HTMLResponse(page, document.status), problem.headers)


def with_headers(response: Response, headers: Iterable[Header]) -> Response:
    """Add headers, of which several may have the same name."""
    for name, value in headers:
        response.headers.append(name, value)
    return response


def login_page(scope: Scope, status: int, onwards: str, problem: str = "") -> Response:
    """Return the login page: its form leads to the path `onwards`; `problem` is the last error."""
    return HTMLResponse(render("login.html", **_frame(scope), next=onwards, problem=problem), status)


def _frame(scope: Scope) -> dict[str, str]:
    root = link_root(scope)
    return {"root": root, "static": f"{root}/static/{rendering.version()}"}
