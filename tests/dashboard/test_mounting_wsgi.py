"""What WSGI servers leave out or put in, and its effect on the page."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from conveyor.dashboard import Policy
from conveyor.dashboard.wsgi import create_wsgi_dashboard

from .mounting_kit import by_werkzeug, by_wsgiref


@pytest.mark.parametrize("serve", [by_werkzeug, by_wsgiref])
def test_wsgi_dashboard_knows_local_callers_and_trusts_no_proxy(one_server: Any, serve: Any) -> None:
    with serve(create_wsgi_dashboard(one_server.url, auth=Policy())) as port:
        address = f"http://127.0.0.1:{port}/queues"
        assert httpx.get(address).status_code == 200
        assert httpx.get(address, headers={"x-forwarded-for": "192.0.2.1"}).status_code == 401
        assert httpx.get(address, headers={"x-forwarded-prefix": "/ops"}).status_code == 401


def test_wsgi_dashboard_loaded_before_a_fork_works_after_it(one_server: Any, forked: Any) -> None:
    page = create_wsgi_dashboard(one_server.url, auth=Policy())
    assert _status(page) == "200 OK"
    assert forked(lambda: _status(page)) == "200 OK"


def _status(app: Any) -> str:
    told: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/healthz",
        "CONTENT_LENGTH": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": None,
    }
    list(app(environ, lambda status, *_: told.append(status)))
    return told[0]
