"""Which addresses may be fetched."""

from __future__ import annotations

import socket

import pytest

from conveyor.task_def import web_fetch
from conveyor.task_def.web_fetch import FetchError, check_address, checked_addresses, is_loopback

PRIVATE = [
    *[
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "240.0.0.1",
    ],
    *[
        "::1",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
]
NEVER = [
    *[
        "169.254.169.254",
        "169.254.1.1",
        "0.0.0.0",
        "224.0.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "169.254.170.2",
    ],
    *[
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
    ],
    *["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"],
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_address_is_fetched_only_on_request(address: str) -> None:
    with pytest.raises(FetchError, match="a private address"):
        check_address(address, "some.example", allow_private=False)
    check_address(address, "some.example", allow_private=True)


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_reserved_addresses_are_never_fetched(address: str, allow_private: bool) -> None:  # noqa: FBT001
    with pytest.raises(FetchError):
        check_address(address, "some.example", allow_private=allow_private)


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_address_is_fetched(address: str) -> None:
    check_address(address, "some.example", allow_private=False)


@pytest.mark.parametrize(
    "host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "localhost", "::ffff:127.0.0.1", "0x7f000001"]
)
def test_loopback_is_recognized_in_every_spelling(host: str) -> None:
    with pytest.raises(FetchError):
        checked_addresses(host, 80, allow_private=False)


def test_host_with_a_private_and_a_public_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("1.1.1.1", "10.0.0.1")
    ]
    monkeypatch.setattr(web_fetch.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(FetchError, match=r"some\.example is 10\.0\.0\.1, a private address"):
        checked_addresses("some.example", 80, allow_private=False)


@pytest.mark.parametrize("port", [22, 25, 3306, 6379, 9181])
def test_unusual_ports_of_public_hosts_are_refused(port: int) -> None:
    with pytest.raises(FetchError, match="is not a web port"):
        checked_addresses("1.1.1.1", port, allow_private=False)


def test_invalid_host_name_is_refused() -> None:
    with pytest.raises(FetchError, match="unknown host"):
        checked_addresses("a" * 300, 80, allow_private=True)


@pytest.mark.parametrize(
    ("host", "known"),
    [("localhost", True), ("127.0.0.1", True), ("[::1]", True), ("example.org", False), ("1.1.1.1", False)],
)
def test_local_host_is_recognized(host: str, known: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is known
