"""Bodies have a limit, announced or not, and an excess never reaches the page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import FORM, OWN

from conveyor.dashboard.access import rules
from conveyor.dashboard.access.policy import BODY_LIMIT

from .guarded_page import code_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def _pieces(size: int, count: int, taken: list[int]) -> AsyncIterator[bytes]:
    for _ in range(count):
        taken.append(size)
        yield b" " * size


def test_largest_allowed_body_is_accepted(page: Any) -> None:
    guarded = page()
    assert len(guarded.post("/api/echo", headers=OWN, content=b" " * BODY_LIMIT).content) == BODY_LIMIT
    content = _pieces(BODY_LIMIT // 4, 4, [])
    assert len(guarded.post("/api/echo", headers=OWN, content=content).content) == BODY_LIMIT


def test_body_above_the_limit_is_refused(page: Any) -> None:
    guarded = page()
    response = guarded.post("/api/echo", headers=OWN, content=b" " * (BODY_LIMIT + 1))
    assert (response.status_code, code_of(response)) == (413, "too-large")
    assert guarded.done == []


@pytest.mark.parametrize("told", [{}, {"content-length": "10"}, {"content-length": "-1"}])
def test_chunked_body_is_cut_off_at_the_limit(page: Any, told: dict[str, str]) -> None:
    """The announced length does not matter; a thousand times the limit is not read to its end."""
    guarded, taken = page(), list[int]()
    headers = {**OWN, **told}
    response = guarded.post("/api/echo", headers=headers, content=_pieces(BODY_LIMIT // 2, 2000, taken))
    assert response.status_code == 413
    assert guarded.done == []
    assert len(taken) <= 4


def test_content_length_above_the_limit_is_refused_unread(page: Any) -> None:
    guarded, taken = page(), list[int]()
    for length in (BODY_LIMIT + 1, 10**30):
        headers = {**OWN, "content-length": str(length)}
        assert guarded.post("/api/echo", headers=headers, content=_pieces(1, 1, taken)).status_code == 413
    assert taken == []


def test_body_of_an_unknown_caller_is_not_read(page: Any) -> None:
    guarded, taken = page(), list[int]()
    content = _pieces(1000, 1000, taken)
    response = guarded.post("/api/echo", headers=OWN, content=content, peer="192.0.2.1")
    assert (response.status_code, taken) == (401, [])


def test_login_form_has_a_separate_limit(page: Any, users: Any) -> None:
    data = {"name": "ada", "password": "x" * 10_000}
    assert page(users=users).post("/login", data=data, headers=FORM).status_code == 413
    many = "&".join(f"a{number}=1" for number in range(100))
    assert page(users=users).post("/login", content=many, headers=FORM).status_code == 400
    assert page(users=users).post("/login", content=b"name=\xff\xfe", headers=FORM).status_code == 400


def test_get_with_a_body_is_refused(page: Any) -> None:
    assert page().ask("GET", "/api/echo", content=b"x").status_code == 400
    assert page().ask("GET", "/api/echo", content=_pieces(1, 1, [])).status_code == 400
    assert page().ask("GET", "/api/echo", headers={"content-length": "0"}).status_code == 200


def test_stalled_body_is_not_waited_for(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BODY_TIMEOUT", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    guarded = page()
    response = guarded.post("/api/echo", headers=OWN, content=slow())
    assert (response.status_code, code_of(response), guarded.done) == (408, "no-body", [])
