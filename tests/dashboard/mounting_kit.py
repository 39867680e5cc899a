"""Hosts for the page: the recipes of docs/mounting.md, on real servers, and a visitor who follows every link."""

from __future__ import annotations

import re
import socketserver
import threading
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from wsgiref import simple_server

import uvicorn
from asgi_client import FORM, PASSWORD
from werkzeug.serving import WSGIRequestHandler, make_server

from conveyor.dashboard import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

PAGE = Path(__file__).parents[2] / "docs" / "mounting.md"
_IMPORTED = re.compile(r"""from ["'](\./[\w./-]+)["']""")
_LINKS = {"href", "action", "src"}


def recipe(heading: str, prefix: str = "/ops/q") -> Any:
    """Run the Python block below a heading of the page with another prefix, and return its application."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(block[1].replace('"/ops/q"', f'"{prefix}"'), names)
    return names["application"] if "application" in names else names["app"]


@contextmanager
def by_uvicorn(app: Any, **options: Any) -> Iterator[int]:
    """Serve an ASGI application on a free port as its framework does, and yield the port."""
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    with serve.listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def by_werkzeug(app: Any) -> Iterator[int]:
    """Serve a WSGI application the way `flask run` does."""
    with _in_a_thread(make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)) as port:
        yield port


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the parent's word
        """Log nothing."""


class _Threads(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


class _Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's word
        """Log nothing."""


@contextmanager
def by_wsgiref(app: Any) -> Iterator[int]:
    """Serve a WSGI application the way `manage.py runserver` does, without the client's port."""
    with _in_a_thread(simple_server.make_server("127.0.0.1", 0, app, _Threads, _Quiet)) as port:
        yield port


@contextmanager
def _in_a_thread(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


def log_in(client: Any, prefix: str, onwards: str = "/queues") -> httpx.Response:
    """Send the login form."""
    data = {"name": "ada", "password": PASSWORD, "next": onwards}
    reply: httpx.Response = client.post(f"{prefix}/login", data=data, headers=FORM, follow_redirects=False)
    return reply


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if dict(attrs).get("method") != "post":  # logging out is not to be followed
            self.found += [value or "" for name, value in attrs if name in _LINKS]


def links(html: str) -> list[str]:
    """Return every URL in a page: links, forms, styles, scripts and images, but no fragments."""
    parser = _Links()
    parser.feed(html)
    return [one for one in parser.found if not one.startswith("#")]


def follow_all(client: Any, prefix: str) -> dict[str, str]:
    """Follow every link from the overview on, which must begin with the prefix and work; return path and kind."""
    todo, seen = {f"{prefix}/": "the visitor"}, {}
    while todo:
        address, source = todo.popitem()
        reply = client.get(address)
        assert reply.status_code == 200, f"{address}, from {source}: {reply.status_code}"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"], f"{address} is not ours"
        kind = reply.headers["content-type"].partition(";")[0]
        seen[address] = kind
        found = links(reply.text) if kind == "text/html" else []
        for one in found:
            assert one.startswith(f"{prefix}/"), f"{one}, in {address}"
        if kind == "text/javascript" and "/vendor/" not in address:
            found = [
                urlsplit(urljoin(f"http://x{address}", one)).path for one in _IMPORTED.findall(reply.text)
            ]
        todo |= {one: address for one in (link.partition("#")[0] for link in found) if one not in seen}
    return seen
