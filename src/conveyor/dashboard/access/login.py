"""The login form, and logging out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from conveyor.dashboard.access import asgi
from conveyor.dashboard.access.attempts import LOG
from conveyor.dashboard.access.problem import LoginForm, Refused, refused, send_text
from conveyor.dashboard.access.rules import FORM, READS, check_origin, checked_body
from conveyor.dashboard.access.session import cookie_header, cookie_name

if TYPE_CHECKING:
    from conveyor.dashboard.access.asgi import Receive, Scope, Send
    from conveyor.dashboard.access.attempts import Attempts
    from conveyor.dashboard.access.policy import Policy
    from conveyor.dashboard.access.problem import Header, RenderLogin
    from conveyor.dashboard.access.session import Sessions

PATHS = frozenset({"/login", "/logout"})
_FORM_LIMIT = 8192  # bytes
_LONGEST_NEXT = 2000  # characters


def login_address(scope: Scope) -> str:
    """Give the address of the login page that leads back to what was asked for."""
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = quote(asgi.path(scope)) + (f"?{query}" if query else "")
    return f"{asgi.base(scope)}/login?next={quote(wanted, safe='')}"


def safe_next(text: str) -> str:
    """Give where to go on after the login: a path below our root, whatever the address asked for."""
    odd = len(text) > _LONGEST_NEXT or not text.isprintable() or not text.startswith("/")
    return "/" if odd or "\\" in text or text.startswith("//") else text


class Desk:
    """Answers /login and /logout; there is none without a users file."""

    def __init__(self, policy: Policy, sessions: Sessions, attempts: Attempts, render: RenderLogin) -> None:
        self._policy = policy
        self._sessions = sessions
        self._attempts = attempts
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises Refused for what is not in order."""
        page = asgi.path(scope)
        if scope["method"] in READS and page == "/login":
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=10)
            await self._show(scope, send, 200, safe_next(query.get("next", ["/"])[0]))
        elif scope["method"] != "POST":
            raise refused(405, "wrong-method", "Log in and out by POST.", headers=(("allow", "POST"),))
        else:
            check_origin(scope, self._policy)
            fields = await self._fields(scope, receive)
            await (self._log_in(scope, send, fields) if page == "/login" else self._log_out(scope, send))

    async def _fields(self, scope: Scope, receive: Receive) -> dict[str, str]:
        body = await checked_body(scope, receive, FORM, _FORM_LIMIT)
        try:
            found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=10)
        except ValueError:
            raise refused(400, "bad-form", "The form cannot be read.") from None
        return {name: values[0] for name, values in found.items()}

    async def _log_in(self, scope: Scope, send: Send, fields: dict[str, str]) -> None:
        name, onwards = fields.get("name", ""), safe_next(fields.get("next", "/"))
        address = self._policy.proxies.client(scope)
        try:
            user = await self._attempts.verified(name, fields.get("password", ""), address)
        except Refused as error:
            problem = error.problem
            await self._show(scope, send, problem.status, onwards, problem.detail, problem.headers)
            return
        if user is None:
            await self._show(scope, send, 401, onwards, "Name or password is wrong.")
            return
        self._sessions.end(self._shown(scope))
        LOG.info("login: user %r from %s", user.name, address)
        session = self._cookie(scope, self._sessions.begin(user.name, user.stamp))
        await _go(send, asgi.base(scope) + onwards, session)

    async def _log_out(self, scope: Scope, send: Send) -> None:
        self._sessions.end(self._shown(scope))
        await _go(send, f"{asgi.base(scope)}/login", self._cookie(scope, ""))

    async def _show(
        self,
        scope: Scope,
        send: Send,
        status: int,
        onwards: str,
        problem: str = "",
        headers: tuple[Header, ...] = (),
    ) -> None:
        form = LoginForm(f"{asgi.base(scope)}/login", onwards, problem)
        await send_text(send, status, "text/html; charset=utf-8", self._render(scope, form), headers)

    def _shown(self, scope: Scope) -> str | None:
        return asgi.cookie(scope, cookie_name(scope.get("server"), asgi.root(scope)))

    def _cookie(self, scope: Scope, text: str) -> Header:
        secure = self._policy.proxies.scheme(scope) == "https"
        name = cookie_name(scope.get("server"), asgi.root(scope))
        return "set-cookie", cookie_header(name, text, asgi.base(scope) or "/", secure=secure)


async def _go(send: Send, where: str, cookie: Header) -> None:
    location = quote(where, safe="/?&=%:;,+@!$'()*~#[]-._")
    await send_text(send, 303, "text/plain; charset=utf-8", "", (("location", location), cookie))
