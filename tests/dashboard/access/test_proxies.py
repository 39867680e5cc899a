"""Headers of a proxy are trusted from the listed addresses only."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_client import FORM, OWN

from conveyor.dashboard.access.policy import Identities
from conveyor.dashboard.access.request import Proxies
from conveyor.dashboard.access.rights import BadPolicy, Role

PROXY, OTHER = "192.0.2.10", "192.0.2.99"
ROLES = {"admin@corp.com": Role.ADMIN, "vera@corp.com": Role.VIEWER}


def _behind(page: Any, *networks: str, **more: Any) -> Any:
    return page(proxies=Proxies.of(networks), identities=Identities("X-Forwarded-User", ROLES), **more)


@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}", "10.1.2.3", "2001:db8::5"])
def test_listed_proxy_names_the_user(page: Any, peer: str) -> None:
    guarded = _behind(page, PROXY, "10.1.0.0/16", "2001:db8::/64")
    response = guarded.get("/api/who", headers={"x-forwarded-user": "vera@corp.com"}, peer=peer)
    assert response.json() == ["vera@corp.com", "viewer", "proxy"]


@pytest.mark.parametrize("peer", [OTHER, "127.0.0.1", "::1", "10.2.0.1", "2001:db8:0:1::5", "", "localhost"])
def test_identity_header_of_an_unlisted_peer_is_ignored(page: Any, peer: str) -> None:
    guarded = _behind(page, PROXY, "10.1.0.0/16", "2001:db8::/64")
    headers = {
        **OWN,
        "x-forwarded-user": "admin@corp.com",
        "x-forwarded-for": PROXY,
        "forwarded": f"for={PROXY}",
    }
    assert guarded.post("/api/do/kill", headers=headers, content="{}", peer=peer).status_code == 401
    assert guarded.done == []


@pytest.mark.parametrize(
    "name",
    [
        "admin@corp.com.evil.com",
        "xadmin@corp.com",
        "admin@corpXcom",
        "ADMIN@corp.com",
        "admin@corp.com,vera@corp.com",
        "admin@corp.com\tx",
        ".*",
        "",
    ],
)
def test_identities_are_matched_whole(page: Any, name: str) -> None:
    response = _behind(page, PROXY).get("/api/who", headers={"x-forwarded-user": name}, peer=PROXY)
    assert response.status_code == 401


def test_duplicate_identity_header_is_ignored(page: Any) -> None:
    headers = [("x-forwarded-user", "vera@corp.com"), ("X-Forwarded-User", "admin@corp.com")]
    assert _behind(page, PROXY).get("/api/who", headers=headers, peer=PROXY).status_code == 401


@pytest.mark.parametrize("text", ["proxy.example.org", "10.0.0.1/8", "0.0.0.0/0", "::/0", "192.0.2"])
def test_invalid_or_universal_proxy_address_is_refused(text: str) -> None:
    with pytest.raises(BadPolicy, match="invalid address of a proxy"):
        Proxies.of([text])


def test_throttle_counts_the_address_reported_by_the_proxy(page: Any, users: Any) -> None:
    """The proxy appends the address it saw; earlier entries may be forged."""
    guarded = page(users=users, proxies=Proxies.of([PROXY]))

    def attempt(number: int, address: str) -> int:
        headers = {**FORM, "x-forwarded-for": f"203.0.113.{number}, {address}"}
        data = {"name": f"user{number}", "password": "guess"}
        return int(guarded.post("/login", data=data, headers=headers, peer=PROXY).status_code)

    assert [attempt(number, "198.51.100.1") for number in range(6)] == [401] * 5 + [429]
    assert attempt(7, "198.51.100.2") == 401


def test_origin_is_the_one_reported_by_the_proxy(page: Any) -> None:
    guarded = _behind(page, PROXY, hosts=frozenset({"queue.corp.com"}))
    said = {
        "content-type": "application/json",
        "x-forwarded-user": "admin@corp.com",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "queue.corp.com",
    }
    for origin, status in (
        ("https://queue.corp.com", 200),
        ("http://queue.corp.com", 403),
        ("http://localhost:9181", 403),
        ("https://queue.corp.com.evil.com", 403),
        ("null", 403),
    ):
        response = guarded.post("/api/do/act", headers={**said, "origin": origin}, content="{}", peer=PROXY)
        assert response.status_code == status, origin
    forged = {**said, "x-forwarded-host": "evil.com", "origin": "https://evil.com"}
    assert guarded.post("/api/do/act", headers=forged, content="{}", peer=PROXY).status_code == 421


def test_session_behind_a_tls_proxy_has_a_secure_cookie(page: Any, users: Any) -> None:
    guarded = page(users=users, proxies=Proxies.of([PROXY]))
    headers = {**FORM, "x-forwarded-proto": "https"}
    data = {"name": "ada", "password": "correct horse"}
    for peer, secure in ((PROXY, True), (OTHER, False)):
        response = guarded.post("/login", data=data, headers=headers, peer=peer)
        assert ("; Secure" in response.headers["set-cookie"]) is secure
