"""The page responds to its own host names only, so that no other name can be made to lead here."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_client import OWN

from conveyor.dashboard.access.request import read_hosts
from conveyor.dashboard.access.rights import BadPolicy

from .guarded_page import code_of

HOSTS = read_hosts(["Queue.corp.com", "exact.corp.com:8443"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:9181",
        "LOCALHOST:1",
        "127.0.0.1:9181",
        "[::1]:9181",
        "[::1]",
        "queue.corp.com",
        "queue.corp.com:123",
        "exact.corp.com:8443",
    ],
)
def test_own_host_names_are_accepted(page: Any, host: str) -> None:
    assert page(hosts=HOSTS).get("/api/who", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9181",
        "queue.corp.com.evil.example",
        "evilqueue.corp.com",
        "a.queue.corp.com",
        "exact.corp.com",
        "exact.corp.com:443",
        "localhost.evil.example",
        "localhost.",
        "127.0.0.1.nip.example",
        "127.0.0.2",
        "0.0.0.0:9181",
        "2130706433",
        "0x7f000001",
        "[::]",
        "[::ffff:127.0.0.1]",
        "192.0.2.1",
    ],
)
def test_foreign_host_names_are_refused(page: Any, host: str) -> None:
    guarded = page(hosts=HOSTS)
    response = guarded.post("/api/do/act", headers={**OWN, "host": host}, content="{}")
    assert (response.status_code, code_of(response), guarded.done) == (421, "wrong-host", [])


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "localhost:9181:1",
        "localhost:port",
        "localhost:123456",
        "localhost/",
        "localhost@evil.example",
        "evil.example#localhost",
        "localhost, evil.example",
        "localhost evil",
        "::1",
        "[::1",
        "\xe9.example",
        "a" * 5000,
    ],
)
def test_invalid_host_names_are_refused(page: Any, host: str) -> None:
    response = page().get("/api/who", headers={"host": host.encode("latin-1")})
    assert (response.status_code, code_of(response)) == (400, "bad-host")


def test_two_hosts_get_400(page: Any) -> None:
    for hosts in (["localhost", "evil.example"], ["evil.example", "localhost"], ["localhost", "localhost"]):
        response = page().get("/api/who", headers=[("host", host) for host in hosts])
        assert response.status_code == 400


def test_forwarded_host_of_an_unlisted_proxy_is_ignored(page: Any) -> None:
    headers = {"x-forwarded-host": "localhost", "host": "evil.example"}
    assert page().get("/api/who", headers=headers).status_code == 421


@pytest.mark.parametrize("path", ["/", "/login", "/static/style.css", "/api/who", "/nowhere"])
def test_host_check_applies_to_every_path(page: Any, users: Any, path: str) -> None:
    assert page(users=users).get(path, headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("text", ["https://queue.corp.com", "queue.corp.com/", "*.corp.com", "a b", "*"])
def test_host_list_accepts_whole_names_only(text: str) -> None:
    with pytest.raises(BadPolicy, match="invalid host name"):
        read_hosts([text])
