"""Logging in with a password and out again: throttled attempts, signed sessions, the form."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import os
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import RedirectResponse

from conveyor.dashboard.access.problems import Problem, login_page, with_headers
from conveyor.dashboard.access.request import cookie, link_root, path_of, read_address, root_path
from conveyor.dashboard.access.rules import FORM, READS, check_origin, checked_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response

    from conveyor.dashboard.access.policy import Policy
    from conveyor.dashboard.access.request import Receive, Scope
    from conveyor.dashboard.access.users import User, Users

LOG = logging.getLogger("conveyor.dashboard")
_MAX_FORM = 8192  # bytes
_MAX_NEXT = 2000  # characters

#: Failures without a wait, and the longest wait in seconds.
FREE_FAILURES = 5
MAX_WAIT = 60.0
_FORGOTTEN_AFTER = 900.0
_MAX_KEYS = 10_000
_Key = tuple[str, str]
K = TypeVar("K")
V = TypeVar("V")

_MAX_CONCURRENT = 2  # each takes a core and 16 MiB
_MAX_WAITING = 64
_MAX_REMEMBERED = 256
_REMEMBERED_FOR = 60.0  # seconds

#: Seconds that a session lasts.
LIFETIME = 12 * 3600
_MAX_CLOCK_SKEW = 60.0  # seconds, between machines that share a secret
_MAX_ENDED = 10_000
_MAX_COOKIE = 2048  # characters


class Throttle:
    """Failed logins by user and by address: from the fifth on, each doubles the wait, up to 60 seconds.

    A user who logged in from an address before has a count of their own there, so that no one can keep them out by
    failing elsewhere. Memory is bounded, and failures are forgotten after 15 minutes. `now` returns seconds that
    never go back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: dict[_Key, tuple[int, float]] = {}
        self._known: dict[_Key, None] = {}

    def wait(self, user: str, address: str) -> float:
        """Return the seconds until this user may try from this address, or 0."""
        return max(self._wait(key) for key in self._keys(user, address))

    def failed(self, user: str, address: str) -> None:
        """Count a failure."""
        for key in self._keys(user, address):
            count, _ = self._recent(key)
            _remember(self._failures, key, (count + 1, self._now()), _MAX_KEYS)

    def succeeded(self, user: str, address: str) -> None:
        """Forget a user's failures, and remember that they are known at this address; its own count stays."""
        for key in self._keys(user, address):
            if key[0] != "address":
                self._failures.pop(key, None)
        _remember(self._known, (user, _network(address)), None, _MAX_KEYS)

    def _keys(self, user: str, address: str) -> list[_Key]:
        network = _network(address)
        if (user, network) in self._known:
            return [("both", f"{network} {user}")]
        return [("address", network), ("user", user[:128])]

    def _recent(self, key: _Key) -> tuple[int, float]:
        count, last = self._failures.get(key, (0, 0.0))
        return (count, last) if self._now() - last < _FORGOTTEN_AFTER else (0, 0.0)

    def _wait(self, key: _Key) -> float:
        count, last = self._recent(key)
        if count < FREE_FAILURES:
            return 0.0
        pause = min(MAX_WAIT, 2.0 ** min(count - FREE_FAILURES, 16))
        return max(0.0, last + pause - self._now())


def _network(address: str) -> str:
    """Return what one attacker has: an address, or with IPv6 a /64."""
    found = read_address(address)
    return str(int(found) >> 64) if found and found.version == 6 else address[:64]  # noqa: PLR2004


def _remember(table: dict[K, V], key: K, value: V, most: int) -> None:
    """Add an entry as the newest, and forget the oldest ones above `most`."""
    table.pop(key, None)
    table[key] = value
    while len(table) > most:
        del table[next(iter(table))]


class LoginAttempts:
    """Password checks: throttled, few at a time, and remembered for a minute.

    Programs send a password with each request, so a right one costs nothing for a minute.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._throttle = Throttle()
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._waiting = 0
        self._key = os.urandom(32)
        self._right: dict[bytes, float] = {}

    async def verified(self, name: str, password: str, address: str) -> User | None:
        """Return the user if the password is right, or None. Raises Problem (429, 503), or BadFile."""
        if self._waiting >= _MAX_WAITING:
            raise Problem(503, "busy", "Too many are logging in right now.", headers=(("retry-after", "5"),))
        self._waiting += 1
        try:
            async with self._slots:
                if self._right.get(self._digest(name, password), 0.0) > time.monotonic():
                    return self._users.find(name)
                return await self._try(name, password, address)
        finally:
            self._waiting -= 1

    async def _try(self, name: str, password: str, address: str) -> User | None:
        if wait := self._throttle.wait(name, address):
            seconds = str(math.ceil(wait))
            detail = f"Too many failed logins. Try again in {seconds} s."
            raise Problem(429, "throttled", detail, headers=(("retry-after", seconds),))
        user = await asyncio.to_thread(self._users.verified, name, password)
        if user is None:
            self._throttle.failed(name, address)
            # An unknown name is not logged: it may be a password in the wrong field.
            LOG.warning(
                "login refused: user %r from %s", name if self._users.find(name) else "unknown", address
            )
            return None
        self._throttle.succeeded(name, address)
        until = time.monotonic() + _REMEMBERED_FOR
        _remember(self._right, self._digest(name, password), until, _MAX_REMEMBERED)
        return user

    def _digest(self, name: str, password: str) -> bytes:
        user = self._users.find(name)
        text = f"{name}\0{user.stamp if user else os.urandom(16)!r}\0{password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)


class Session(NamedTuple):
    """A login. `stamp` is the user record's: a changed password or role ends the session."""

    who: str
    stamp: str
    nonce: str


class Sessions:
    """Makes and reads the cookies that stand for sessions. Anyone who knows the secret can forge them."""

    def __init__(self, secret: bytes) -> None:
        signing = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        self._serializer = URLSafeTimedSerializer(
            secret, "conveyor dashboard session 2", signer_kwargs=signing
        )
        self._ended: dict[str, None] = {}

    def begin(self, who: str, stamp: str) -> str:
        """Return the text of a new session, unlike any before it."""
        return str(self._serializer.dumps(Session(who, stamp, secrets.token_urlsafe(16))))

    def read(self, text: str | None) -> Session | None:
        """Return the session that a text stands for, or None if it was tampered with, has expired or was ended."""
        try:
            fields, begun = self._serializer.loads((text or "")[:_MAX_COOKIE], return_timestamp=True)
            session = Session(*fields)
        except (BadData, TypeError, ValueError):
            return None
        age = time.time() - begun.timestamp()
        is_valid = -_MAX_CLOCK_SKEW <= age < LIFETIME and session.nonce not in self._ended
        return session if is_valid else None

    def end(self, text: str | None) -> None:
        """Make a session invalid before its time, in this process."""
        if session := self.read(text):
            _remember(self._ended, session.nonce, None, _MAX_ENDED)


def session_cookie(scope: Scope) -> str | None:
    """Return the text of the session that a request shows, or None."""
    return cookie(scope, _cookie_name(scope))


def _cookie_name(scope: Scope) -> str:
    """Return the cookie's name.

    Browsers share cookies between the ports of a host, so the port is in it; and they send those of a path below it,
    too, so the dashboard's root is in it.
    """
    server, root = scope.get("server"), root_path(scope)
    digest = hashlib.blake2b(root.encode(errors="surrogatepass"), digest_size=4).hexdigest() if root else ""
    port = str(server[1] or "") if server else ""
    return "_".join(filter(None, ("conveyor_session", port, digest)))


def is_login(scope: Scope) -> bool:
    """Return True for the paths of LoginHandler."""
    return path_of(scope) in {"/login", "/logout"}


def login_url(scope: Scope) -> str:
    """Return the URL of the login page that leads back to the requested one."""
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = quote(path_of(scope)) + (f"?{query}" if query else "")
    return f"{link_root(scope)}/login?next={quote(wanted, safe='')}"


def safe_next(text: str) -> str:
    """Return where to go on after the login: a path below our root, for any requested URL."""
    odd = len(text) > _MAX_NEXT or not text.isprintable() or not text.startswith("/")
    return "/" if odd or "\\" in text or text.startswith("//") else text


class LoginHandler:
    """Handles /login and /logout, which are there only with a users file."""

    def __init__(self, policy: Policy, sessions: Sessions, attempts: LoginAttempts) -> None:
        self._policy = policy
        self._sessions = sessions
        self._attempts = attempts

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Return the response. Raises Problem for an invalid request."""
        page = path_of(scope)
        if scope["method"] in READS and page == "/login":
            return login_page(scope, 200, safe_next(Request(scope).query_params.get("next", "/")))
        if scope["method"] != "POST":
            raise Problem(405, "wrong-method", "Log in and out by POST.", headers=(("allow", "POST"),))
        check_origin(scope, self._policy)
        body = await checked_body(scope, receive, FORM, _MAX_FORM)
        try:
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=10))
        except ValueError:
            raise Problem(400, "bad-form", "The form cannot be read.") from None
        if page == "/login":
            return await self._log_in(scope, fields)
        self._sessions.end(session_cookie(scope))
        return self._redirect(scope, "/login", "")

    async def _log_in(self, scope: Scope, fields: dict[str, str]) -> Response:
        name, onwards = fields.get("name", ""), safe_next(fields.get("next", "/"))
        address = self._policy.proxies.client(scope)
        try:
            user = await self._attempts.verified(name, fields.get("password", ""), address)
        except Problem as problem:
            document = problem.document
            return with_headers(login_page(scope, document.status, onwards, document.detail), problem.headers)
        if user is None:
            return login_page(scope, 401, onwards, "Wrong name or password.")
        self._sessions.end(session_cookie(scope))
        LOG.info("login: user %r from %s", user.name, address)
        return self._redirect(scope, onwards, self._sessions.begin(user.name, user.stamp))

    def _redirect(self, scope: Scope, path: str, session: str) -> Response:
        """Return a redirect that begins a session, or ends it if the text is empty."""
        response = RedirectResponse(link_root(scope) + path, status_code=303)
        response.set_cookie(
            _cookie_name(scope),
            session,
            max_age=LIFETIME if session else 0,
            path=link_root(scope) or "/",
            secure=self._policy.proxies.scheme(scope) == "https",
            httponly=True,
            samesite="Strict",  # type: ignore[arg-type]  # the case that the standard uses
        )
        return response
