"""Sessions: new at each login, signed, short, and ended when they should be."""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from typing import Any

import pytest
from asgi_client import FORM, ORIGIN, OWN, PASSWORD

from conveyor.dashboard.access.login import LIFETIME, Sessions

from .guarded_page import session_of

SECRET = b"a secret of 32 bytes or some more"


def test_login_opens_the_page_and_returns_to_it(page: Any, users: Any) -> None:
    guarded = page(users=users)
    wanted = guarded.get("/queues/mail?state=dead&after=a%26b")
    assert wanted.status_code == 303
    assert wanted.headers["location"] == "/login?next=%2Fqueues%2Fmail%3Fstate%3Ddead%26after%3Da%2526b"
    form = guarded.get(wanted.headers["location"])
    assert 'value="/queues/mail?state=dead&amp;after=a%26b"' in form.text
    data = {"name": "ada", "password": PASSWORD, "next": "/queues/mail?state=dead&after=a%26b"}
    response = guarded.post("/login", data=data, headers=FORM)
    assert response.status_code == 303
    assert response.headers["location"] == "/queues/mail?state=dead&after=a%26b"
    assert guarded.get("/api/who", cookies=session_of(response)).json() == ["ada", "admin", "session"]


@pytest.mark.parametrize(
    "onwards",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\r\nset-cookie: a=b",
        "/\t/evil.example",
        "",
        "x" * 3000,
        "evil",
    ],
)
def test_login_never_redirects_to_another_site(page: Any, users: Any, onwards: str) -> None:
    data = {"name": "ada", "password": PASSWORD, "next": onwards}
    assert page(users=users).post("/login", data=data, headers=FORM).headers["location"] == "/"
    assert "evil" not in page(users=users).get("/login", params={"next": onwards}).text


def test_login_form_escapes_its_input(page: Any, users: Any) -> None:
    guarded = page(users=users)
    text = guarded.get("/login", params={"next": '/"><script>alert(1)</script>'}).text
    assert "<script>" not in text
    assert "&gt;&lt;script&gt;" in text


def test_login_page_ignores_other_parameters(page: Any, users: Any) -> None:
    many = {"next": "/jobs", **{f"a{number}": "1" for number in range(100)}}
    response = page(users=users).get("/login", params=many)
    assert response.status_code == 200
    assert 'name="next" value="/jobs"' in response.text


def test_cookie_is_limited_to_the_browser_and_the_dashboard(page: Any, users: Any) -> None:
    cookie = page(users=users).log_in("ada").headers["set-cookie"]
    fields = set(cookie.split("; ")[1:])
    assert fields == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}
    cookie = page(users=users).log_in("ada", base="https://localhost:9181").headers["set-cookie"]
    assert cookie.endswith("; Secure")


def test_cookie_is_limited_to_the_root_path(page: Any, users: Any) -> None:
    guarded = page(users=users)
    response = guarded.post(
        "/tools/queue/login", data={"name": "ada", "password": PASSWORD}, headers=FORM, root="/tools/queue"
    )
    assert "; Path=/tools/queue;" in response.headers["set-cookie"]
    assert response.headers["location"] == "/tools/queue/"
    wanted = guarded.get("/tools/queue/x", root="/tools/queue")
    assert wanted.headers["location"] == "/tools/queue/login?next=%2Fx"


def test_every_login_starts_a_new_session_and_ends_the_previous(page: Any, users: Any) -> None:
    guarded = page(users=users)
    first = session_of(guarded.log_in("ada"))
    second = session_of(guarded.log_in("ada", cookies=first))
    assert first != second
    assert guarded.get("/api/who", cookies=first).status_code == 401
    assert guarded.get("/api/who", cookies=second).status_code == 200


def test_session_planted_by_an_attacker_is_not_used(page: Any, users: Any) -> None:
    guarded = page(users=users)
    planted = {"conveyor_session_9181": "chosen-by-the-attacker"}
    session = session_of(guarded.log_in("ada", cookies=planted))
    assert session.keys() == planted.keys()
    assert session != planted
    assert guarded.get("/api/who", cookies=planted).status_code == 401


def test_two_sessions_in_the_same_request_are_refused(page: Any, users: Any) -> None:
    guarded = page(users=users)
    mine, theirs = session_of(guarded.log_in("vera")), session_of(guarded.log_in("ada"))
    both = "; ".join(f"{name}={value}" for session in (theirs, mine) for name, value in session.items())
    assert guarded.get("/api/who", headers={"cookie": both}).status_code == 401


def test_logout_ends_every_copy_of_the_session(page: Any, users: Any) -> None:
    guarded = page(users=users)
    session = session_of(guarded.log_in("ada"))
    response = guarded.post("/logout", headers=FORM, cookies=session)
    assert response.status_code == 303
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert guarded.get("/api/who", cookies=session).status_code == 401


def test_login_and_logout_must_come_from_the_dashboard(page: Any, users: Any) -> None:
    guarded = page(users=users)
    session = session_of(guarded.log_in("ada"))
    cross = {**FORM, "sec-fetch-site": "cross-site"}
    data = {"name": "vera", "password": PASSWORD}
    assert guarded.post("/login", data=data, headers=cross).status_code == 403
    assert guarded.post("/logout", headers=cross, cookies=session).status_code == 403
    assert guarded.get("/logout", cookies=session).status_code == 405
    assert guarded.get("/api/who", cookies=session).status_code == 200


def _tampered(text: str) -> list[str]:
    body, _, signature = text.partition(".")
    content = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps(["ada", *content[1:]]).encode()).decode().rstrip("=")
    other = Sessions(b"x" * 32).begin("ada", content[1])
    return [
        f"{forged}.{signature}",
        f"{forged}.",
        forged,
        f"{body}.{signature[:-1]}",
        f"{body}.{signature.upper()}",
        f"{body}.{'0' * 64}",
        f"{body}.é",
        "." + signature,
        ".",
        "null.null",
        other,
        "a" * 100_000,
    ]


def test_forged_session_is_refused(page: Any, users: Any) -> None:
    guarded = page(users=users, secret=SECRET)
    [(name, text)] = session_of(guarded.log_in("vera")).items()
    for forged in _tampered(text):
        header = {"cookie": f"{name}={forged}".encode("latin-1")}
        assert guarded.get("/api/who", headers=header).status_code == 401, forged[:100]
    assert guarded.get("/api/who", cookies={name: text}).status_code == 200


def test_session_expires_after_12_hours(page: Any, users: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = page(users=users, secret=SECRET)
    stamp, real = users.find("ada").stamp, time.time
    for age, status in ((0, 200), (-30, 200), (LIFETIME - 60, 200), (LIFETIME + 1, 401), (-3600, 401)):
        with monkeypatch.context() as earlier:
            earlier.setattr(time, "time", lambda age=age: real() - age)
            made = Sessions(SECRET).begin("ada", stamp)
        assert guarded.get("/api/who", cookies={"conveyor_session_9181": made}).status_code == status, age


def test_session_ends_if_password_role_or_user_change(page: Any, users: Any) -> None:
    guarded = page(users=users)
    sessions = {name: session_of(guarded.log_in(name)) for name in ("vera", "otto", "ada")}
    path = users.path
    vera, otto, ada = path.read_text().splitlines()
    path.write_text(f"{vera}\n{otto.replace('operator', 'viewer')}\n")
    users.add("vera", users.find("vera").role, "another password")
    assert ada
    for name, session in sessions.items():
        assert guarded.get("/api/who", cookies=session).status_code == 401, name


def test_session_survives_a_restart_only_with_a_fixed_secret(page: Any, users: Any) -> None:
    session = session_of(page(users=users, secret=SECRET).log_in("ada"))
    assert page(users=users, secret=SECRET).get("/api/who", cookies=session).status_code == 200
    session = session_of(page(users=users).log_in("ada"))
    assert page(users=users).get("/api/who", cookies=session).status_code == 401


def test_link_from_another_site_needs_no_second_login(page: Any, users: Any) -> None:
    """SameSite=Strict holds the cookie back on the first request; our own page then leads to itself."""
    guarded = page(users=users)
    response = guarded.get("/jobs/1", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert response.status_code == 200
    assert 'http-equiv="refresh" content="0"' in response.text
    assert guarded.get("/jobs/1", headers={"sec-fetch-site": "same-origin"}).status_code == 303


def test_basic_login_serves_programs_and_hashes_once_a_minute(
    page: Any, users: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, real = [], users.verified
    monkeypatch.setattr(
        users, "verified", lambda name, password: (tried.append(name), real(name, password))[1]
    )
    guarded = page(users=users)
    for _ in range(3):
        assert guarded.get("/api/who", auth=("otto", PASSWORD)).json() == ["otto", "operator", "basic"]
    assert tried == ["otto"]
    assert guarded.get("/api/who", auth=("otto", "wrong")).status_code == 401
    users.add("otto", users.find("otto").role, "another password")
    assert guarded.get("/api/who", auth=("otto", PASSWORD)).status_code == 401


def test_browser_with_saved_basic_login_cannot_be_abused(page: Any, users: Any) -> None:
    guarded = page(users=users)
    cross = {**OWN, "sec-fetch-site": "cross-site"}
    response = guarded.post("/api/do/act", headers=cross, content="{}", auth=("ada", PASSWORD))
    assert (response.status_code, guarded.done) == (403, [])


@pytest.mark.parametrize(
    "shown", ["", "Basic", "Basic !!!", "Basic YWRh", "Basic /w==", "Bearer", "Digest x", "Negotiate x"]
)
def test_invalid_authorization_header_is_no_local_access(page: Any, users: Any, shown: str) -> None:
    assert page(users=users).get("/api/who", headers={"authorization": shown}).status_code == 401
    assert page().get("/api/who", headers={"authorization": shown}).status_code == 401


def test_world_readable_users_file_admits_no_one(
    page: Any, users: Any, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = page(users=users)
    session = session_of(guarded.log_in("ada"))
    os.chmod(users.path, 0o644)  # noqa: PTH101
    response = guarded.get("/api/who", cookies=session)
    assert response.status_code == 503
    assert str(users.path) not in response.text
    assert str(users.path) in caplog.text


def test_login_log_contains_no_passwords(page: Any, users: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "conveyor.dashboard")
    guarded = page(users=users)
    guarded.log_in("ada")
    guarded.log_in("ada", "first wrong")
    guarded.log_in("my password\nin the wrong field", "second wrong")
    assert "login: user 'ada' from 127.0.0.1" in caplog.text
    assert "login refused: user 'ada' from 127.0.0.1" in caplog.text
    assert "login refused: user 'unknown'" in caplog.text
    assert not any(word in caplog.text for word in (PASSWORD, "wrong", "my password"))


def test_login_page_is_missing_without_users(page: Any) -> None:
    assert page().get("/login", base=ORIGIN).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/conveyor/metrics"])
def test_scraper_without_login_gets_401_and_a_challenge(page: Any, users: Any, path: str) -> None:
    root = path.removesuffix("/metrics")
    response = page(users=users).get(path, root=root)
    challenges = ['Bearer realm="conveyor"', 'Basic realm="conveyor", charset="UTF-8"']
    assert (response.status_code, response.headers.get_list("www-authenticate")) == (401, challenges)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "Unauthorized\nAuthentication required.\n"
    assert "location" not in response.headers


def test_unsafe_users_file_gives_a_page_to_browsers(page: Any, users: Any) -> None:
    guarded = page(users=users)
    cookies = session_of(guarded.log_in("ada"))
    users.path.chmod(0o644)
    response = guarded.get("/", cookies=cookies)
    assert response.status_code == 503
    assert "No one can log in" in response.text
    assert "content-security-policy" in response.headers
