"""Pages that a viewer may open and watch: those that the API lets them read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from visitor_kit import Visitor, put

from conveyor.dashboard.access.rights import Access, Role

if TYPE_CHECKING:
    from collections.abc import Iterable

VIEWER = Access.of("vera", Role.VIEWER)
OPERATOR = Access.of("olga", Role.OPERATOR)


@pytest.fixture(autouse=True)
def queues(one_server: Any) -> None:
    """Set up two queues with jobs."""
    for name in ("mine", "secret"):
        put(one_server, name, 2)


def watched(visitor: Visitor, addresses: Iterable[str]) -> set[str]:
    """Return the paths whose versions are reported."""
    reply = visitor.get("/api/v1/snapshot", watch=list(addresses))
    return {one["address"] for one in reply.json()["changed"]}


def test_search_in_arguments_requires_the_right_to_inspect(one_server: Any) -> None:
    found = ["/jobs?text=n", "/jobs?queue=mine&text=n"]
    viewer, operator = Visitor(one_server.url, VIEWER), Visitor(one_server.url, OPERATOR)
    for address in found:
        viewer.see(address, 403)
        operator.see(address)
    assert watched(viewer, [*found, "/jobs"]) == {"/jobs"}
    assert watched(operator, found) == set(found)


def test_enqueue_form_is_linked_for_operators_only(one_server: Any) -> None:
    visitor = Visitor(one_server.url, OPERATOR)
    assert 'href="/enqueue"' in visitor.see("/")
    assert 'href="/enqueue?queue=mine"' in visitor.see("/jobs?queue=mine")
    for address in ("/enqueue", "/enqueue?queue=mine"):
        visitor.see(address)
    assert "/enqueue" not in Visitor(one_server.url, VIEWER).see("/jobs")
