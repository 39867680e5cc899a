"""The security settings as one value, and the environment variables that they are read from."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conveyor.dashboard.access.request import Proxies, Scope, is_loopback, read_hosts
from conveyor.dashboard.access.rights import Access, BadPolicy, Right, Role
from conveyor.dashboard.access.users import Tokens, Users

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes: twice the largest job, since JSON writes some characters with more.
BODY_LIMIT = 2 * 2**20
MIN_SECRET = 32  # bytes
#: For uvicorn, which would by default believe any local process about the address and scheme of a request.
SERVER_OPTIONS = {"proxy_headers": False, "server_header": False}
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_WILDCARDS = frozenset({"", "0.0.0.0", "::", "[::]", "*"})  # noqa: S104 - to recognize, not to listen there
_VARIABLE = "CONVEYOR_DASHBOARD_"
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})

#: A hook receives the request's ASGI scope and returns what the client may do, or None for an unknown one.
Resolve = Callable[[Scope], Access | Awaitable[Access | None] | None]


@dataclass(frozen=True, slots=True)
class Identities:
    """The header in which a trusted proxy names the person, and the role of each person, by the whole name."""

    header: str
    roles: Mapping[str, Role] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """Access rules: who may come in, the dashboard's host names, and what no one may do.

    `hosts` are names in addition to localhost, as `read_hosts` returns them. `secret` signs sessions: pass one of 32
    bytes or more if they are to outlive the process or if several processes serve the dashboard.
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
    secret: bytes = field(default_factory=lambda: os.urandom(MIN_SECRET), repr=False)
    body_limit: int = BODY_LIMIT

    @property
    def has_login(self) -> bool:
        """True if clients can identify themselves; otherwise every client on this machine is an admin."""
        return any((self.users, self.tokens, self.identities, self.resolve))

    @property
    def insecure(self) -> bool:
        """True if every client that reaches the dashboard is an admin; shown at every start and on every page."""
        return self.insecure_no_auth and not self.has_login

    @property
    def denied(self) -> frozenset[Right]:
        """The rights that no one has, whatever their role."""
        denied: frozenset[Right] = frozenset({"act", "kill", "purge"}) if self.read_only else frozenset()
        return denied | {"kill"} if self.no_kill else denied

    def checked(self, host: str, port: int) -> Policy:
        """Return the policy for listening at an address, whose name is then allowed. Raises BadPolicy if unsafe.

        Reads the files, so that a bad one is reported at the start and not at the first login.
        """
        self._check_settings()
        for file in (self.users, self.tokens):
            if file is not None:
                file.rows()
        if not (self.has_login or self.insecure or is_loopback(host)):
            where = f"{host or 'any address'}:{port}"
            raise BadPolicy(
                f"no login is set up: anyone who can reach {where} could stop jobs", hint=_THREE_WAYS
            )
        if host in _WILDCARDS:
            return self
        name = f"[{host.strip('[]')}]" if ":" in host else host
        return replace(self, hosts=self.hosts | {name.lower()})

    def _check_settings(self) -> None:
        if len(self.secret) < MIN_SECRET:
            message = f"the secret has {len(self.secret)} bytes, fewer than {MIN_SECRET}"
            hint = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            raise BadPolicy(message, hint=hint)
        if self.identities is None:
            return
        if not self.proxies.networks:
            message = f"no proxy is listed whose {self.identities.header} would be believed"
            raise BadPolicy(message, hint="list the proxy's address: CONVEYOR_DASHBOARD_PROXIES=127.0.0.1")
        if not _HEADER_NAME.fullmatch(self.identities.header):
            raise BadPolicy(f"invalid header name {self.identities.header!r}")


_THREE_WAYS = (
    "choose one of three ways: (1) listen on 127.0.0.1 and come through an SSH tunnel; "
    "(2) set up a login and list the names by which browsers reach the dashboard (--allow-host NAME): "
    "--users FILE for people, written with --add-user NAME; --tokens FILE for programs, written with --add-token NAME; "
    "the files also by CONVEYOR_DASHBOARD_USERS and CONVEYOR_DASHBOARD_TOKENS; or the login of a hook or a proxy, by "
    "CONVEYOR_DASHBOARD_RESOLVE or CONVEYOR_DASHBOARD_PROXY_HEADER; "
    "(3) use --insecure-no-auth, if only you can reach that network"
)


def from_environment(environ: Mapping[str, str] | None = None) -> Policy:
    """Return the policy that the variables CONVEYOR_DASHBOARD_* describe. Raises BadPolicy for an invalid one.

    USERS and TOKENS are files. PROXIES are addresses or networks and HOSTS names, separated by commas. PROXY_HEADER
    is the header with a person's name, PROXY_ROLES has `name=role` separated by semicolons or line breaks. RESOLVE is
    `module:function`. READ_ONLY, NO_KILL and INSECURE_NO_AUTH are yes or no. SECRET signs sessions.
    """
    variables = _Variables(os.environ if environ is None else environ)
    users, tokens = variables.text("USERS"), variables.text("TOKENS")
    return Policy(
        users=Users(users) if users else None,
        tokens=Tokens(tokens) if tokens else None,
        proxies=Proxies.of(variables.words("PROXIES")),
        identities=_identities(variables.text("PROXY_HEADER"), variables.text("PROXY_ROLES")),
        resolve=_resolve(variables.text("RESOLVE")),
        hosts=read_hosts(variables.words("HOSTS")),
        read_only=variables.flag("READ_ONLY"),
        no_kill=variables.flag("NO_KILL"),
        insecure_no_auth=variables.flag("INSECURE_NO_AUTH"),
        secret=variables.text("SECRET").encode() or os.urandom(MIN_SECRET),
    )


class _Variables:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str:
        return self._environ.get(_VARIABLE + name, "").strip()

    def words(self, name: str) -> list[str]:
        return [word.strip() for word in self.text(name).split(",") if word.strip()]

    def flag(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in _YES | _NO:
            raise BadPolicy(f"{_VARIABLE}{name} must be yes or no, got {text!r}")
        return text in _YES


def _identities(header: str, text: str) -> Identities | None:
    if bool(header) != bool(text):
        raise BadPolicy(f"{_VARIABLE}PROXY_HEADER and {_VARIABLE}PROXY_ROLES need each other")
    roles = {}
    for line in filter(str.strip, text.replace(";", "\n").splitlines()):
        name, _, role = line.rpartition("=")
        if not name.strip():
            raise BadPolicy(f"{_VARIABLE}PROXY_ROLES: {line.strip()!r} is not of the form name=role")
        roles[name.strip()] = Role.of(role.strip())
    return Identities(header, roles) if header else None


def _resolve(text: str) -> Resolve | None:
    if not text:
        return None
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"{_VARIABLE}RESOLVE: {text!r} cannot be found: {error}"
        raise BadPolicy(message, hint="write it as module:function") from error
    if not callable(found):
        raise BadPolicy(f"{_VARIABLE}RESOLVE: {text!r} is not a function")
    return found  # type: ignore[no-any-return]
