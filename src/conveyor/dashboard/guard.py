"""The guard before the page: who asks, from where, with what; nothing reaches the page but what may.

    app = Guard(page, from_environment().checked(host, port))

It must be the outermost application, so that also the answers to errors have its headers.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from conveyor.dashboard.access import asgi
from conveyor.dashboard.access.attempts import Attempts
from conveyor.dashboard.access.door import Door
from conveyor.dashboard.access.faults import BadFile, Forbidden
from conveyor.dashboard.access.login import PATHS, Desk, login_address
from conveyor.dashboard.access.place import placed
from conveyor.dashboard.access.problem import (
    FAULT,
    Problem,
    Refused,
    refused,
    render_login,
    render_problem,
    send_problem,
    send_text,
)
from conveyor.dashboard.access.reply import Reply, is_probe, is_static
from conveyor.dashboard.access.rules import (
    JSON,
    READS,
    check_host,
    check_origin,
    check_reader,
    check_shape,
    checked_body,
)
from conveyor.dashboard.access.session import Sessions

if TYPE_CHECKING:
    from conveyor.dashboard.access.asgi import App, Receive, Scope, Send
    from conveyor.dashboard.access.policy import Policy
    from conveyor.dashboard.access.problem import RenderLogin, RenderProblem
    from conveyor.dashboard.access.rights import Access, Right

_LOG = logging.getLogger("conveyor.dashboard")
_POLICY_VIOLATION = 1008  # of a web socket


def access_of(scope: Scope) -> Access | None:
    """Give what whoever sent this request may do; None for the files that everybody may have."""
    found: Access | None = scope.get("state", {}).get("access")
    return found


def allowed(scope: Scope, right: Right) -> Access:
    """Give the access of whoever sent this request; Forbidden, which the guard answers with 403, without the right.

    To be called by whatever shows or changes something, each time: what the page hides can still be asked for.
    """
    access = access_of(scope)
    if access is None or not access.may(right):
        raise Forbidden(right)
    return access


class Guard:
    """Lets requests through to `app` that keep the rules, with the access in `scope["state"]["access"]`.

    Answers pass piece by piece, so streams stay streams. The renderers make the HTML of problems and of the login
    page; programs get problem JSON. Web sockets are refused.
    """

    def __init__(
        self,
        app: App,
        policy: Policy,
        *,
        render_problem: RenderProblem = render_problem,
        render_login: RenderLogin = render_login,
    ) -> None:
        self.policy = policy
        self._app = app
        self._render = render_problem
        sessions = Sessions(policy.secret)
        attempts = Attempts(policy.users) if policy.users else None
        self._door = Door(policy, sessions, attempts)
        self._desk = Desk(policy, sessions, attempts, render_login) if attempts else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            scope = placed(scope, self.policy.proxies)
            await self._answer(scope, receive, Reply(scope, send))
        else:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    async def _answer(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        try:
            await self._serve(scope, receive, reply)
        except Exception as error:
            if reply.started:  # too late for another answer: the server breaks the connection, and logs why
                raise
            problem = _problem_of(error)
            if problem is None:
                _LOG.exception("a fault while %s %r was answered", scope["method"], scope["path"])
            reply.drop()
            await send_problem(scope, reply, problem or FAULT, self._render)
        await reply.flush()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_shape(scope)
        if is_probe(scope):  # those who probe ask by address, and have no way to log in
            await self._app(scope, receive, send)
            return
        check_host(scope, self.policy)
        if is_static(scope):
            await self._app(scope, receive, send)
            return
        if self._desk and asgi.path(scope) in PATHS:
            await self._desk(scope, receive, send)
            return
        entry = await self._door.entry(scope)
        if entry is None:
            await self._show_the_way(scope, send)
            return
        scope["state"]["access"] = entry.access
        if scope["method"] in READS:
            check_reader(scope)
        else:
            if not entry.by_bearer:
                check_origin(scope, self.policy)
            body = await checked_body(scope, receive, JSON, self.policy.body_limit)
            receive = asgi.replayed(body, receive)
        await self._app(scope, receive, send)

    async def _show_the_way(self, scope: Scope, send: Send) -> None:
        """Answer somebody unknown: with the login page where there is one and a person asks."""
        shown = bool(asgi.headers(scope, "authorization"))
        is_program = asgi.is_api(scope) or asgi.is_metrics(scope)
        if self._desk is None or shown or is_program or scope["method"] not in READS:
            hint = "The Authorization that was sent is not known here, or has expired." if shown else ""
            if not self.policy.has_login:
                hint = "There is no login, so only this machine itself is let in."
            challenges = ['Bearer realm="conveyor"']
            if self.policy.users and asgi.is_metrics(
                scope
            ):  # elsewhere a browser would open a window of its own
                challenges.append('Basic realm="conveyor", charset="UTF-8"')
            headers = tuple(("www-authenticate", one) for one in challenges)
            raise refused(401, "unknown", "Authentication required.", hint, headers)
        if asgi.headers(scope, "sec-fetch-site") in (["cross-site"], ["same-site"]):
            # Somebody followed a link from elsewhere, so their browser held the session back. It will send it when
            # our own page leads there.
            await send_text(send, 200, "text/html; charset=utf-8", _ONCE_MORE)
            return
        await send_text(send, 303, "text/plain; charset=utf-8", "", (("location", login_address(scope)),))


def _problem_of(error: Exception) -> Problem | None:
    """Give the answer that an exception stands for; None if it is a fault."""
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, Forbidden):
        return Problem(403, "forbidden", f"{error.message}.", error.hint)
    if isinstance(error, BadFile):
        _LOG.error("nobody can log in: %s. %s", error.message, error.hint)
        return Problem(503, "no-login", "Nobody can log in at the moment; the log says why.")
    return None


_ONCE_MORE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
    "<title>Conveyor</title></head><body></body></html>"
)
