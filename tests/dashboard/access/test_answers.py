"""Every response has the headers, errors reveal no internals, and streams stay streams."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import pytest
from asgi_client import FORM, OWN

from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.security import SecurityMiddleware

from .guarded_page import code_of

CSP = {
    "default-src 'self'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "form-action 'self'",
}
FIXED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
ANSWERS: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "a page": (200, "GET", "/", {}),
    "data": (200, "GET", "/api/who", {}),
    "a stream": (200, "GET", "/api/stream", {}),
    "a change": (200, "POST", "/api/do/act", {"headers": OWN, "content": "{}"}),
    "a page with a policy of its own": (200, "GET", "/api/cors", {}),
    "a path that is not there": (404, "GET", "/nowhere", {}),
    "a wrong method": (405, "POST", "/", {"headers": OWN, "content": "{}"}),
    "a wrong host": (421, "GET", "/", {"headers": {"host": "evil.example"}}),
    "a cross-site change": (403, "POST", "/api/do/act", {"content": "{}"}),
    "a wrong type": (415, "POST", "/", {"headers": {"sec-fetch-site": "same-origin"}}),
    "a large body": (413, "POST", "/api/echo", {"headers": OWN, "content": b" " * 2_097_153}),
    "a fault": (500, "GET", "/api/fault", {}),
    "somebody unknown": (401, "GET", "/", {"peer": "192.0.2.1"}),
    "a program that is unknown": (401, "GET", "/api/who", {"peer": "192.0.2.1"}),
}
WITH_LOGIN: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "the login page": (200, "GET", "/login", {}),
    "the way to it": (303, "GET", "/", {}),
    "a failed login": (401, "POST", "/login", {"data": {"name": "x"}, "headers": FORM}),
    "logging out": (303, "POST", "/logout", {"headers": FORM}),
    "once more": (200, "GET", "/", {"headers": {"sec-fetch-site": "cross-site"}}),
}


def _check_headers(response: Any) -> None:
    for name, value in FIXED.items():
        assert response.headers.get_list(name) == [value]
    assert set(response.headers["content-security-policy"].split("; ")) == CSP
    assert len(response.headers.get_list("content-security-policy")) == 1
    assert "camera=()" in response.headers["permissions-policy"]
    assert response.headers.get_list("cache-control") == ["no-store"]


@pytest.mark.parametrize("what", [*ANSWERS, *WITH_LOGIN])
def test_every_response_has_the_security_headers(page: Any, users: Any, what: str) -> None:
    guarded = page(users=users) if what in WITH_LOGIN else page()
    status, method, path, options = {**ANSWERS, **WITH_LOGIN}[what]
    response = guarded.ask(method, path, **options)
    assert response.status_code == status
    _check_headers(response)


def test_public_files_may_be_cached_and_need_no_login(page: Any, users: Any) -> None:
    response = page(users=users).get("/static/style.css")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "max-age=3600"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/static/../api/who", "/static/%2e%2e/api/who", "/static/..%5capi/who", "/api/./who", "/a%00b"]
)
def test_ambiguous_path_is_refused(page: Any, users: Any, path: str) -> None:
    assert _raw(page(users=users).guard, path).startswith("400")


@pytest.mark.parametrize(
    "path", ["/static", "/staticx/y", "//static/style.css", "/Static/style.css", "/login/", "/x/login"]
)
def test_path_that_resembles_an_open_path_is_closed(page: Any, users: Any, path: str) -> None:
    assert _raw(page(users=users).guard, path).startswith("303")


def test_static_files_cannot_be_changed_without_login(page: Any, users: Any) -> None:
    assert page(users=users).post("/static/style.css", headers=OWN, content="{}").status_code == 401


def test_programs_get_problem_documents(page: Any) -> None:
    assert code_of(page().get("/api/who", peer="192.0.2.1")) == "unknown"
    assert code_of(page().post("/api/do/act", content="{}")) == "no-origin"


def test_error_of_a_bare_application_reveals_no_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        message = "a secret of the inside"
        raise RuntimeError(message)

    sent: list[Any] = []
    asyncio.run(_drive(SecurityMiddleware(app, Policy()), "/api/x", sent))
    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]
    assert "a secret of the inside" in caplog.text, "the log has it"


def test_error_after_the_response_has_started_is_passed_on() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    sent: list[Any] = []
    with pytest.raises(RuntimeError):
        asyncio.run(_drive(SecurityMiddleware(app, Policy()), "/api/x", sent))
    assert len(sent) == 1


def test_server_error_response_of_an_application_is_unchanged() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"my own"})

    assert _raw(SecurityMiddleware(app, Policy()), "/api/x") == "500 my own"


def test_problems_and_login_are_pages_for_people(users: Any) -> None:
    guard = SecurityMiddleware(lambda *_: None, Policy(users=users))  # type: ignore[arg-type, return-value]
    login = _raw(guard, "/login")
    assert login.startswith("200 <!doctype html>")
    assert 'action="/login"' in login
    assert 'name="next" value="/"' in login
    problem = _raw(guard, "/", [(b"host", b"evil.example")])
    assert problem.startswith("421 <!doctype html>")
    assert "Misdirected Request" in problem


def test_stream_is_passed_on_in_pieces_with_its_disconnect() -> None:
    """Each piece must be out before the next is made, and a disconnect must come through."""
    sent: list[Any] = []
    seen: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            seen.append(sent[-1]["body"])
        await receive()
        seen.append((await receive())["type"])

    asyncio.run(_drive(SecurityMiddleware(app, Policy()), "/api/stream", sent))
    assert seen == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n", "http.disconnect"]
    assert (b"cache-control", b"no-store") in sent[0]["headers"]


async def _drive(
    guard: SecurityMiddleware, path: str, sent: list[Any], headers: Any = ((b"host", b"localhost"),)
) -> None:
    messages = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path),
        "headers": list(headers),
        "scheme": "http",
    }
    await guard({**scope, "query_string": b"", "client": ("127.0.0.1", 5), "root_path": ""}, receive, send)


def _raw(guard: SecurityMiddleware, path: str, headers: Any = ((b"host", b"localhost"),)) -> str:
    """Request a path exactly as given, which clients would tidy; return status and text."""
    sent: list[Any] = []
    asyncio.run(_drive(guard, path, sent, headers))
    return f"{sent[0]['status']} {sent[1]['body'].decode()}"
