"""Addresses of servers: read, and shown without what is secret."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_SECRET = re.compile(r"(?<=[?&]password=)[^&#]*|(?<=:)[^:@/]*(?=@)")
_SENTINEL_PORT = 26379


class SentinelAddress(NamedTuple):
    """Where the sentinels are, and what the server they watch is called and asks for."""

    hosts: list[tuple[str, int]]
    service: str
    username: str | None
    password: str | None


def shown(url: str) -> str:
    """Give a server's address without its password."""
    return _SECRET.sub("***", url)


def read_sentinel(url: str) -> SentinelAddress:
    """Read `sentinel://user:password@host:port,host:port/name`; raises ValueError where it is none.

    User and password are the watched server's and the sentinels' alike; the port may be left out.
    """
    parts = urlsplit(url)
    secret, _, places = parts.netloc.rpartition("@")
    username, _, password = secret.partition(":")
    hosts = []
    for place in places.split(","):
        host, _, port = place.partition(":")
        if not host:
            message = "a sentinel has no name"
            raise ValueError(message)
        hosts.append((host, int(port or _SENTINEL_PORT)))
    return SentinelAddress(
        hosts, parts.path.strip("/") or "mymaster", unquote(username) or None, unquote(password) or None
    )
