"""Listening for other hosts requires a login."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from conveyor.dashboard.access.policy import Identities, Policy
from conveyor.dashboard.access.request import Proxies, is_loopback
from conveyor.dashboard.access.rights import BadPolicy, Role
from conveyor.dashboard.access.users import Tokens

ELSEWHERE = [
    "0.0.0.0",
    "::",
    "",
    "*",
    "192.0.2.7",
    "2001:db8::1",
    "[::]",
    "::ffff:192.0.2.7",
    "nowhere.invalid",
]
HERE = ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("host", HERE)
def test_loopback_address_needs_no_login(host: str) -> None:
    assert not Policy().checked(host, 9181).insecure


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_addresses_are_refused_without_a_login(host: str) -> None:
    with pytest.raises(BadPolicy, match="no login is set up") as caught:
        Policy().checked(host, 9181)
    assert all(
        way in caught.value.hint for way in ("127.0.0.1", "CONVEYOR_DASHBOARD_USERS", "--insecure-no-auth")
    )


def test_host_name_counts_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(name: str, *_args: Any, **_options: Any) -> list[Any]:
        addresses = {"both.test": ["127.0.0.1", "192.0.2.7"], "here.test": ["127.0.0.1", "::1"]}[name]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert is_loopback("here.test")
    assert not is_loopback("both.test")


def test_insecure_mode_is_possible_and_visible() -> None:
    assert Policy(insecure_no_auth=True).checked("0.0.0.0", 9181).insecure


def test_any_kind_of_login_is_sufficient(users: Any, tmp_path: Any) -> None:
    tokens = Tokens(tmp_path / "tokens")
    tokens.add("ci", Role.VIEWER, None)
    identities = Identities("X-User", {"ada": Role.ADMIN})
    logins: list[dict[str, Any]] = [
        {"users": users},
        {"tokens": tokens},
        {"identities": identities, "proxies": Proxies.of(["192.0.2.1"])},
        {"resolve": lambda _scope: None},
    ]
    for login in logins:
        assert not Policy(**login, insecure_no_auth=True).checked("0.0.0.0", 9181).insecure


def test_bound_host_name_is_allowed(users: Any) -> None:
    assert Policy(users=users).checked("Queue.Example.org", 80).hosts == {"queue.example.org"}
    assert Policy(users=users).checked("2001:db8::1", 80).hosts == {"[2001:db8::1]"}
    assert Policy(users=users).checked("0.0.0.0", 80).hosts == frozenset()


def test_invalid_settings_are_reported_at_the_start(users: Any) -> None:
    users.path.write_text("ada:boss:x\n")
    identities = Identities("X-User", {"ada": Role.ADMIN})
    listed = Proxies.of(["192.0.2.1"])
    faulty: list[tuple[dict[str, Any], str]] = [
        ({"users": users}, "line 1"),
        ({"identities": identities}, "no proxy is listed"),
        ({"identities": Identities("X User", {}), "proxies": listed}, "invalid header name"),
        ({"secret": b"short"}, "fewer than 32"),
    ]
    for settings, reason in faulty:
        with pytest.raises(BadPolicy, match=reason):
            Policy(**settings).checked("127.0.0.1", 9181)


@pytest.mark.parametrize("peer", ["192.0.2.9", "::ffff:192.0.2.9", "not an address"])
def test_only_loopback_peers_are_admitted_on_a_foreign_server(page: Any, peer: str) -> None:
    assert page().get("/api/who", peer=peer).status_code == 401
    assert page(insecure_no_auth=True).get("/api/who", peer=peer).status_code == 200


def test_forwarded_request_does_not_count_as_local(page: Any) -> None:
    assert page().get("/api/who").json() == ["local", "admin", "local"]
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert page().get("/api/who", headers={name: "127.0.0.1"}).status_code == 401
