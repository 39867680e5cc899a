"""The network addresses from which pages may be fetched.

A name is resolved once, all its addresses are checked, and the connection uses a checked address instead of the name:
a name server that replies differently a moment later changes nothing.
"""

import ipaddress
import socket

from conveyor.errors import ConveyorError

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
        message = f"port {port} of {host} is not a web port"
        raise FetchError(message, hint=_LIFTED)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = f"unknown host {host!r}"
        raise FetchError(message, hint="correct the URL, or check the network") from error
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
        message = f"{_named(host, address)}, a private address"
        raise FetchError(message, hint=_LIFTED)


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
