"""Addresses: what they mean, and that nothing secret is shown of them."""

from __future__ import annotations

import pytest

from conveyor.errors import StoreRefused
from conveyor.store.address import read_sentinel, shown
from conveyor.store.client import Client


@pytest.mark.parametrize(
    ("url", "service", "server", "sentinels"),
    [
        (
            "sentinel://a,b:1/films",
            "films",
            "redis://sentinel/0",
            ["redis://a:26379", "redis://b:1"],
        ),
        ("sentinel://a", "mymaster", "redis://sentinel/0", ["redis://a:26379"]),
        ("sentinel://a/films/3", "films", "redis://sentinel/3", ["redis://a:26379"]),
        (
            "sentinel://u:p%40@a/films",
            "films",
            "redis://u:p%40@sentinel/0",
            ["redis://u:p%40@a:26379", "redis://a:26379"],
        ),
        (
            "sentinel://:p@a/films?sentinel_password=%40s",
            "films",
            "redis://:p@sentinel/0",
            ["redis://:%40s@a:26379"],
        ),
        (
            "sentinel://a/films?sentinel_username=u&sentinel_password=s&db=2",
            "films",
            "redis://sentinel/0?db=2",
            ["redis://u:s@a:26379"],
        ),
        (
            "sentinel://[::1]:1,[fe80::2],c/films",
            "films",
            "redis://sentinel/0",
            ["redis://[::1]:1", "redis://[fe80::2]:26379", "redis://c:26379"],
        ),
        (
            "sentinels://:p@a/films/1?ssl_ca_certs=%2Fca.pem",
            "films",
            "rediss://:p@sentinel/1?ssl_ca_certs=%2Fca.pem",
            ["rediss://:p@a:26379?ssl_ca_certs=%2Fca.pem", "rediss://a:26379?ssl_ca_certs=%2Fca.pem"],
        ),
    ],
)
def test_sentinel_address_names_server_and_sentinels(
    url: str, service: str, server: str, sentinels: list[str]
) -> None:
    assert read_sentinel(url) == (service, server, sentinels)
    Client(url)


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://",
        "sentinel:///films",
        "sentinel://a,,b",
        "sentinel://::1",
        "sentinel://a:b",
        "redis://a?x=1",
    ],
)
def test_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="is not the address of a server"):
        Client(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ann:secret@host",
        "sentinel://:secret@a,b/films",
        "sentinels://a/films?sentinel_username=u&sentinel_password=secret",
        "redis://a?password=secret",
    ],
)
def test_secret_of_an_address_is_not_shown(url: str) -> None:
    assert "secret" not in shown(url)
    assert "secret" not in repr(Client(url))
