"""Errors of the page itself, and paths without a route, get the dashboard's own error page."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from asgi_client import OWN, ask

from conveyor.dashboard import create_dashboard, pages
from conveyor.dashboard.page import Page

from ..mounting_kit import by_uvicorn  # noqa: TID252 - test folders are no packages
from .guarded_page import code_of

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "the password of the inside"


def _raise(*_: Any) -> NoReturn:
    raise RuntimeError(SECRET)


@pytest.fixture
def broken(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the dashboard with a page and an endpoint that raise."""
    monkeypatch.setattr(pages, "ALL", (*pages.ALL, Page("broken", "/broken", "Broken", _raise)))
    monkeypatch.setattr("conveyor.dashboard.api.endpoint.ApiContext.snapshot", _raise)
    return create_dashboard(one_server.url)


def test_page_error_is_explained_to_a_person_with_advice(broken: Any) -> None:
    response = ask(broken, "GET", "/broken")
    assert response.status_code == 500
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert "<h1>Something went wrong in the dashboard</h1>" in response.text
    assert "The log of the process that serves it has the traceback" in response.text
    assert "Try again, or report it with that traceback" in response.text
    assert 'href="/"' in response.text
    assert SECRET not in response.text
    assert "RuntimeError" not in response.text
    assert ask(broken, "GET", "/").status_code == 200, "the other pages are none the worse"


def test_endpoint_error_is_a_problem_document_for_programs(broken: Any) -> None:
    response = ask(broken, "GET", "/api/v1/queues")
    assert (response.status_code, code_of(response)) == (500, "fault")
    assert response.json()["hint"].startswith("try again")
    assert SECRET not in response.text


def test_error_is_logged_once_with_its_traceback(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    ask(broken, "GET", "/broken")
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.name == "conveyor.dashboard"
    assert record.getMessage() == "error while responding to GET '/broken'"
    assert record.exc_info
    assert str(record.exc_info[1]) == SECRET


@pytest.fixture
def said(one_server: Any) -> Any:
    """Send a request line to the served page, and return status, type and body of the response."""
    with by_uvicorn(create_dashboard(one_server.url), lifespan="off") as port:

        def say(line: str) -> tuple[str, str, str]:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(
                    f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
                )
                head, _, body = connection.makefile("rb").read().decode().partition("\r\n\r\n")
            kind = next(one for one in head.lower().split("\r\n") if one.startswith("content-type: "))
            return head.split()[1], kind.removeprefix("content-type: "), body

        yield say


@pytest.mark.parametrize(
    "path", ["/jobs/%0d%0aa", "/%0Aqueues", "http://localhost/queues", "/queues/a/b/c/d"]
)
def test_unknown_page_path_gets_the_error_page_of_the_dashboard(path: str, said: Callable[..., Any]) -> None:
    status, kind, body = said(f"GET {path}")
    assert (status, kind) == ("404", "text/html; charset=utf-8")
    assert "There is no such page" in body
    assert "To the overview" in body


@pytest.mark.parametrize("path", ["/api/v1/jobs/%0a", "/api/v1/%0a", "/api/%0a", "/api/v2/jobs", "/api"])
def test_unknown_endpoint_path_gets_a_problem_document(path: str, said: Callable[..., Any]) -> None:
    status, kind, body = said(f"GET {path}")
    assert (status, kind) == ("404", "application/problem+json"), body


def test_unsupported_method_of_a_page_is_refused_with_advice(one_server: Any) -> None:
    response = ask(create_dashboard(one_server.url), "POST", "/queues", headers=OWN, content="{}")
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert "There is nothing here for POST." in response.text
    assert "Read pages with GET" in response.text
