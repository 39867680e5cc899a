"""Tokens: stored as hashes, with a role, until a day."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from asgi_client import PASSWORD

from conveyor.dashboard.access.rights import Role
from conveyor.dashboard.access.users import BadFile, Tokens

from .guarded_page import session_of

TODAY = dt.datetime.now(dt.UTC).date()
JSON = {"content-type": "application/json"}


@pytest.fixture
def tokens(tmp_path: Any) -> Tokens:
    return Tokens(tmp_path / "tokens")


def _bearer(token: str) -> dict[str, str]:
    return {**JSON, "authorization": f"Bearer {token}"}


def test_token_acts_within_its_role_without_an_origin(page: Any, tokens: Tokens) -> None:
    token = tokens.add("ci", Role.OPERATOR, None)
    guarded = page(tokens=tokens)
    assert guarded.get("/api/who", headers=_bearer(token)).json() == ["ci", "operator", "token"]
    assert guarded.post("/api/do/act", headers=_bearer(token), content="{}").status_code == 200
    assert guarded.post("/api/do/kill", headers=_bearer(token), content="{}").status_code == 403
    assert guarded.done == ["act"]


def test_token_file_does_not_contain_the_token(tokens: Tokens) -> None:
    token = tokens.add("ci", Role.VIEWER, None)
    assert token not in tokens.path.read_text()
    assert token.removeprefix("conveyor_") not in tokens.path.read_text()
    assert tokens.path.stat().st_mode & 0o777 == 0o600
    assert len(token) > 40


def test_token_is_valid_until_its_expiry_day(page: Any, tokens: Tokens) -> None:
    for days, status in ((-1, 401), (0, 401), (2, 200)):
        token = tokens.add("ci", Role.VIEWER, TODAY + dt.timedelta(days=days))
        assert page(tokens=tokens).get("/api/who", headers=_bearer(token)).status_code == status


def test_new_token_of_the_same_name_replaces_the_old(page: Any, tokens: Tokens) -> None:
    guarded = page(tokens=tokens)
    old = tokens.add("ci", Role.VIEWER, None)
    assert guarded.get("/api/who", headers=_bearer(old)).status_code == 200
    new = tokens.add("ci", Role.VIEWER, None)
    assert guarded.get("/api/who", headers=_bearer(old)).status_code == 401
    assert guarded.get("/api/who", headers=_bearer(new)).status_code == 200


def test_invalid_token_is_refused_even_with_a_session(page: Any, users: Any, tokens: Tokens) -> None:
    token = tokens.add("ci", Role.ADMIN, None)
    digest = tokens.path.read_text().strip().rpartition(":")[2]
    guarded = page(users=users, tokens=tokens)
    session = session_of(guarded.log_in("ada"))
    for shown in ("", "x", token[:-1], f"{token}x", digest, "ci", token.upper(), PASSWORD, "\xe9"):
        headers = {**JSON, "authorization": f"Bearer {shown}".encode("latin-1")}
        response = guarded.post("/api/do/act", headers=headers, content="{}", cookies=session)
        assert response.status_code == 401, shown
        assert response.headers["www-authenticate"] == 'Bearer realm="conveyor"', (
            "no window of the browser's own"
        )
    assert guarded.done == []


@pytest.mark.parametrize(
    "line",
    ["ci:viewer:never", "ci:viewer:soon:" + "0" * 64, "ci:viewer:never:00", "ci:king:never:" + "0" * 64],
)
def test_token_file_with_an_invalid_line_admits_no_one(tokens: Tokens, line: str) -> None:
    token = tokens.add("good", Role.VIEWER, None)
    with tokens.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BadFile, match="tokens, line 2"):
        tokens.verified(token)


def test_scraper_with_a_wrong_token_gets_401_and_no_login_page(page: Any, tokens: Tokens, users: Any) -> None:
    tokens.add("ci", Role.VIEWER, None)
    guarded = page(tokens=tokens, users=users)
    response = guarded.get("/", headers=_bearer("conveyor_wrong"))
    assert response.status_code == 401
    assert "unknown or has expired" in response.text
    assert guarded.get("/").status_code == 303
