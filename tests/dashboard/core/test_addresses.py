"""Paths of pages: each names a single page, and a page is cached under its own only."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from conveyor.dashboard import pages
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.rights import Access, Role
from conveyor.dashboard.access.security import SecurityMiddleware
from conveyor.dashboard.app import application
from conveyor.dashboard.page import PageRegistry

from ..asgi_client import ask_all  # noqa: TID252 - test folders are no packages
from .core_kit import put

BOOK = PageRegistry(pages.ALL)
ADA = Access.of("ada", Role.ADMIN)


@pytest.mark.parametrize(
    "disguised", ["/queues/mail%3Fspan=day", "/queues/mail%3Fspan%3Dday", "/queues/mail%23"]
)
def test_disguised_address_of_a_queue_is_not_its_page(disguised: str, one_server: Any) -> None:
    put(one_server, "mail", 3)
    policy = Policy(resolve=lambda _: ADA)
    site = SecurityMiddleware(application(one_server.client, policy), policy)
    seen, missing, watched = ask_all_in_turn(
        site,
        ("GET", "/queues/mail?span=day", {}),
        ("GET", disguised, {}),
        ("GET", f"/api/v1/snapshot?watch={disguised.replace('%', '%25')}", {}),
    )
    assert (seen.status_code, missing.status_code) == (200, 404)
    assert "3 jobs waiting" not in missing.text
    assert watched.json()["changed"] == []


def ask_all_in_turn(site: Any, *requests: tuple[str, str, dict[str, Any]]) -> list[Any]:
    return [ask_all(site, [request])[0] for request in requests]


@pytest.mark.parametrize(
    "address",
    [
        "/queues/mail",
        "/queues/mail/jobs/a:b.c-d",
        "/queues/mail/jobs/a%3Fb%3Dc",
        "/queues/mail/jobs/100%25?x=1",
        "/workers/%C3%BCber/1",
        "/jobs?queue=mail&state=dead",
    ],
)
def test_path_of_a_page_request_is_canonical(address: str) -> None:
    found = BOOK.find(address)
    assert found is not None
    assert found[1].address == address


def test_different_requests_have_different_paths() -> None:
    plain = BOOK.find("/queues/mail/jobs/a?b=c")
    odd = BOOK.find("/queues/mail/jobs/a%3Fb%3Dc")
    assert plain is not None
    assert odd is not None
    assert plain[1].address != odd[1].address


@pytest.mark.parametrize("name", ["a b", "-a", "a?b", "a%", "a" * 101, "ä"])
def test_invalid_queue_name_has_no_page(name: str) -> None:
    assert BOOK.find(f"/queues/{quote(name)}") is None
    assert BOOK.find(f"/queues/{quote(name)}/jobs/x") is None
