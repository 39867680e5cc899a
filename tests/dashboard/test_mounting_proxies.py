"""The page behind a proxy, below a path that the proxy strips or keeps, and which of its headers are trusted."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from asgi_client import OWN

from conveyor import Queue
from conveyor.dashboard import Policy, create_dashboard, serve
from conveyor.dashboard.access.request import Proxies, under
from conveyor.dashboard.access.rights import Access, Role

from .mounting_kit import follow_all, links

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(__file__).parents[2] / "src" / "conveyor" / "dashboard"
PROXY, OTHER = "192.0.2.10", "192.0.2.99"
_ADDRESS = re.compile(r"""(?:href|action|src)="([^"]*)""")
_ASKED = re.compile(r"""(?:fetch|EventSource|location\.assign)\(\s*(\S+)""")


class Proxy:
    """Passes requests on to the page: strips its path or keeps it, with or without a header."""

    def __init__(self, app: Any, path: str, *, takes_off: bool, told: str = "") -> None:
        self._app = app
        self._path = path
        self._takes_off = takes_off
        self._told = [(b"x-forwarded-prefix", told.encode())] if told else []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith(self._path)
        path = scope["path"].removeprefix(self._path) if self._takes_off else scope["path"]
        await self._app({**scope, "path": path, "headers": [*scope["headers"], *self._told]}, receive, send)


class Visitor:
    """Calls an application within this process, from a given address."""

    def __init__(self, app: Any, peer: str) -> None:
        self._app = app
        self._peer = peer

    def get(self, address: str) -> httpx.Response:
        """Send a GET."""
        return self.ask("GET", address)

    def ask(self, method: str, address: str, **options: Any) -> httpx.Response:
        """Send one request."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, client=(self._peer, 50000))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, address, **options)

        return asyncio.run(send())


@pytest.fixture(scope="module")
def mail(servers: Any) -> Iterator[str]:
    """Provide the URL of a server with a job on the queue mail."""
    with servers.lend("redis-server") as server:
        Queue("mail", maxsize=10, store=server.client).put(1)
        yield server.url


@pytest.fixture(scope="module")
def visit(mail: str) -> Callable[..., Visitor]:
    """Return a function that visits the dashboard behind a proxy: `visit(takes_off=…, told=…, root=…)`."""
    everybody = Access.of("team", Role.ADMIN, "hook")
    policy = Policy(proxies=Proxies.of([PROXY]), resolve=lambda _: everybody)
    page = create_dashboard(mail, auth=policy)

    def made(path: str = "/ops/q", peer: str = PROXY, root: str = "", **proxy: Any) -> Visitor:
        app = Proxy(under(page, root), path, **proxy)
        return Visitor(app, peer)

    return made


@pytest.mark.parametrize("takes_off", [True, False])
@pytest.mark.parametrize(
    ("told", "root"),
    [("/ops/q", ""), ("/ops/q/", ""), ("", "/ops/q"), ("/ops/q", "/ops/q"), ("/ops", "/ops/q")],
)
def test_every_url_begins_with_the_prefix(
    visit: Callable[..., Visitor], told: str, root: str, *, takes_off: bool
) -> None:
    visitor = visit(told=told, root=root, takes_off=takes_off)
    for address in ("/ops/q", "/ops/q/", "/ops/q/queues/mail"):
        found = links(visitor.get(address).text)
        assert found
        assert [one for one in found if not one.startswith("/ops/q/")] == []
    written = visitor.ask("POST", "/ops/q/api/v1/queues/mail/pause", content="{}", headers=OWN)
    assert written.status_code == 200


def test_every_url_responds_behind_a_proxy(visit: Callable[..., Visitor]) -> None:
    assert "/ops/q/queues/mail" in follow_all(visit(told="/ops/q", takes_off=True), "/ops/q")


def test_prefix_precedes_the_path_of_the_application(visit: Callable[..., Visitor]) -> None:
    """As with a page that is mounted at /q in an application behind a proxy that takes /ops off."""
    visitor = visit(path="/ops", told="/ops", root="/q", takes_off=True)
    assert "/ops/q/queues/mail" in links(visitor.get("/ops/q/queues").text)


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (OTHER, "/ops/q"),
        ("127.0.0.1", "/ops/q"),
        (PROXY, "//evil.example"),
        (PROXY, "https://evil.example"),
        (PROXY, "/ops/../q"),
        (PROXY, "/ops/q, /other"),
        (PROXY, "/ops;q"),
        (PROXY, "ops/q"),
        (PROXY, "/ops\\q"),
        (PROXY, '/"><script>'),
        (PROXY, "/" + "x" * 200),
        (PROXY, "/"),
    ],
)
def test_invalid_or_unlisted_prefix_is_ignored(visit: Callable[..., Visitor], peer: str, told: str) -> None:
    text = visit(path="", peer=peer, told=told, takes_off=False).get("/queues").text
    assert "/queues/mail" in links(text)
    assert [word for word in ("evil", "/ops", "ops/q", "xxx", '"><script>') if word in text] == []


def test_forged_root_path_leads_to_no_other_site(visit: Callable[..., Visitor]) -> None:
    """Some applications mount below a part of the path that visitors choose."""
    visitor = visit(path="", root="//evil.example/a b;c", takes_off=False)
    found = links(visitor.get("http://localhost//evil.example/a%20b;c/queues").text)
    assert "/evil.example/a%20b%3Bc/queues/mail" in found
    assert [one for one in found if not one.startswith("/evil.example/a%20b%3Bc/")] == []


def test_command_serves_below_its_root_path(
    mail: str, start_python: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_URL", mail)
    code = (
        "import sys; sys.stderr = sys.stdout; from conveyor.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    process = start_python(code, "dashboard", "--port", "0", "--root-path", "ops/q")
    line = next(line for line in process.stdout if "The dashboard is at" in line)
    address = re.search(r"http://\S+", line)
    assert address
    assert address[0].endswith("/ops/q/")
    found = links(httpx.get(address[0]).text)
    assert [one for one in found if not one.startswith("/ops/q/")] == []
    assert httpx.get(address[0].removesuffix("ops/q/") + "queues").status_code == 200


def test_urls_in_templates_and_scripts_begin_with_the_root() -> None:
    """Check the sources for URLs that no visitor of these tests reaches."""
    good = ("{{ root }}", "{{ static }}/", "{{ form.action }}", "#")
    # Options of the palette have the root in them; reconnect.js asks for /readyz below the root, or for the page.
    asked = ("root", "`${root}", "option", "away")
    wrong, looked = [], 0
    for file in [*PACKAGE.glob("templates/*.html"), *PACKAGE.glob("static/*.js")]:
        pattern, begins = (_ADDRESS, good) if file.suffix == ".html" else (_ASKED, asked)
        for address in pattern.findall(file.read_text()):
            looked += 1
            if not address.startswith(begins):
                wrong.append(f"{file.name}: {address}")
    assert wrong == []
    assert looked > 50


def test_kept_connection_responds_without_delay(mail: str, quickest: Callable[..., float]) -> None:
    listening = serve.listen("127.0.0.1", 0)
    with serve.served(create_dashboard(mail), listening) as address, httpx.Client(base_url=address) as client:
        client.get("/healthz")

        def seconds() -> float:
            began = time.monotonic()
            assert {client.get("/healthz").status_code for _ in range(50)} == {200}
            return time.monotonic() - began

        assert quickest(seconds, 1.5) < 1.5  # it is two seconds with Nagle's delay
