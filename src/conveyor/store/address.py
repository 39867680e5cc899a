"""URLs of servers: parsed, and shown without secrets."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from conveyor.wire.redaction import MASK

#: A scheme, even if mistyped.
_SCHEME = re.compile(r"[^:/@?]*:/+")
_PARAMETER = re.compile(r"([?&;])([^=&;]*)=([^&;]*)")
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::(\d{0,5}))?")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
#: Options of a URL whose values are not secret.
OPTIONS = (
    "db",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_keyfile",
    "ssl_min_version",
)
_HARMLESS = frozenset((*OPTIONS, "sentinel_username", "username"))
_FORMS = (
    "use redis://, rediss://, unix://, or sentinel:// or sentinels://host:port,host:port/name; "
    "write special characters of a password as %40 and so on"
)
_PORT, _LAST_PORT = 6379, 65535
_SENTINELS = re.compile(r"sentinel(s?)://(?:([^/?#]*)@)?([^/?#@]+)(?:/([^/?#]*))?(?:/(\d*))?/?(?:\?([^#]*))?")
_TLS_VERSIONS = ("0", "769", "770", "771", "772")
_PLACE = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d+))?")
_SENTINEL_PORT = "26379"


class TLSOptions(NamedTuple):
    """The TLS options of a URL, without their `ssl_`; files by their paths."""

    ca_certs: str = ""
    ca_path: str = ""
    cert_reqs: str = "required"
    certfile: str = ""
    keyfile: str = ""
    password: str = ""
    check_hostname: bool = True
    ciphers: str = ""
    min_version: int = 0
    """As in `ssl.TLSVersion`; 0 for the system's default."""


class ServerAddress(NamedTuple):
    """The parts of a server's URL."""

    host: str = "localhost"
    port: int = _PORT
    path: str = ""
    """The path of a unix socket, instead of host and port."""
    db: int = 0
    user: str = ""
    password: str = ""
    tls: TLSOptions | None = None


class SentinelAddress(NamedTuple):
    """The parts of a URL of sentinels."""

    service: str
    server: str
    """The URL of the watched server; the sentinels know its host."""
    sentinels: list[str]
    """The URL of each sentinel; twice, with the server's password and without, if it has no password of its own."""


def normal(url: str) -> str:
    """Return a URL with its scheme in lower case."""
    scheme, mark, rest = url.partition("://")
    return scheme.lower() + mark + rest


def shown(url: str) -> str:
    """Return a server's URL without its password, even if the URL is mistyped.

    Hidden are the values of secret and unknown parameters, all before the last `@` except the user's name, and all
    from an invalid port on. If in doubt, too much is hidden rather than too little.
    """
    scheme = _SCHEME.match(url)
    start = scheme.end() if scheme else 0
    credentials, at, place = url[start:].rpartition("@")
    if _PARAMETER.search(credentials):  # the `@` may be part of a parameter's value
        return url[:start] + MASK
    name, _, password = credentials.partition(":")
    user = f"{name}:" if password else ""
    return (
        url[:start] + (f"{user}{MASK}@" if at else "") + _shown_place(_PARAMETER.sub(_without_secret, place))
    )


def _without_secret(found: re.Match[str]) -> str:
    mark, name, _ = found.groups()
    return found[0] if unquote(name) in _HARMLESS else f"{mark}{name}={MASK}"


def _shown_place(place: str) -> str:
    """Return what follows the credentials, up to an invalid port, which may be part of a password."""
    hosts = re.split(r"[/?#]", place, maxsplit=1)[0]
    at = 0
    for host in hosts.split(","):
        found = _HOST.fullmatch(host)
        if not found or int(found[1] or 0) > _LAST_PORT:
            return f"{place[:at]}{host.partition(':')[0]}:{MASK}"
        at += len(host) + 1
    return place


def error_of(url: str, error: ValueError) -> tuple[str, str]:
    """Return why a URL is invalid, and a hint, without parts of the URL that a library may quote."""
    text = str(error)
    if text.startswith("netloc "):
        return "it has invalid characters", _FORMS
    if text.startswith("Port could not be cast"):
        return "the port is not a number", _FORMS
    names = {found[2] for found in _PARAMETER.finditer(url)}
    text = _QUOTED.sub(lambda found: found[0] if (found[1] or found[2]) in names else "…", text)
    is_option = text.startswith("unknown option ")
    return text, f"use one of: {', '.join(OPTIONS)}" if is_option else _FORMS


def read_server(url: str) -> ServerAddress:
    """Parse `redis://user:password@host:port/db?option=…`, `rediss://` with TLS, or `unix://user:password@/path`.

    Raises ValueError if it is invalid.
    """
    scheme = url.partition("://")[0]
    if scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("the scheme is unknown")
    parts = urlsplit(url)
    is_unix = scheme == "unix"
    if is_unix and (parts.hostname or not parts.path.strip("/")):
        raise ValueError(
            "a unix socket is an absolute path with three slashes before it: unix:///run/valkey.sock"
        )
    options = dict(parse_qsl(parts.query))
    db = options.pop("db", "" if is_unix else parts.path.strip("/")) or "0"
    user = options.pop("username", unquote(parts.username or ""))
    password = options.pop("password", unquote(parts.password or ""))
    tls = {name: options.pop(name) for name in list(options) if name.startswith("ssl_")}
    if tls and scheme != "rediss":
        raise ValueError(f"{min(tls)} needs TLS: rediss:// or sentinels://")
    for name in options:
        raise ValueError(f"unknown option {name!r}")
    if not db.isdecimal():
        raise ValueError("the number of the database is not a whole number")
    return ServerAddress(
        host=_checked_host(unquote(parts.hostname or "") or "localhost"),
        port=parts.port or _PORT,
        path=unquote(parts.path) if is_unix else "",
        db=int(db),
        user=user,
        password=password,
        tls=_tls_options(tls) if scheme == "rediss" else None,
    )


def _checked_host(host: str) -> str:
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("its host name is invalid") from None
    return host


def _tls_options(found: dict[str, str]) -> TLSOptions:
    options: dict[str, Any] = {name.removeprefix("ssl_"): value for name, value in found.items()}
    for name in options.keys() - TLSOptions._fields:
        raise ValueError(f"unknown option {'ssl_' + name!r}")
    if "check_hostname" in options:
        options["check_hostname"] = options["check_hostname"].lower() not in {
            "0",
            "f",
            "false",
            "n",
            "no",
            "",
        }
    if (version := options.get("min_version", "0")) not in _TLS_VERSIONS:
        raise ValueError("ssl_min_version is 771 for TLS 1.2, or 772 for TLS 1.3")
    options["min_version"] = int(version)
    tls = TLSOptions(**options)
    if tls.cert_reqs not in {"none", "optional", "required"}:
        raise ValueError("ssl_cert_reqs is none of: none, optional, required")
    return tls


def is_sentinel(url: str) -> bool:
    """Return True if the URL is that of sentinels."""
    return url.startswith(("sentinel:", "sentinels:"))


def read_sentinel(url: str) -> SentinelAddress:
    """Parse `sentinel://user:password@host:port,host:port/name/db?option=…`. Raises ValueError if it is invalid.

    `sentinels://` is TLS, to the sentinels and to the server. User and password are the server's. The sentinels' own
    are the options `sentinel_username` and `sentinel_password`.
    """
    found = _SENTINELS.fullmatch(url)
    places = [_PLACE.fullmatch(place) for place in found[3].split(",")] if found else []
    if not found or not all(places):
        raise ValueError("a sentinel is host, host:port or [IPv6]:port")
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
