"""Facts of a request, and of a trusted proxy about it. A duplicate header counts as missing."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from conveyor.dashboard.access.rights import BadPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Always allowed. A page of another site whose name is made to point here (DNS rebinding) sends that site's name.
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9._-]{0,252}))(?::(\d{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_FORWARDED = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){1,10}/?", re.ASCII)


def headers(scope: Scope, name: str) -> list[str]:
    """Return all values of a header; `name` in lower case."""
    wanted = name.encode("latin-1")
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]


def header(scope: Scope, name: str) -> str | None:
    """Return the value of a header that is there once, or None."""
    found = headers(scope, name)
    return found[0].strip() if len(found) == 1 else None


def authorization(scope: Scope) -> tuple[str, str]:
    """Return scheme, in lower case, and credentials of the Authorization header; both empty without a single one."""
    scheme, _, shown = (header(scope, "authorization") or "").partition(" ")
    return scheme.lower(), shown.strip()


def cookie(scope: Scope, name: str) -> str | None:
    """Return the value of a cookie that is there once, or None: two of a name mean that another site set one."""
    pairs = [pair.partition("=") for line in headers(scope, "cookie") for pair in line.split(";")]
    found = [value.strip() for key, _, value in pairs if key.strip() == name]
    return found[0] if len(found) == 1 else None


def root_path(scope: Scope) -> str:
    """Return the path under which the dashboard lives, without a slash at its end; "" for a whole site."""
    return str(scope.get("root_path", "")).rstrip("/")


def link_root(scope: Scope) -> str:
    """Return the root path as links begin with it. A root that a visitor made up never leads to another site."""
    found = quote(root_path(scope), safe="/~:@+=")
    return f"/{found.lstrip('/')}" if found else ""


def path_of(scope: Scope) -> str:
    """Return the path below the root."""
    whole, root = str(scope["path"]), root_path(scope)
    return whole[len(root) :] or "/" if root and _is_below(whole, root) else whole


def has_streams(scope: Scope) -> bool:
    """Return True if a response may last: below WSGI each would hold a thread of the host."""
    return "wsgi_environ" not in scope  # which a2wsgi leaves


def is_api(scope: Scope) -> bool:
    """Return True if a program asks rather than a person's browser for a page."""
    return path_of(scope) == "/api" or path_of(scope).startswith("/api/")


def is_metrics(scope: Scope) -> bool:
    """Return True for the metrics path: a scraper reads plain text and follows no login."""
    return path_of(scope) == "/metrics"


def has_body(scope: Scope) -> bool:
    """Return True if a request announces a body."""
    lengths = headers(scope, "content-length")
    return bool(headers(scope, "transfer-encoding")) or any(length.strip() != "0" for length in lengths)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns a body that was read before, then what comes after it."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(messages, None) or await receive()

    return again


def read_address(text: str) -> Address | None:
    """Parse an address, or return None. An IPv4 address that is written as IPv6 is an IPv4 address."""
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def peer(scope: Scope) -> Address | None:
    """Return the address at the other end of the connection, or None for a unix socket."""
    client = scope.get("client")
    return read_address(str(client[0])) if client else None


def was_forwarded(scope: Scope) -> bool:
    """Return True if a proxy says that it passed this request on."""
    return any(headers(scope, name) for name in _FORWARDED)


def split_host(text: str) -> tuple[str, str] | None:
    """Return name and port ("" without one) of a Host header in lower case, or None for an invalid one."""
    found = _HOST.fullmatch(text.lower())
    return (found[1], found[2] or "") if found else None


def read_hosts(texts: Iterable[str]) -> frozenset[str]:
    """Parse names to allow in addition to the local ones, each with or without a port. Raises BadPolicy."""
    hosts = set()
    for text in texts:
        if split_host(text) is None:
            hint = "write names as browsers show them, such as queue.example.org or queue:8080"
            raise BadPolicy(f"invalid host name {text!r}", hint=hint)
        hosts.add(text.lower())
    return frozenset(hosts)


def origin_of(scheme: str, host: str) -> str:
    """Return the origin that a browser sends for a scheme and a host."""
    name, port = split_host(host) or (host.lower(), "")
    return f"{scheme}://{name}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def is_loopback(host: str) -> bool:
    """Return True if a name or address stands for this machine alone.

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


@dataclass(frozen=True, slots=True)
class Proxies:
    """Addresses of trusted proxies. The same headers from any other address are not even read."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Proxies:
        """Parse addresses (192.0.2.1) and networks (10.0.0.0/8). Raises BadPolicy for others, and for all addresses."""
        networks = []
        for text in texts:
            try:
                network = ipaddress.ip_network(text)
            except ValueError as error:
                message = f"invalid address of a proxy {text!r}: {error}"
                raise BadPolicy(
                    message, hint="use addresses or networks, such as 127.0.0.1 or 10.1.0.0/16"
                ) from error
            if network.prefixlen == 0:
                raise BadPolicy(f"invalid address of a proxy {text!r}: it is every address there is")
            networks.append(network)
        return cls(tuple(networks))

    def trusts(self, scope: Scope) -> bool:
        """Return True if the request comes straight from one of the proxies."""
        return self._has(peer(scope))

    def client(self, scope: Scope) -> str:
        """Return the client's address: the peer's, or what the nearest trusted proxies say."""
        nearest = peer(scope)
        hops = [hop for line in headers(scope, "x-forwarded-for") for hop in line.split(",")]
        while hops and self._has(nearest):
            found = read_address(hops.pop())
            if found is None:
                break
            nearest = found
        return str(nearest or "")

    def scheme(self, scope: Scope) -> str:
        """Return http or https, as the browser sees it."""
        sent = (header(scope, "x-forwarded-proto") or "").lower() if self.trusts(scope) else ""
        return sent if sent in {"http", "https"} else str(scope.get("scheme", "http"))

    def host(self, scope: Scope) -> str | None:
        """Return host and port, as the browser sees them, or None if the request names none, or several."""
        if self.trusts(scope) and headers(scope, "x-forwarded-host"):
            return header(scope, "x-forwarded-host")
        return header(scope, "host")

    def prefix(self, scope: Scope) -> str:
        """Return the path that a trusted proxy took off the URL, without a slash at its end, or ""."""
        sent = header(scope, "x-forwarded-prefix") if self.trusts(scope) else None
        return sent.rstrip("/") if sent and _PREFIX.fullmatch(sent) else ""

    def _has(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)


def placed(scope: Scope, proxies: Proxies) -> Scope:
    """Return a request's scope with a path that begins with its root path; the host's own stays as it is.

    A prefix that a trusted proxy sends stands before both, unless the root path begins with it already.
    """
    root, inner, prefix = root_path(scope), _inner(scope), proxies.prefix(scope)
    if prefix and not _is_below(root, prefix):
        if not root and _is_below(inner, prefix):  # the proxy sends it, and left it
            inner = inner[len(prefix) :] or "/"
        root = prefix + root
    return {**scope, "root_path": root, "path": root + inner, "state": {**scope.get("state", {})}}


def under(app: App, root: str) -> App:
    """Return the application below a root path, whether or not that is in the paths that arrive."""
    if not root:
        return app

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope:
            path = str(scope["path"])
            scope = {**scope, "root_path": root, "path": path if _is_below(path, root) else root + path}
        await app(scope, receive, send)

    return below


def _inner(scope: Scope) -> str:
    """Return the path below the root path, also if a mount's is in the path and that of its application is not.

    FastAPI(root_path="/api") sets one, and leaves the path as it came from the proxy.
    """
    path, root = str(scope["path"]), root_path(scope)
    mount = root.removeprefix(str(scope.get("app_root_path", "")).rstrip("/"))
    if mount and not _is_below(path, root) and _is_below(path, mount):
        return path[len(mount) :] or "/"
    return path_of(scope) or "/"


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
