"""Why a request was refused: as problem JSON (RFC 9457) for programs, as a small page for people."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.access.asgi import Scope, is_api, is_metrics

if TYPE_CHECKING:
    from conveyor.dashboard.access.asgi import Send

Header = tuple[str, str]


class Problem(NamedTuple):
    """What is wrong. `code` is one stable word for programs; `headers` go with the answer."""

    status: int
    code: str
    detail: str
    hint: str = ""
    headers: tuple[Header, ...] = ()

    @property
    def title(self) -> str:
        """The status in words."""
        return _WORDS.get(self.status) or HTTPStatus(self.status).phrase


#: Where the standard's phrase says too little to a person.
_WORDS = {500: "Something went wrong on this page"}
#: What is answered where the page itself is at fault. It tells nothing of the inside.
FAULT = Problem(
    500,
    "fault",
    "The page itself is at fault and could not answer. The log of the process that serves it has the traceback.",
    "Try again. If it happens again, report it with that traceback; `conveyor status` shows the same meanwhile.",
)


class LoginForm(NamedTuple):
    """What the login page shows: where the form goes, where to go on afterwards, and what went wrong before.

    The form has the fields `name`, `password` and `next`, and is sent by POST.
    """

    action: str
    next: str
    problem: str = ""


#: Give the HTML of the page for a problem, and of the one with the login form.
RenderProblem = Callable[[Scope, Problem], str]
RenderLogin = Callable[[Scope, LoginForm], str]


class Refused(Exception):
    """A request is answered with a problem instead."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refused(status: int, code: str, detail: str, hint: str = "", headers: tuple[Header, ...] = ()) -> Refused:
    """Give the exception that answers a request with a problem."""
    return Refused(Problem(status, code, detail, hint, headers))


def as_json(problem: Problem) -> str:
    """Give a problem as the JSON of application/problem+json."""
    fields = {
        "type": f"urn:conveyor:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    return json.dumps({**fields, "hint": problem.hint} if problem.hint else fields)


def render_problem(_scope: Scope, problem: Problem) -> str:
    """Give the page of a problem, without any style."""
    title = html.escape(problem.title)
    hint = f"<p>{html.escape(problem.hint)}</p>" if problem.hint else ""
    return _PAGE.format(title=title, body=f"<h1>{title}</h1><p>{html.escape(problem.detail)}</p>{hint}")


def render_login(_scope: Scope, form: LoginForm) -> str:
    """Give the page with the login form, without any style."""
    body = _FORM.format(
        action=html.escape(form.action),
        next=html.escape(form.next),
        problem=f'<p role="alert">{html.escape(form.problem)}</p>' if form.problem else "",
    )
    return _PAGE.format(title="Log in", body=body)


async def send_text(send: Send, status: int, kind: str, text: str, headers: tuple[Header, ...] = ()) -> None:
    """Send a whole answer."""
    body = text.encode()
    told = (("content-type", kind), ("content-length", str(len(body))), *headers)
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def send_problem(scope: Scope, send: Send, problem: Problem, render: RenderProblem) -> None:
    """Answer with a problem, in the form that suits who asks."""
    if is_api(scope):
        await send_text(send, problem.status, "application/problem+json", as_json(problem), problem.headers)
    elif is_metrics(scope):
        text = "\n".join(filter(None, (problem.title, problem.detail, problem.hint)))
        await send_text(send, problem.status, "text/plain; charset=utf-8", f"{text}\n", problem.headers)
    else:
        page = render(scope, problem)
        await send_text(send, problem.status, "text/html; charset=utf-8", page, problem.headers)


_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} - Conveyor</title></head>'
    "<body><main>{body}</main></body></html>"
)
_FORM = (
    '<h1>Log in</h1>{problem}<form method="post" action="{action}"><input type="hidden" name="next" value="{next}">'
    '<p><label>Name <input name="name" autocomplete="username" required autofocus></label></p>'
    '<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>'
    '<p><button type="submit">Log in</button></p></form>'
)
