"""Proxies in front of the page: which are trusted, and what they say about who asks and from where."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor.dashboard.access.asgi import header, headers
from conveyor.dashboard.access.faults import BadPolicy
from conveyor.dashboard.access.rights import Access, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conveyor.dashboard.access.asgi import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_FORWARDED = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){1,10}/?", re.ASCII)


def read_address(text: str) -> Address | None:
    """Read an address; None if it is none. One of IPv4 that is written as one of IPv6 is one of IPv4."""
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found


def peer(scope: Scope) -> Address | None:
    """Give the address at the other end of the connection; None if there is none (a unix socket)."""
    client = scope.get("client")
    return read_address(str(client[0])) if client else None


def was_forwarded(scope: Scope) -> bool:
    """Tell whether a proxy says that it passed this request on."""
    return any(headers(scope, name) for name in _FORWARDED)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The addresses of proxies whose headers are believed. Those of all others are not even read."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Proxies:
        """Read addresses (192.0.2.1) and networks (10.0.0.0/8); BadPolicy if one is neither, or is all."""
        networks = []
        for text in texts:
            try:
                network = ipaddress.ip_network(text)
            except ValueError as error:
                message = f"invalid address of a proxy {text!r}: {error}"
                raise BadPolicy(
                    message, hint="Give addresses or networks: 127.0.0.1, 10.1.0.0/16."
                ) from error
            if network.prefixlen == 0:
                message = f"invalid address of a proxy {text!r}: it is every address there is"
                raise BadPolicy(message)
            networks.append(network)
        return cls(tuple(networks))

    def trusts(self, scope: Scope) -> bool:
        """Tell whether the request comes straight from one of the proxies."""
        return self._has(peer(scope))

    def client(self, scope: Scope) -> str:
        """Give the address of whoever asks: the peer's, or what the nearest trusted proxies say; for throttling."""
        nearest = peer(scope)
        if not self._has(nearest):
            return str(nearest or "")
        hops = [hop for line in headers(scope, "x-forwarded-for") for hop in line.split(",")]
        for hop in reversed(hops):
            found = read_address(hop)
            if found is None:
                break
            nearest = found
            if not self._has(found):
                break
        return str(nearest)

    def scheme(self, scope: Scope) -> str:
        """Give http or https, as the browser sees it."""
        told = header(scope, "x-forwarded-proto") if self.trusts(scope) else None
        return (
            told.lower() if told and told.lower() in {"http", "https"} else str(scope.get("scheme", "http"))
        )

    def host(self, scope: Scope) -> str | None:
        """Give host and port, as the browser sees them; None if the request names none, or several."""
        if self.trusts(scope) and headers(scope, "x-forwarded-host"):
            return header(scope, "x-forwarded-host")
        return header(scope, "host")

    def prefix(self, scope: Scope) -> str:
        """Give the path that a trusted proxy took off the address, without a slash at its end; empty if none."""
        told = header(scope, "x-forwarded-prefix") if self.trusts(scope) else None
        return told.rstrip("/") if told and _PREFIX.fullmatch(told) else ""

    def _has(self, address: Address | None) -> bool:
        return address is not None and any(
            network.version == address.version and address in network for network in self.networks
        )


@dataclass(frozen=True, slots=True)
class Identities:
    """The header in which a trusted proxy says who asks, and the role of each person, by the whole name."""

    header: str
    roles: Mapping[str, Role] = field(default_factory=dict)

    def access(self, scope: Scope, proxies: Proxies) -> Access | None:
        """Give the access of whom a trusted proxy names; None from anybody else, or for a name that is not listed."""
        name = header(scope, self.header.lower()) if proxies.trusts(scope) else None
        role = self.roles.get(name) if name else None
        return Access.of(name, role, "proxy") if name and role else None
