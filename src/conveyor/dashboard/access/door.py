"""Finding out who asks."""

from __future__ import annotations

import base64
import binascii
import inspect
from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.access.asgi import cookie, header, headers, root
from conveyor.dashboard.access.proxy import peer, was_forwarded
from conveyor.dashboard.access.rights import LOCAL, Access
from conveyor.dashboard.access.session import cookie_name

if TYPE_CHECKING:
    from conveyor.dashboard.access.asgi import Scope
    from conveyor.dashboard.access.attempts import Attempts
    from conveyor.dashboard.access.policy import Policy
    from conveyor.dashboard.access.session import Sessions


class Entry(NamedTuple):
    """Who asks, and whether they showed a bearer token, which no browser does by itself."""

    access: Access
    by_bearer: bool = False


class Door:
    """Finds who asks: what an Authorization header says, else a session, a proxy, the hook, or that it is local.

    An Authorization header that is not understood or wrong lets nobody in by another way, except the hook's.
    """

    def __init__(self, policy: Policy, sessions: Sessions, attempts: Attempts | None) -> None:
        self._policy = policy
        self._sessions = sessions
        self._attempts = attempts

    async def entry(self, scope: Scope) -> Entry | None:
        """Give who asks, with what they may do; None if nobody knows them."""
        entry = await self._found(scope)
        return entry._replace(access=entry.access.without(self._policy.taken)) if entry else None

    async def _found(self, scope: Scope) -> Entry | None:
        if headers(scope, "authorization"):
            scheme, _, shown = (header(scope, "authorization") or "").partition(" ")
            is_bearer = scheme.lower() == "bearer"
            access = self._token(shown.strip()) if is_bearer else None
            if scheme.lower() == "basic":
                access = await self._basic(scope, shown.strip())
            access = access or await self._hook(scope)
            return Entry(access, is_bearer) if access else None
        access = self._session(scope) or self._proxy(scope) or await self._hook(scope) or self._local(scope)
        return Entry(access) if access else None

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
        name = cookie_name(scope.get("server"), root(scope))
        session = self._sessions.read(cookie(scope, name)) if users else None
        user = users.find(session.who) if users and session else None
        if user is None or session is None or session.stamp != user.stamp:
            return None
        return Access.of(user.name, user.role, "session")

    def _proxy(self, scope: Scope) -> Access | None:
        identities = self._policy.identities
        return identities.access(scope, self._policy.proxies) if identities else None

    async def _hook(self, scope: Scope) -> Access | None:
        if self._policy.resolve is None:
            return None
        found = self._policy.resolve(scope)
        return await found if inspect.isawaitable(found) else found

    def _local(self, scope: Scope) -> Access | None:
        """Let in whoever is at this machine if there is no login; what a proxy passed on is not from here."""
        if self._policy.has_login:
            return None
        if self._policy.insecure:
            return LOCAL
        address = peer(scope)
        return LOCAL if address and address.is_loopback and not was_forwarded(scope) else None
