"""Pages that limited users may open and watch: the same as the API allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from crew_kit import Visitor, put

from conveyor.dashboard.access.rights import RIGHTS, Access, Role

if TYPE_CHECKING:
    from collections.abc import Iterable

VIEWER = Access.of("vera", Role.VIEWER)
OPERATOR = Access("olga", Role.OPERATOR, RIGHTS[Role.OPERATOR], frozenset({"mine"}))
WITHOUT = Access("ada", Role.ADMIN, RIGHTS[Role.ADMIN], on={"secret": frozenset()})
HIDDEN = (
    "/jobs?queue=secret",
    "/failures?queue=secret",
    "/workers?queue=secret",
    "/enqueue?queue=secret",
    "/queues/secret/jobs/x",
    "/jobs/x?queue=secret",
)


@pytest.fixture(autouse=True)
def queues(one_server: Any) -> None:
    """Set up two queues with jobs."""
    for name in ("mine", "secret"):
        put(one_server, name, 2)


def watched(visitor: Visitor, addresses: Iterable[str]) -> set[str]:
    """Return the paths whose versions are reported."""
    reply = visitor.get("/api/v1/snapshot", watch=list(addresses))
    return {one["address"] for one in reply.json()["changed"]}


@pytest.mark.parametrize("access", [OPERATOR, WITHOUT], ids=["some", "all but one"])
def test_hidden_queue_can_be_neither_filtered_for_nor_watched(one_server: Any, access: Access) -> None:
    visitor = Visitor(one_server.url, access)
    for address in HIDDEN:
        visitor.see(address, 403)
    assert watched(visitor, [*HIDDEN, "/jobs?queue=mine"]) == {"/jobs?queue=mine"}


def test_search_in_arguments_requires_the_right_to_inspect(one_server: Any) -> None:
    found = ["/jobs?text=n", "/jobs?queue=mine&text=n"]
    viewer, operator = Visitor(one_server.url, VIEWER), Visitor(one_server.url, OPERATOR)
    for address in found:
        viewer.see(address, 403)
        operator.see(address)
    assert watched(viewer, [*found, "/jobs"]) == {"/jobs"}
    assert watched(operator, found) == set(found)


def test_user_with_rights_on_a_queue_is_led_to_the_form(one_server: Any) -> None:
    visitor = Visitor(one_server.url, OPERATOR)
    assert 'href="/enqueue"' in visitor.see("/")
    assert 'href="/enqueue?queue=mine"' in visitor.see("/jobs?queue=mine")
    for address in ("/enqueue", "/enqueue?queue=mine"):
        visitor.see(address)
    assert "/enqueue" not in Visitor(one_server.url, VIEWER).see("/jobs")


def test_audit_trail_of_a_queue_requires_the_right_to_inspect(one_server: Any) -> None:
    visitor = Visitor(one_server.url, OPERATOR)
    assert 'href="/audit"' not in visitor.see("/")
    for query, status in (("", 403), ("?queue=secret", 403), ("?queue=mine", 200)):
        visitor.see(f"/audit{query}", status)
        assert visitor.get(f"/api/v1/audit{query}").status_code == status
