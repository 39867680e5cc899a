"""Which network addresses a page may be fetched from.

A name is resolved once, every address it has is checked, and the connection goes to a checked address, not to the
name: a name server that answers differently a moment later changes nothing.
"""

import ipaddress
import socket

from conveyor.errors import ConveyorError

#: Ports of public hosts that pages are fetched from; elsewhere they may be mail, databases or shells.
PUBLIC_PORTS = frozenset({80, 443, 8000, 8008, 8080, 8443, 8888})
#: Addresses that give a cloud machine's credentials to whoever asks. Never fetched, even where private ones are.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
#: How somebody who means it gets past the refusal.
_LIFTED = "for hosts you trust, allow_private=yes on the command line (True in Python) lifts this"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchError(ConveyorError):
    """A page was not fetched; the message says why."""


def checked_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Resolve a host and give its addresses; raises FetchError if it has none or any of them is refused.

    Refused are loopback, private, link-local, multicast and reserved addresses, in any spelling and also where IPv6
    wraps them. With `allow_private` loopback and private ones are allowed; link-local ones and those of the
    metadata services of clouds never are.
    """
    if not allow_private and port not in PUBLIC_PORTS:
        message = f"port {port} of {host} is not one that pages are served on"
        raise FetchError(message, hint=_LIFTED)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = f"no host is called {host!r}"
        raise FetchError(message, hint="correct the address, or look at the network") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        check_address(address, host, allow_private=allow_private)
    return addresses


def check_address(text: str, host: str, *, allow_private: bool) -> None:
    """Raise FetchError if the address `text`, which `host` stands for, is refused."""
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    never = address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
    if never:
        message = f"{_named(host, address)}, which pages are never fetched from"
        raise FetchError(message, hint="give the address of a web site")
    inside = not address.is_global or address.is_reserved or getattr(address, "is_site_local", False)
    if inside and not allow_private:
        message = f"{_named(host, address)}, a private address"
        raise FetchError(message, hint=_LIFTED)


def _named(host: str, address: Address) -> str:
    """Give a host and the address it stands for, or the address alone where that is the host."""
    return f"address {address}" if host.strip("[]") == str(address) else f"{host} is {address}"


def is_loopback(host: str) -> bool:
    """Tell whether a host, by name or address, is this machine for certain."""
    if host == "localhost":
        return True
    try:
        return _unwrapped(ipaddress.ip_address(host.strip("[]"))).is_loopback
    except ValueError:
        return False


def _unwrapped(address: Address) -> Address:
    """Give the IPv4 address inside an IPv6 one that stands for it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address.teredo:
            inner = address.teredo[1]
        return inner or address
    return address
