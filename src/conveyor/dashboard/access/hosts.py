"""Names under which the page may be asked for, and addresses that no other machine can reach."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from conveyor.dashboard.access.faults import BadPolicy
from conveyor.dashboard.access.proxy import read_address

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Always allowed. A page of another site whose name is made to point here (DNS rebinding) sends that site's name.
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9._-]{0,252}))(?::(\d{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def split_host(text: str) -> tuple[str, str] | None:
    """Give name and port (maybe empty) of a Host header, in lower case; None if it is none."""
    found = _HOST.fullmatch(text.lower())
    return (found[1], found[2] or "") if found else None


def read_hosts(texts: Iterable[str]) -> frozenset[str]:
    """Read the names to allow besides the local ones, each with or without a port; BadPolicy if one is none."""
    hosts = set()
    for text in texts:
        if split_host(text) is None:
            message = f"{text!r} is no name of a host"
            raise BadPolicy(
                message, hint="Give names as browsers show them: queue.example.org or queue:8080."
            )
        hosts.add(text.lower())
    return frozenset(hosts)


def is_allowed(host: tuple[str, str], hosts: frozenset[str]) -> bool:
    """Tell whether the page may be asked for under this name: with any port, unless the list gives one."""
    name, port = host
    return name in LOCAL_HOSTS or name in hosts or f"{name}:{port}" in hosts


def origin(scheme: str, host: str) -> str:
    """Give the origin that a browser sends for a scheme and a host."""
    name, port = split_host(host) or (host.lower(), "")
    return f"{scheme}://{name}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def is_loopback(host: str) -> bool:
    """Tell whether all that a name or address stands for is this machine, for itself alone.

    False for 0.0.0.0, ::, an empty name, and a name that leads elsewhere or nowhere.
    """
    plain = host.strip("[]")
    if not plain:
        return False
    if address := read_address(plain):
        return address.is_loopback
    try:
        found = socket.getaddrinfo(plain, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    addresses = [read_address(str(where[0])) for *_, where in found]
    return bool(addresses) and all(address and address.is_loopback for address in addresses)
