"""The middleware before the dashboard: who asks, from where, with what. Only permitted requests pass.

    app = SecurityMiddleware(page, from_environment().checked(host, port))

It must be the outermost application, so that error responses have its headers, too.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse

from conveyor.dashboard.access import login, request, rules
from conveyor.dashboard.access.problems import FAULT, Problem, problem_response
from conveyor.dashboard.access.rights import LOCAL, Access
from conveyor.dashboard.access.users import BadFile

if TYPE_CHECKING:
    from starlette.responses import Response

    from conveyor.dashboard.access.policy import Policy
    from conveyor.dashboard.access.request import App, Message, Receive, Scope, Send
    from conveyor.dashboard.access.rights import Right

_LOG = logging.getLogger("conveyor.dashboard")
_POLICY_VIOLATION = 1008  # of a web socket
PROBES = frozenset({"/healthz", "/readyz"})
_CONTENT = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
_FEATURES = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb", "serial", "midi")
SECURITY_HEADERS = {
    "content-security-policy": _CONTENT,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
}
#: For a browser that held the session back because a link from elsewhere led here. It will send it if our own page
#: leads here.
_ONCE_MORE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
    "<title>Conveyor</title></head><body></body></html>"
)


def access_of(scope: Scope) -> Access | None:
    """Return the client's access, or None for the files that everyone may have."""
    found: Access | None = scope.get("state", {}).get("access")
    return found


def allowed(scope: Scope, right: Right) -> Access:
    """Return the client's access. Raises Problem (403) without the right.

    To be called by every function that shows or changes something: what the page hides can still be requested.
    """
    access = access_of(scope)
    if access is None or not access.may(right):
        raise Problem(403, "forbidden", f"This needs the right “{right}”.")
    return access


class Authenticator:
    """Finds the client: by its Authorization header, or else a session, a proxy, the hook, or because it is local.

    An Authorization header that is invalid or wrong lets no one in by another way, except the hook's.
    """

    def __init__(
        self, policy: Policy, sessions: login.Sessions, attempts: login.LoginAttempts | None
    ) -> None:
        self._policy = policy
        self._sessions = sessions
        self._attempts = attempts

    async def access(self, scope: Scope) -> Access | None:
        """Return the client's access, or None for an unknown one."""
        if request.headers(scope, "authorization"):
            scheme, shown = request.authorization(scope)
            access = self._token(shown) if scheme == "bearer" else None
            if scheme == "basic":
                access = await self._basic(scope, shown)
            access = access or await self._hook(scope)
        else:
            access = (
                self._session(scope) or self._proxy(scope) or await self._hook(scope) or self._local(scope)
            )
        return access.without(self._policy.denied) if access else None

    def _token(self, shown: str) -> Access | None:
        token = self._policy.tokens.verified(shown) if self._policy.tokens else None
        return Access.of(token.name, token.role, "token") if token else None

    async def _basic(self, scope: Scope, shown: str) -> Access | None:
        if self._attempts is None:
            return None
        try:
            name, colon, password = base64.b64decode(shown, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        if not colon:
            return None
        user = await self._attempts.verified(name, password, self._policy.proxies.client(scope))
        return Access.of(user.name, user.role, "basic") if user else None

    def _session(self, scope: Scope) -> Access | None:
        users = self._policy.users
        session = self._sessions.read(login.session_cookie(scope)) if users else None
        user = users.find(session.who) if users and session else None
        if user is None or session is None or session.stamp != user.stamp:
            return None
        return Access.of(user.name, user.role, "session")

    def _proxy(self, scope: Scope) -> Access | None:
        identities = self._policy.identities
        if identities is None or not self._policy.proxies.trusts(scope):
            return None
        name = request.header(scope, identities.header.lower())
        role = identities.roles.get(name) if name else None
        return Access.of(name, role, "proxy") if name and role else None

    async def _hook(self, scope: Scope) -> Access | None:
        if self._policy.resolve is None:
            return None
        found = self._policy.resolve(scope)
        return await found if inspect.isawaitable(found) else found

    def _local(self, scope: Scope) -> Access | None:
        """Return the access of a client on this machine without a login; what a proxy passed on is not from here."""
        if self._policy.has_login:
            return None
        address = request.peer(scope)
        is_here = bool(address and address.is_loopback) and not request.was_forwarded(scope)
        return LOCAL if self._policy.insecure or is_here else None


class SecuredSend:
    """Sends a response message by message, with our headers in place of any others of those names.

    A server error is held back until `flush`: if an exception caused it, there is a better response.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._ours = (
            SECURITY_HEADERS if is_static(scope) else {**SECURITY_HEADERS, "cache-control": "no-store"}
        )
        self._held: list[Message] = []
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send one message of the response."""
        is_fault = not self.started and message.get("status") == HTTPStatus.INTERNAL_SERVER_ERROR
        if self._held or is_fault:
            self._held.append(message)
        else:
            await self._pass(message)

    async def flush(self) -> None:
        """Send what was held back, since it was the response after all."""
        held, self._held = self._held, []
        for message in held:
            await self._pass(message)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            kept = [
                (name.lower(), value)
                for name, value in message.get("headers", ())
                if not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": kept}
            MutableHeaders(scope=message).update(self._ours)
        await self._send(message)


class SecurityMiddleware:
    """Passes permitted requests to `app`, with the client's access in `scope["state"]["access"]`.

    Responses pass message by message, so streams stay streams. People get problems as pages, programs as problem
    JSON. Web sockets are refused.
    """

    def __init__(self, app: App, policy: Policy) -> None:
        self.policy = policy
        self._app = app
        sessions = login.Sessions(policy.secret)
        attempts = login.LoginAttempts(policy.users) if policy.users else None
        self._authenticator = Authenticator(policy, sessions, attempts)
        self._login = login.LoginHandler(policy, sessions, attempts) if attempts else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._respond(request.placed(scope, self.policy.proxies), receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        secured = SecuredSend(scope, send)
        try:
            app, receive = await self._permitted(scope, receive)
            await app(scope, receive, secured)
        except Exception as error:
            # Too late for another response: the server breaks the connection, and logs why.
            if secured.started:
                raise
            problem = _problem_of(error)
            if problem is None:
                _LOG.exception("error while responding to %s %r", scope["method"], scope["path"])
            secured = SecuredSend(scope, send)  # without what was held back
            await problem_response(scope, problem or FAULT)(scope, receive, secured)
        await secured.flush()

    async def _permitted(self, scope: Scope, receive: Receive) -> tuple[App, Receive]:
        """Return what responds to a request, and its `receive`. Raises Problem for a request that is not permitted."""
        rules.check_shape(scope)
        if is_probe(scope):  # load balancers ask by address, and cannot log in
            return self._app, receive
        rules.check_host(scope, self.policy)
        if is_static(scope):
            return self._app, receive
        if self._login and login.is_login(scope):
            return await self._login.respond(scope, receive), receive
        access = await self._authenticator.access(scope)
        if access is None:
            return self._ask_for_login(scope), receive
        scope["state"]["access"] = access
        if scope["method"] in rules.READS:
            rules.check_reader(scope)
            return self._app, receive
        if request.authorization(scope)[0] != "bearer":  # which no browser sends automatically
            rules.check_origin(scope, self.policy)
        body = await rules.checked_body(scope, receive, rules.JSON, self.policy.body_limit)
        return self._app, request.replayed(body, receive)

    def _ask_for_login(self, scope: Scope) -> Response:
        """Return the login page for a person, if there is one. Raises Problem otherwise."""
        shown = bool(request.headers(scope, "authorization"))
        is_program = request.is_api(scope) or request.is_metrics(scope)
        if self._login is None or shown or is_program or scope["method"] not in rules.READS:
            hint = "check the Authorization that was sent: it is unknown or has expired" if shown else ""
            if not self.policy.has_login:
                hint = "connect from the dashboard's own machine, or set up a login"
            challenges = ['Bearer realm="conveyor"']
            if self.policy.users and request.is_metrics(scope):  # a browser would open a window of its own
                challenges.append('Basic realm="conveyor", charset="UTF-8"')
            challenge = tuple(("www-authenticate", one) for one in challenges)
            raise Problem(401, "unknown", "Authentication required.", hint, challenge)
        if request.headers(scope, "sec-fetch-site") in (["cross-site"], ["same-site"]):
            return HTMLResponse(_ONCE_MORE)
        return RedirectResponse(login.login_url(scope), status_code=303)


def is_static(scope: Scope) -> bool:
    """Return True for a file that is the same for everyone and holds no secret."""
    return request.path_of(scope).startswith("/static/") and scope["method"] in {"GET", "HEAD"}


def is_probe(scope: Scope) -> bool:
    """Return True for a health check: it serves anyone under any name, in words without a secret."""
    return request.path_of(scope) in PROBES and scope["method"] in {"GET", "HEAD"}


def _problem_of(error: Exception) -> Problem | None:
    """Return the problem that an exception stands for, or None for a bug."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, BadFile):
        _LOG.error("no one can log in: %s", "; ".join(filter(None, (error.message, error.hint))))
        return Problem(503, "no-login", "No one can log in at the moment; the log says why.")
    return None
