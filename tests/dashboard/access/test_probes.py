"""Probes may check the process without a login, and learn no more than its state."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_client import OWN, ask

from conveyor.dashboard import Policy, create_dashboard

PROBES = ("/healthz", "/readyz")


@pytest.fixture
def guard(one_server: Any, users: Any) -> Any:
    """Return the dashboard with a login."""
    return create_dashboard(one_server.url, auth=Policy(users=users))


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probe_needs_no_login_and_is_open_to_any_host(guard: Any, path: str, method: str) -> None:
    by_address = {"host": "10.1.2.3:9181"}
    response = ask(guard, method, path, headers=by_address, peer="192.0.2.1")
    assert response.status_code == 200
    assert response.text == ("ok\n" if method == "GET" else "")
    assert response.headers["cache-control"] == "no-store"


def test_readiness_probe_reports_only_an_unavailable_server(guard: Any, one_server: Any) -> None:
    one_server.stop()
    try:
        response = ask(guard, "GET", "/readyz", peer="192.0.2.1")
        assert (response.status_code, response.text) == (503, "the server is unavailable\n")
        assert ask(guard, "GET", "/healthz", peer="192.0.2.1").status_code == 200
    finally:
        one_server.start()


@pytest.mark.parametrize("path", [*PROBES, "/metrics", "/readyz/x", "/healthz/"])
def test_probe_rules_open_no_other_path(guard: Any, path: str) -> None:
    response = ask(guard, "POST", path, headers=OWN, content="{}", peer="192.0.2.1")
    assert response.status_code == 401
    if path not in PROBES:
        status = 401 if path == "/metrics" else 303  # a scraper follows no login
        assert ask(guard, "GET", path, peer="192.0.2.1").status_code == status
        assert ask(guard, "GET", path, headers={"host": "10.1.2.3"}).status_code == 421


@pytest.mark.parametrize("path", PROBES)
def test_probe_with_a_body_is_refused(guard: Any, path: str) -> None:
    assert ask(guard, "GET", path, content="{}").status_code == 400
