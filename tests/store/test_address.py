"""Server URLs: their meaning, and their masked form."""

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
def test_sentinel_url_names_the_primary_and_sentinels(
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
def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="invalid server URL"):
        Client(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ann:secret@host",
        "sentinel://:secret@a,b/films",
        "sentinels://a/films?sentinel_username=u&sentinel_password=secret",
        "redis://a?password=secret",
        "redis://a?password=secret@b",
        "unix:///run/valkey.sock?db=1&password=secret",
    ],
)
def test_secret_in_a_url_is_not_shown(url: str) -> None:
    assert "secret" not in shown(url)
    assert "secret" not in repr(Client(url))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://a?passwrd=s3cr3t", "redis://a?passwrd=•••"),
        ("redis://a?db=1;pass=s3cr3t", "redis://a?db=1;pass=•••"),
        ("redis://:s3?x=cr3t@a", "redis://•••"),
        ("redis://a?db=1&ssl_certfile=/c.pem", "redis://a?db=1&ssl_certfile=/c.pem"),
    ],
)
def test_values_of_unknown_options_are_not_shown(url: str, told: str) -> None:
    assert shown(url) == told


@pytest.mark.parametrize(
    ("url", "fault", "hint"),
    [
        ("redis://a?PASSWORD=x", ": unknown option 'PASSWORD'", "use one of: db, "),
        ("redis://a:x", ": the port is not a number", "sentinels://"),
        ("redis://a:99999", ": Port out of range 0-65535", "sentinels://"),
    ],
)
def test_invalid_url_is_refused_with_the_reason(url: str, fault: str, hint: str) -> None:
    with pytest.raises(StoreRefused) as caught:
        Client(url)
    assert str(caught.value).endswith(fault)
    assert hint in caught.value.hint
