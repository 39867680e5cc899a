"""No page of another site can change anything here, or read along."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_client import FORM, ORIGIN

from .guarded_page import code_of, session_of

JSON = {"content-type": "application/json"}

#: Headers about the origin of a request, and whether it may change something. `None`: the header is missing.
TABLE = [
    # Sec-Fetch-Site, Origin, accepted
    ("same-origin", None, True),
    ("same-origin", ORIGIN, True),
    (
        "same-origin",
        "https://evil.example",
        True,
    ),  # a browser would not send that, and only a browser is tricked
    ("cross-site", "https://evil.example", False),
    ("cross-site", ORIGIN, False),
    ("cross-site", None, False),
    ("same-site", "http://localhost:3000", False),
    ("same-site", ORIGIN, False),
    ("none", None, False),
    ("none", ORIGIN, False),
    ("", ORIGIN, False),
    ("Same-Origin", None, False),
    ("same-origin, cross-site", None, False),
    (None, None, False),
    (None, ORIGIN, True),
    (None, "null", False),
    (None, "", False),
    (None, "https://evil.example", False),
    (None, "http://localhost", False),
    (None, "http://localhost:9182", False),
    (None, "https://localhost:9181", False),
    (None, "http://localhost:9181.evil.example", False),
    (None, "http://evil.example/http://localhost:9181", False),
    (None, f"{ORIGIN}/", False),
    (None, f"{ORIGIN}, https://evil.example", False),
]


def _headers(site: str | None, origin: str | None) -> dict[str, str]:
    told = {"sec-fetch-site": site, "origin": origin}
    return {name: value for name, value in told.items() if value is not None}


@pytest.mark.parametrize("login", ["session", "local"])
@pytest.mark.parametrize(("site", "origin", "accepted"), TABLE)
def test_change_must_come_from_the_dashboard(
    page: Any, users: Any, site: str | None, origin: str | None, accepted: Any, login: str
) -> None:
    """This holds with a login and for a local caller, whose browser may be made to send anything."""
    guarded = page(users=users) if login == "session" else page()
    cookies = session_of(guarded.log_in("ada")) if login == "session" else {}
    told = {**JSON, **_headers(site, origin)}
    response = guarded.post("/api/do/kill", headers=told, content="{}", cookies=cookies)
    assert (response.status_code, guarded.done) == ((200, ["kill"]) if accepted else (403, []))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_origin_check_applies_to_every_method_of_change(page: Any, method: str) -> None:
    guarded = page()
    headers = {**JSON, "sec-fetch-site": "cross-site"}
    assert guarded.ask(method, "/api/do/act", headers=headers, content="{}").status_code == 403
    assert guarded.ask(method, "/api/do/act", headers=JSON, content="{}").status_code == 403
    headers = {**JSON, "sec-fetch-site": "same-origin"}
    assert guarded.ask(method, "/api/do/act", headers=headers, content="{}").status_code == 200
    assert guarded.done == ["act"]


def test_duplicate_headers_are_refused(page: Any) -> None:
    guarded = page()
    kind = ("content-type", "application/json")
    twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site"), kind]
    assert guarded.post("/api/do/act", headers=twice, content="{}").status_code == 403
    twice = [("origin", ORIGIN), ("origin", "https://evil.example"), kind]
    assert guarded.post("/api/do/act", headers=twice, content="{}").status_code == 403
    assert guarded.done == []


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonx",
        "text/plain; application/json",
        "text/plain, application/json",
        "application/json, text/plain",
    ],
)
def test_form_and_simple_fetch_content_types_are_refused(page: Any, kind: str | None) -> None:
    """This holds even if a browser claims the same origin."""
    guarded = page()
    headers = {"sec-fetch-site": "same-origin"} | ({} if kind is None else {"content-type": kind})
    for path in ("/api/do/act", "/", "/nowhere"):
        response = guarded.post(path, headers=headers, content='{"a":1}')
        assert response.status_code == 415
    assert guarded.post("/api/do/act", headers=headers).status_code == 415, "without a body"
    assert guarded.done == []


def test_json_content_type_is_accepted_in_any_spelling(page: Any) -> None:
    guarded = page()
    for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        headers = {"sec-fetch-site": "same-origin", "content-type": kind}
        assert guarded.post("/api/do/act", headers=headers, content="{}").status_code == 200


def test_delete_needs_no_body(page: Any) -> None:
    guarded = page()
    own = {"sec-fetch-site": "same-origin"}
    assert guarded.ask("DELETE", "/api/do/act", headers=own).status_code == 200
    assert guarded.ask("DELETE", "/api/do/act", headers=own, content="{}").status_code == 415


def test_login_form_accepts_form_data_only(page: Any, users: Any) -> None:
    guarded = page(users=users)
    json = {**FORM, "content-type": "application/json"}
    assert guarded.post("/login", json={"name": "ada", "password": "x"}, headers=json).status_code == 415


@pytest.mark.parametrize("origin", ["https://evil.example", ORIGIN, "null"])
def test_no_other_origin_is_granted_access(page: Any, origin: str) -> None:
    guarded = page()
    preflight = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,authorization",
    }
    for path in ("/api/do/act", "/", "/api/cors", "/static/style.css"):
        for method in ("OPTIONS", "GET"):
            told = guarded.ask(method, path, headers=preflight).headers
            assert not [name for name in told if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("cross-site", "cors", 403),
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
        (None, None, 200),
    ],
)
def test_other_site_cannot_read_stream_or_cause_work(
    page: Any, site: str | None, mode: str | None, status: int
) -> None:
    told = {"sec-fetch-site": site, "sec-fetch-mode": mode}
    headers = {name: value for name, value in told.items() if value}
    for path in ("/api/who", "/api/stream", "/do/look"):
        response = page().get(path, headers=headers)
        assert response.status_code == status
        if status == 403 and path.startswith("/api"):
            assert code_of(response) == "cross-site"


def test_web_socket_is_refused(page: Any) -> None:
    """A web socket would bypass the rules for origins."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(page().guard({"type": "websocket", "path": "/api/who", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_request_without_origin_gets_a_hint_of_headers_to_send(page: Any, users: Any) -> None:
    without = page()
    hint = without.post("/api/do/act", headers=JSON, content="{}").json()["hint"]
    assert f"Origin: {ORIGIN}" in hint
    wanted = {"origin": hint.rpartition("Origin: ")[2]}
    assert without.post("/api/do/act", headers=JSON | wanted, content="{}").status_code == 200
    guarded = page(users=users)
    cookies = session_of(guarded.log_in("ada"))
    hint = guarded.post("/api/do/act", headers=JSON, content="{}", cookies=cookies).json()["hint"]
    assert "Authorization: Bearer" in hint
