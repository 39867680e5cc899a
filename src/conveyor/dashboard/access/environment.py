"""The environment variables of the page's security, all read here."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from conveyor.dashboard.access.faults import BadPolicy
from conveyor.dashboard.access.hosts import read_hosts
from conveyor.dashboard.access.policy import SHORTEST_SECRET, Policy
from conveyor.dashboard.access.proxy import Identities, Proxies
from conveyor.dashboard.access.rights import Role
from conveyor.dashboard.access.users import Tokens, Users

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.dashboard.access.policy import Resolve

_PREFIX = "CONVEYOR_DASHBOARD_"
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


def from_environment(environ: Mapping[str, str] | None = None) -> Policy:
    """Give the policy that the variables CONVEYOR_DASHBOARD_* describe; BadPolicy if one makes no sense.

    USERS and TOKENS are files. PROXIES are addresses or networks and HOSTS names, separated by commas. PROXY_HEADER
    is the header with a person's name, PROXY_ROLES has `name=role` separated by semicolons or line breaks. RESOLVE is
    `module:function`. READ_ONLY, NO_KILL and INSECURE_NO_AUTH are yes or no. SECRET signs sessions.
    """
    given = _Given(os.environ if environ is None else environ)
    policy = Policy(
        users=Users(given.text("USERS")) if given.text("USERS") else None,
        tokens=Tokens(given.text("TOKENS")) if given.text("TOKENS") else None,
        proxies=Proxies.of(given.words("PROXIES")),
        identities=_identities(given),
        resolve=_resolve(given.text("RESOLVE")),
        hosts=read_hosts(given.words("HOSTS")),
        read_only=given.flag("READ_ONLY"),
        no_kill=given.flag("NO_KILL"),
        insecure_no_auth=given.flag("INSECURE_NO_AUTH"),
        secret=given.text("SECRET").encode() or os.urandom(SHORTEST_SECRET),
    )
    if bool(given.text("PROXY_HEADER")) != bool(given.text("PROXY_ROLES")):
        message = f"{_PREFIX}PROXY_HEADER and {_PREFIX}PROXY_ROLES make sense only together"
        raise BadPolicy(message)
    return policy


class _Given:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str:
        return self._environ.get(_PREFIX + name, "").strip()

    def words(self, name: str) -> list[str]:
        return [word.strip() for word in self.text(name).split(",") if word.strip()]

    def flag(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in _YES | _NO:
            message = f"{_PREFIX}{name}={text!r} is neither yes nor no"
            raise BadPolicy(message)
        return text in _YES


def _identities(given: _Given) -> Identities | None:
    if not given.text("PROXY_HEADER"):
        return None
    roles = {}
    for line in given.text("PROXY_ROLES").replace(";", "\n").splitlines():
        name, _, role = line.rpartition("=")
        if line.strip():
            if not name.strip():
                message = f"{_PREFIX}PROXY_ROLES: {line.strip()!r} is not of the form name=role"
                raise BadPolicy(message)
            roles[name.strip()] = Role.of(role.strip())
    return Identities(given.text("PROXY_HEADER"), roles)


def _resolve(text: str) -> Resolve | None:
    if not text:
        return None
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"{_PREFIX}RESOLVE: {text!r} is not to be found: {error}"
        raise BadPolicy(message, hint="Give it as module:function.") from error
    if not callable(found):
        message = f"{_PREFIX}RESOLVE: {text!r} is no function"
        raise BadPolicy(message)
    return found  # type: ignore[no-any-return]
