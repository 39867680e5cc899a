"""All settings of the page's security as one value."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conveyor.dashboard.access.asgi import Scope
from conveyor.dashboard.access.faults import BadPolicy
from conveyor.dashboard.access.hosts import is_loopback
from conveyor.dashboard.access.proxy import Identities, Proxies
from conveyor.dashboard.access.rights import Access, Right, taken_away

if TYPE_CHECKING:
    from conveyor.dashboard.access.users import Tokens, Users

#: Bytes: twice the largest job, since JSON writes some characters with more.
BODY_LIMIT = 2 * 2**20
SHORTEST_SECRET = 32  # bytes
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_WILDCARDS = frozenset({"", "0.0.0.0", "::", "[::]", "*"})  # noqa: S104  (to recognise, not to listen there)

#: A hook gets the request's ASGI scope and gives what whoever asks may do, or None if it does not know them.
Resolve = Callable[[Scope], Access | Awaitable[Access | None] | None]

#: For uvicorn, which would by default believe any local process about the address and scheme of a request.
SERVER_OPTIONS = {"proxy_headers": False, "server_header": False}


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in, by which names the page is known, and what nobody may do.

    `hosts` are names besides localhost, as `read_hosts` gives them. `secret` signs sessions: give one, of 32 bytes or
    more, if they are to outlive the process or if several processes serve the page.
    """

    users: Users | None = None
    tokens: Tokens | None = None
    proxies: Proxies = field(default_factory=Proxies)
    identities: Identities | None = None
    resolve: Resolve | None = None
    hosts: frozenset[str] = frozenset()
    read_only: bool = False
    no_kill: bool = False
    insecure_no_auth: bool = False
    secret: bytes = field(default_factory=lambda: os.urandom(SHORTEST_SECRET), repr=False)
    body_limit: int = BODY_LIMIT

    @property
    def has_login(self) -> bool:
        """Whether there is any way to say who one is; else everybody on this machine is an admin."""
        return any((self.users, self.tokens, self.identities, self.resolve))

    @property
    def insecure(self) -> bool:
        """Whether everybody who reaches the page is an admin; to be told on every start and on every page."""
        return self.insecure_no_auth and not self.has_login

    @property
    def taken(self) -> frozenset[Right]:
        """The rights that nobody has."""
        return taken_away(read_only=self.read_only, no_kill=self.no_kill)

    def checked(self, host: str, port: int) -> Policy:
        """Give the policy for listening at an address, whose name is then allowed; BadPolicy if that is not safe.

        Reads the files, so that a bad one is told at the start and not at the first login.
        """
        self._check_settings()
        for file in (self.users, self.tokens):
            if file is not None:
                file.file.rows()
        if not (self.has_login or self.insecure or is_loopback(host)):
            message = (
                f"everybody who reaches {host or 'any address'}:{port} could stop jobs: there is no login"
            )
            raise BadPolicy(message, hint=_THREE_WAYS)
        if host in _WILDCARDS:
            return self
        name = f"[{host.strip('[]')}]" if ":" in host else host
        return replace(self, hosts=self.hosts | {name.lower()})

    def _check_settings(self) -> None:
        if len(self.secret) < SHORTEST_SECRET:
            message = f"the secret has {len(self.secret)} bytes, fewer than {SHORTEST_SECRET}"
            hint = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            raise BadPolicy(message, hint=hint)
        if self.identities is None:
            return
        if not self.proxies.networks:
            message = f"no proxy is listed whose {self.identities.header} would be believed"
            raise BadPolicy(message, hint="Give the proxy's address: CONVEYOR_DASHBOARD_PROXIES=127.0.0.1")
        if not _HEADER_NAME.fullmatch(self.identities.header):
            message = f"{self.identities.header!r} is no name of a header"
            raise BadPolicy(message)


_THREE_WAYS = (
    "Three ways to go on: (1) listen on 127.0.0.1 and come through an SSH tunnel; "
    "(2) have a login: --users FILE for people, written with --add-user NAME; --tokens FILE for programs, written with "
    "--add-token NAME; or a hook or a proxy's, by CONVEYOR_DASHBOARD_RESOLVE or CONVEYOR_DASHBOARD_PROXY_HEADER; the "
    "files also by CONVEYOR_DASHBOARD_USERS and CONVEYOR_DASHBOARD_TOKENS. Name what browsers will "
    "call the page: --allow-host NAME; "
    "(3) --insecure-no-auth, if nobody but you reaches that network."
)
