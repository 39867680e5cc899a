"""The guard behind the real server, tested through real connections."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any

import pytest
from mounting_kit import by_uvicorn

from conveyor.dashboard.access.policy import SERVER_OPTIONS, Identities
from conveyor.dashboard.access.request import Proxies
from conveyor.dashboard.access.rights import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROXY = "192.0.2.10"
served = functools.partial(by_uvicorn, ws="none", lifespan="off", **SERVER_OPTIONS)


@pytest.fixture
def said(page: Any) -> Iterator[Callable[[bytes], bytes]]:
    """Send bytes to a page whose only login is a proxy elsewhere, and return its response until it closes."""
    identities = Identities("X-Forwarded-User", {"ada": Role.ADMIN})
    guarded = page(proxies=Proxies.of([PROXY]), identities=identities)
    with served(guarded.guard) as port:
        yield lambda data: _exchange(port, data)
    assert guarded.done == []


def _exchange(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def _request(method: str, path: str, *lines: str) -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines, "", ""]
    return "\r\n".join(head).encode()


def test_server_does_not_trust_a_forged_peer_address(said: Callable[[bytes], bytes]) -> None:
    """By default uvicorn believes X-Forwarded-For of any process of this machine."""
    forged = _request("GET", "/api/who", f"X-Forwarded-For: {PROXY}", "X-Forwarded-User: ada")
    answer = said(forged)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nserver:" not in answer.lower()


def test_body_without_a_length_ends_at_the_limit(page: Any) -> None:
    guarded = page()
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    own = ("Sec-Fetch-Site: same-origin", "Content-Type: application/json", "Transfer-Encoding: chunked")
    with (
        served(guarded.guard) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
    ):
        connection.sendall(_request("POST", "/api/echo", *own))
        try:
            for _ in range(100):
                connection.sendall(chunk)
        except OSError:
            pass  # it closed in the middle, as it may
        else:
            pytest.fail("100 MiB were read")
    assert guarded.done == []


@pytest.mark.parametrize("path", ["/static/../api/who", "/static/%2e%2e/api/who", "/static/..%2fapi/who"])
def test_encoded_paths_arrive_unchanged_and_are_refused(said: Callable[[bytes], bytes], path: str) -> None:
    assert said(_request("GET", path)).startswith(b"HTTP/1.1 400 ")


def test_stream_arrives_whole(page: Any) -> None:
    with served(page().guard) as port:
        answer = _exchange(port, _request("GET", "/api/stream"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"data: ") == 3
    assert b"frame-ancestors 'none'" in answer
