"""Addresses of servers: read, and shown without what is secret."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

_SECRET = re.compile(r"(?<=password=)[^&#]*|(?<=:)[^:@/]*(?=@)")
_SENTINELS = re.compile(r"sentinel(s?)://(?:([^/?#]*)@)?([^/?#@]+)(?:/([^/?#]*))?(?:/(\d*))?/?(?:\?([^#]*))?")
_PLACE = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d+))?")
_SENTINEL_PORT = "26379"


class SentinelAddress(NamedTuple):
    """What sentinels watch, and where they are."""

    service: str
    server: str
    """How to reach the watched server, as an address whose host is still to be asked for."""
    sentinels: list[str]
    """The address of each sentinel; twice, with the server's password and without, if none of its own is given."""


def shown(url: str) -> str:
    """Give a server's address without its password."""
    return _SECRET.sub("***", url)


def is_sentinel(url: str) -> bool:
    """Tell whether an address is that of sentinels."""
    return url.startswith(("sentinel:", "sentinels:"))


def read_sentinel(url: str) -> SentinelAddress:
    """Read `sentinel://user:password@host:port,host:port/name/db?option=…`; raises ValueError where it is none.

    `sentinels://` is TLS, to the sentinels and to the server. User and password are the server's. The sentinels' own
    are the options `sentinel_username` and `sentinel_password`.
    """
    found = _SENTINELS.fullmatch(url)
    places = [_PLACE.fullmatch(place) for place in found[3].split(",")] if found else []
    if not found or not all(places):
        message = "a sentinel is host, host:port or [IPv6]:port"
        raise ValueError(message)
    tls, secret, _, service, db, query = found.groups(default="")
    options = dict(parse_qsl(query, keep_blank_values=True))
    user, password = options.pop("sentinel_username", ""), options.pop("sentinel_password", "")
    own = f"{quote(user, safe='')}:{quote(password, safe='')}" if user or password else None
    rest = urlencode({name: value for name, value in options.items() if name.startswith("ssl_")})
    hosts = [f"{place[1]}:{place[2] or _SENTINEL_PORT}" for place in places if place]
    secrets = [own] if own is not None else [secret, ""] if secret else [""]
    return SentinelAddress(
        service or "mymaster",
        _address(tls, secret, f"sentinel/{db or 0}", urlencode(options)),
        [_address(tls, one, host, rest) for host in hosts for one in secrets],
    )


def _address(tls: str, secret: str, place: str, query: str) -> str:
    return f"redis{tls}://{secret}{'@' if secret else ''}{place}{'?' if query else ''}{query}"
