"""A request for every endpoint, about a queue `alpha` and a job of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.dashboard.api import ENDPOINTS

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import Endpoint

QUERIES = {"/jobs": "?queue=alpha", "/statistics": "?queue=alpha", "/audit": "?queue=alpha"}
BODIES: dict[str, dict[str, Any]] = {
    "/queues/{queue}/bound": {"maxsize": 1000},
    "/jobs/{id}/signal": {"name": "go", "value": [1, 2]},
    "/jobs": {"task": "greet", "arguments": {"name": "Bob"}},
    "/workers/tell": {"verb": "pause", "targets": ["nobody-ab12/1"]},
    "/operations": {"kind": "retry", "queue": "alpha"},
    "/tasks/{name}/preview": {"arguments": {"name": "Bob"}},
}


def example(one: Endpoint, job: str, operation: str) -> tuple[str, dict[str, Any] | None]:
    """Return path and body of a request that fits an endpoint."""
    place = operation if one.path.startswith("/operations") else job
    path = one.path.replace("{queue}", "alpha").replace("{name}", "greet").replace("{id}", place)
    if one.method == "GET":
        return path + QUERIES.get(one.path, ""), None
    body = BODIES.get(one.path, {})
    return path, {**body, "reason": "a test"} if one.path != "/tasks/{name}/preview" else body


def names() -> list[str]:
    """Return all endpoints as strings."""
    return [f"{one.method} {one.path}" for one in ENDPOINTS]
