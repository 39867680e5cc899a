"""Access rights are checked on the server, at every request."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from asgi_client import OWN

from conveyor.dashboard.access.rights import ALL_RIGHTS, Access, Role
from conveyor.dashboard.access.security import allowed

from .guarded_page import code_of

RIGHT_NAMES = ("look", "inspect", "act", "kill", "purge")
TABLE = {
    "vera": {"look"},
    "otto": {"look", "inspect", "act"},
    "ada": {"look", "inspect", "act", "kill", "purge"},
}


@pytest.mark.parametrize(("name", "right"), list(itertools.product(TABLE, RIGHT_NAMES)))
def test_role_has_exactly_the_rights_of_the_table(page: Any, users: Any, name: str, right: str) -> None:
    guarded = page(users=users)
    response = guarded.post(f"/api/do/{right}", headers=OWN, content="{}", cookies=_session(guarded, name))
    may = right in TABLE[name]
    assert (response.status_code, guarded.done) == ((200, [right]) if may else (403, []))


def test_missing_right_is_named(page: Any, users: Any) -> None:
    guarded = page(users=users)
    cookies = _session(guarded, "vera")
    response = guarded.post("/api/do/kill", headers=OWN, content="{}", cookies=cookies)
    assert code_of(response) == "forbidden"
    assert "“kill”" in response.json()["detail"]


def test_missing_right_is_shown_to_a_person_as_a_page(page: Any, users: Any) -> None:
    guarded = page(users=users)
    response = guarded.get("/do/kill", cookies=_session(guarded, "vera"))
    assert response.status_code == 403
    assert response.headers["content-type"].startswith("text/html")
    assert "“kill”" in response.text


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"read_only": True}, {"look", "inspect"}),
        ({"no_kill": True}, {"look", "inspect", "act", "purge"}),
        ({"read_only": True, "no_kill": True}, {"look", "inspect"}),
        ({}, ALL_RIGHTS),
    ],
)
def test_read_only_and_no_kill_apply_to_every_user(
    page: Any, settings: dict[str, bool], left: set[str]
) -> None:
    guarded = page(**settings)
    for right in RIGHT_NAMES:
        guarded.post(f"/api/do/{right}", headers=OWN, content="{}")
    assert set(guarded.done) == left


def test_hook_may_be_asynchronous_and_return_none(page: Any) -> None:
    async def resolve(scope: Any) -> Access | None:
        known = (b"x-person", b"kim") in scope["headers"]
        return Access.of("kim", Role.VIEWER) if known else None

    guarded = page(resolve=resolve)
    assert guarded.get("/api/who", headers={"x-person": "kim"}).json() == ["kim", "viewer", "hook"]
    assert guarded.get("/api/who").status_code == 401


def test_rights_of_a_hook_are_limited_by_read_only(page: Any) -> None:
    access = Access("kim", Role.ADMIN, ALL_RIGHTS)
    guarded = page(resolve=lambda _scope: access, read_only=True)
    for right in RIGHT_NAMES:
        guarded.post(f"/api/do/{right}", headers=OWN, content="{}")
    assert set(guarded.done) == {"look", "inspect"}


def test_failing_hook_admits_no_one(page: Any) -> None:
    def resolve(_scope: Any) -> Access | None:
        raise KeyError

    guarded = page(resolve=resolve)
    assert guarded.post("/api/do/act", headers=OWN, content="{}").status_code == 500
    assert guarded.done == []


def test_no_right_is_granted_without_an_access() -> None:
    with pytest.raises(Exception, match="“look”"):
        allowed({"type": "http"}, "look")


def _session(guarded: Any, name: str) -> dict[str, str]:
    response = guarded.log_in(name)
    assert response.status_code == 303
    return dict(response.cookies.items())
