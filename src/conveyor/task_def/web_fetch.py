"""Fetching a page of an untrusted site: checked addresses, and limits on size, time and redirects.

A name is resolved once, all its addresses are checked, and the connection uses a checked address instead of the name:
a name server that replies differently a moment later changes nothing.
"""

import contextlib
import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpcore
import httpx

from conveyor.errors import ConveyorError

#: The scraper's user agent and its name in robots.txt.
ROBOT = "ConveyorScraper"
MAX_REDIRECTS = 10
#: Seconds without a reply.
SILENCE = 10.0
#: Bytes decompressed per step, so that a decompression bomb is stopped before it fills the memory.
_UNPACKED = 1 << 16
#: Everything that a broken or hostile response can raise; a redirect to an invalid URL raises httpx.InvalidURL.
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, zlib.error, UnicodeError, OSError)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of a fetch."""

    bytes_per_page: int = 5_000_000
    """Decompressed."""
    seconds_per_page: float = 30.0
    """Including all redirects."""
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """A page as received."""

    url: str
    """URL after redirects."""
    status: int
    content_type: str
    body: bytes
    cut: bool
    """True if the page exceeded the limit; then `body` is its beginning."""


class Fetcher:
    """A client for pages with keep-alive connections. For one thread; use it in a `with` block."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._network = _Network(limits)
        self._client = httpx.Client(
            transport=_Transport(self._network),
            headers={
                "User-Agent": f"{ROBOT}/1.0",
                "Accept": "text/html,*/*;q=0.1",
                "Accept-Encoding": "gzip",
            },
            timeout=SILENCE,
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def fetch(
        self, url: str, accept: Callable[[str], None] = lambda _: None, max_bytes: int | None = None
    ) -> FetchedPage:
        """Fetch a page, following redirects; raises FetchError.

        Calls `accept` with each URL on the way, which may raise FetchError to refuse it. `max_bytes` overrides the
        limit of bytes.
        """
        self._network.deadline = time.monotonic() + self._limits.seconds_per_page
        seen: list[str] = []
        while True:
            address = parsed(url)
            url = str(address)
            if url in seen:
                raise FetchError(f"the redirects of {seen[0]} loop back to {url}", hint="name another page")
            seen.append(url)
            if len(seen) > MAX_REDIRECTS + 1:
                message = f"{seen[0]} redirects more than {MAX_REDIRECTS} times"
                raise FetchError(message, hint="name another page")
            accept(url)
            with _fetch_errors(url), self._client.stream("GET", address) as response:
                target = response.headers.get("location")
                if response.status_code not in _REDIRECTS or not target:
                    return self._page(url, response, max_bytes or self._limits.bytes_per_page)
                url = _joined(address, target)

    def _page(self, url: str, response: httpx.Response, cap: int) -> FetchedPage:
        body = bytearray()
        for piece in _unpacked(response):
            body += piece
            if len(body) > cap:
                break
        kind = response.headers.get("content-type", "")
        return FetchedPage(url, response.status_code, kind, bytes(body[:cap]), cut=len(body) > cap)


def parsed(url: str) -> httpx.URL:
    """Return the URL of a page without its fragment; raises FetchError if it is not http or https."""
    try:
        address = httpx.URL(url.strip()).copy_with(fragment=None, userinfo=b"")
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        message = f"invalid URL {url[:200]!r}: {error}"
        raise FetchError(message, hint="use a URL such as https://example.org/page") from error
    if address.scheme not in {"http", "https"} or not address.host:
        message = f"{url[:200]!r} does not begin with http:// or https://"
        raise FetchError(message, hint="use a URL such as https://example.org/page")
    return address


class _Network(httpcore.NetworkBackend):
    """A network backend that connects to checked addresses only and enforces the deadline."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._backend = httpcore.SyncBackend()
        self.deadline = time.monotonic() + limits.seconds_per_page

    def within(self, timeout: float | None) -> float:
        """Return the remaining seconds; raises FetchError once the time is up."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            message = f"the page took longer than {self._limits.seconds_per_page:g} seconds"
            raise FetchError(message, hint="try again later")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of the host that accepts."""
        failure: Exception | None = None
        for address in checked_addresses(host, port, allow_private=self._limits.allow_private):
            try:
                stream = self._backend.connect_tcp(
                    address, port, self.within(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self)
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _Stream(httpcore.NetworkStream):
    """A connection with a deadline, so that a slow trickle of bytes cannot occupy a job for hours."""

    def __init__(self, stream: httpcore.NetworkStream, network: _Network) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        within = self._network.within(timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, within), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Transport(httpx.HTTPTransport):
    """A transport over the checked network, since httpx itself accepts no network backend."""

    def __init__(self, network: _Network) -> None:
        self._pool = httpcore.ConnectionPool(max_connections=4, network_backend=network)


def _unpacked(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body in small pieces; httpx itself would decompress a piece of any size in one step."""
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing not in {"identity", "gzip", ""}:
        raise FetchError(f"unrequested encoding {packing[:60]!r}")
    if packing != "gzip":
        yield from response.iter_raw()
        return
    unpacker = zlib.decompressobj(wbits=31)
    for raw in response.iter_raw():
        piece = unpacker.decompress(raw, _UNPACKED)
        while piece:
            yield piece
            piece = unpacker.decompress(unpacker.unconsumed_tail, _UNPACKED)


def _joined(address: httpx.URL, target: str) -> str:
    try:
        return str(address.join(target))
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError(f"{address} redirects to the invalid URL {target[:200]!r}") from error


@contextlib.contextmanager
def _fetch_errors(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise FetchError(f"{url} timed out", hint="try again later") from error
    except _FAILURES as error:
        message = f"{url} cannot be reached: {error}"
        raise FetchError(message, hint="check the URL and that the site is up") from error


#: Allowed ports of public hosts; others may be mail, databases or shells.
PUBLIC_PORTS = frozenset({80, 443, 8000, 8008, 8080, 8443, 8888})
#: Addresses that hand out a cloud machine's credentials. Never fetched, even if private addresses are allowed.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
#: How to lift the refusal on purpose.
_LIFTED = "for hosts you trust, allow_private=yes on the command line (True in Python) lifts this"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchError(ConveyorError):
    """A page was not fetched; the message is the reason."""


def checked_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Resolve a host and return its addresses; raises FetchError if it has none or any of them is refused.

    Loopback, private, link-local, multicast and reserved addresses are refused, in any spelling and if embedded in
    IPv6. `allow_private` permits loopback and private ones, but never link-local ones or those of cloud metadata
    services.
    """
    if not allow_private and port not in PUBLIC_PORTS:
        raise FetchError(f"port {port} of {host} is not a web port", hint=_LIFTED)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"unknown host {host!r}", hint="correct the URL, or check the network") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        check_address(address, host, allow_private=allow_private)
    return addresses


def check_address(text: str, host: str, *, allow_private: bool) -> None:
    """Raise FetchError if the address `text` of `host` is refused."""
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    never = address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
    if never:
        message = f"{_named(host, address)}, which is never allowed"
        raise FetchError(message, hint="name the URL of a web site")
    inside = not address.is_global or address.is_reserved or getattr(address, "is_site_local", False)
    if inside and not allow_private:
        raise FetchError(f"{_named(host, address)}, a private address", hint=_LIFTED)


def _named(host: str, address: Address) -> str:
    """Return a host with its address, or only the address if that is the host."""
    return f"address {address}" if host.strip("[]") == str(address) else f"{host} is {address}"


def is_loopback(host: str) -> bool:
    """Return True if a host, by name or address, is certainly this machine."""
    if host == "localhost":
        return True
    try:
        return _unwrapped(ipaddress.ip_address(host.strip("[]"))).is_loopback
    except ValueError:
        return False


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 one, or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address.teredo:
            inner = address.teredo[1]
        return inner or address
    return address
