"""Why a request was refused: as problem JSON (RFC 9457) for programs, as a small page for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from conveyor.dashboard import rendering
from conveyor.dashboard.access.request import Scope, is_api, is_metrics, link_root
from conveyor.dashboard.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Header = tuple[str, str]
MEDIA_TYPE = "application/problem+json"


class Problem(NamedTuple):
    """Why a request was refused. `code` is one stable word for programs; `headers` go with the response."""

    status: int
    code: str
    detail: str
    hint: str = ""
    headers: tuple[Header, ...] = ()
    more: Mapping[str, object] = {}
    """Further fields of the document."""

    @property
    def title(self) -> str:
        """The status in words."""
        return _TITLES.get(self.status) or HTTPStatus(self.status).phrase


#: Titles for statuses whose standard phrase is of little use to a person.
_TITLES = {500: "Something went wrong on this page"}
#: For a bug of the dashboard. It reveals nothing of the inside.
FAULT = Problem(
    500,
    "fault",
    "The page itself is at fault and could not answer. The log of the process that serves it has the traceback.",
    "Try again. If it happens again, report it with that traceback; `conveyor status` shows the same meanwhile.",
)


class LoginForm(NamedTuple):
    """The contents of the login page: the form's target, where to continue afterwards, and the last error.

    The form has the fields `name`, `password` and `next`, and is sent by POST.
    """

    action: str
    next: str
    problem: str = ""


class Refused(Exception):
    """The response to a request is a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refused(status: int, code: str, detail: str, hint: str = "", headers: tuple[Header, ...] = ()) -> Refused:
    """Return the exception that refuses a request with a problem."""
    return Refused(Problem(status, code, detail, hint, headers))


def json_response(problem: Problem) -> Response:
    """Return a problem document."""
    fields: dict[str, object] = {
        "type": f"urn:conveyor:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    fields |= {"hint": problem.hint} if problem.hint else {}
    body = msgspec.json.encode({**fields, **problem.more})
    return with_headers(Response(body, problem.status, media_type=MEDIA_TYPE), problem.headers)


def problem_response(scope: Scope, problem: Problem) -> Response:
    """Return a problem in the form that suits the client."""
    if is_api(scope):
        return json_response(problem)
    if is_metrics(scope):
        text = "\n".join(filter(None, (problem.title, problem.detail, problem.hint)))
        return with_headers(PlainTextResponse(f"{text}\n", problem.status), problem.headers)
    return with_headers(HTMLResponse(problem_page(scope, problem), problem.status), problem.headers)


def with_headers(response: Response, headers: Iterable[Header]) -> Response:
    """Add headers, of which several may have the same name."""
    for name, value in headers:
        response.headers.append(name, value)
    return response


def problem_page(scope: Scope, problem: Problem) -> str:
    """Return the page of a problem. It stands alone and asks the server nothing."""
    facts = {"status": problem.status, "what": problem.title, "why": problem.detail, "hint": problem.hint}
    return render("problem.html", **_frame(scope), **facts)


def login_page(scope: Scope, form: LoginForm) -> str:
    """Return the login page."""
    return render("login.html", **_frame(scope), form=form)


def _frame(scope: Scope) -> dict[str, str]:
    root = link_root(scope)
    return {"root": root, "static": f"{root}/static/{rendering.version()}"}
