"""The page in other frameworks' applications and behind proxies, at any path, by the recipes of its manual."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from asgi_client import FORM, OWN, PASSWORD
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from conveyor import Queue
from conveyor.dashboard import create_dashboard, pages
from conveyor.dashboard.access.users import hashed

from .mounting_kit import (
    by_uvicorn,
    by_werkzeug,
    by_wsgiref,
    follow_all,
    links,
    log_in,
    recipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

SERVERS = {
    "FastAPI": by_uvicorn,
    "Starlette": by_uvicorn,
    "Django, ASGI": by_uvicorn,
    "Flask": by_werkzeug,
    "Django, WSGI": by_wsgiref,
}
WSGI = ("Flask", "Django, WSGI")
PREFIXES = ("", "/ops/q")


class Host(NamedTuple):
    """A recipe that is served; the client is logged in."""

    name: str
    prefix: str
    address: str
    client: httpx.Client


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a users file with ada, an admin."""
    file = tmp_path_factory.mktemp("people") / "users"
    file.touch(0o600)
    file.write_text(f"ada:admin:{hashed(PASSWORD)}\n")
    return file


@pytest.fixture(scope="module")
def environment(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Set up the environment of the recipes: a login, and a Django site."""
    folder = tmp_path_factory.mktemp("django")
    (folder / "mysite").mkdir()
    settings = "SECRET_KEY = 'x' * 50\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'mysite.urls'\n"
    (folder / "mysite" / "settings.py").write_text(settings)
    hello = "from django.http import HttpResponse\nfrom django.urls import path\n"
    urls = "urlpatterns = [path('hello', lambda request: HttpResponse('hello'))]\n"
    (folder / "mysite" / "urls.py").write_text(hello + urls)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("CONVEYOR_DASHBOARD_USERS", str(people))
        yield patch


@pytest.fixture(scope="module")
def mail(servers: Any, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """Provide the URL of a server with three jobs on the queue mail."""
    with servers.lend("redis-server") as server:
        environment.setenv("CONVEYOR_URL", server.url)
        queue = Queue("mail", maxsize=10, store=server.client)
        for number in range(3):
            queue.put(number)
        yield server.url


@pytest.fixture(
    scope="module",
    params=[(name, prefix) for name in SERVERS for prefix in PREFIXES],
    ids=lambda param: f"{param[0]} at {param[1] or '/'}",
)
def host(request: pytest.FixtureRequest, mail: str) -> Iterator[Host]:
    """Serve the recipes in turn, at each path in turn."""
    name, prefix = request.param
    with (
        SERVERS[name](recipe(name, prefix)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        assert log_in(client, prefix).status_code == 303
        yield Host(name, prefix, f"http://127.0.0.1:{port}", client)


def test_all_pages_and_their_links_respond(host: Host) -> None:
    seen = follow_all(host.client, host.prefix)
    assert {f"{host.prefix}{page.path}" for page in pages.ALL if page.menu} <= seen.keys()
    assert {"text/html", "text/javascript", "text/css", "image/svg+xml"} <= set(seen.values())
    assert f"{host.prefix}/queues/mail" in seen


def test_root_responds_without_a_trailing_slash(host: Host) -> None:
    reply = host.client.get(host.prefix or "/", follow_redirects=True)
    assert reply.status_code == 200
    assert "Overview" in reply.text


def test_write_is_accepted_only_from_the_dashboard_itself(host: Host, eventually: Callable[..., Any]) -> None:
    def told(action: str, **headers: str) -> int:
        content = {"content-type": "application/json"}
        address = f"{host.prefix}/api/v1/queues/mail/{action}"
        return host.client.post(address, content="{}", headers={**content, **headers}).status_code

    def is_paused() -> bool:
        return bool(host.client.get(f"{host.prefix}/api/v1/queues/mail").json()["paused"])

    evil = [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {},
    ]
    assert [told("pause", **one) for one in evil] == [403] * 4
    assert not is_paused()
    assert told("pause", **{"sec-fetch-site": "same-origin"}) == 200
    eventually(is_paused)
    assert told("resume", origin=host.address) == 200
    eventually(lambda: not is_paused())


def test_login_and_cookie_stay_within_the_path(host: Host) -> None:
    with httpx.Client(base_url=host.address, timeout=20) as stranger:
        wanted = stranger.get(f"{host.prefix}/queues?text=a")
        assert wanted.headers["location"] == f"{host.prefix}/login?next=%2Fqueues%3Ftext%3Da"
        form = stranger.get(wanted.headers["location"])
        assert {one for one in links(form.text) if not one.startswith(f"{host.prefix}/")} == set()
        reply = log_in(stranger, host.prefix, "/queues?text=a")
        assert (reply.status_code, reply.headers["location"]) == (303, f"{host.prefix}/queues?text=a")
        assert f"; Path={host.prefix or '/'};" in reply.headers["set-cookie"]
        assert stranger.get(reply.headers["location"]).status_code == 200
        reply = stranger.post(f"{host.prefix}/logout", headers=FORM)
        assert (reply.status_code, reply.headers["location"]) == (303, f"{host.prefix}/login")
        assert stranger.get(f"{host.prefix}/queues").status_code == 303


def test_open_page_streams_or_polls(host: Host, eventually: Callable[..., Any]) -> None:
    began = time.monotonic()
    if host.name in WSGI:
        assert host.client.get(f"{host.prefix}/api/v1/events?watch=/queues").status_code == 503
        assert time.monotonic() - began < 15
    else:
        assert _first_pulse(host.client, host.prefix)["waiting"] == 3
        assert time.monotonic() - began < 15
    shows_that_it_polls = 'data-streams="no"' in host.client.get(f"{host.prefix}/queues").text
    assert shows_that_it_polls is (host.name in WSGI)
    body = host.client.get(f"{host.prefix}/api/v1/snapshot?watch=/queues").json()
    assert body["pulse"]["waiting"] == 3
    assert [one["address"] for one in body["changed"]] == ["/queues"]
    eventually(lambda: "conveyor-poller" not in {thread.name for thread in threading.enumerate()})


def _first_pulse(client: httpx.Client, prefix: str) -> Any:
    with client.stream("GET", f"{prefix}/api/v1/events?watch=/queues") as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        for line in lines:
            if line == "event: pulse":
                return httpx.Response(200, text=next(lines).removeprefix("data: ")).json()
    pytest.fail("the stream ended without a pulse")


@pytest.mark.parametrize("name", ["Django, ASGI", "Django, WSGI"])
def test_rest_of_the_site_belongs_to_the_host_application(mail: str, name: str) -> None:
    with SERVERS[name](recipe(name)) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/hello").text == "hello"
        assert httpx.get(f"http://127.0.0.1:{port}/ops/queue").status_code == 404


def test_middlewares_and_docs_of_the_host_cause_no_errors(mail: str, eventually: Callable[..., Any]) -> None:
    async def passing(request: Request, call_next: Any) -> Response:
        request.state.seen = True
        response: Response = await call_next(request)
        response.headers["x-host"] = "passed"
        return response

    app = FastAPI()
    app.mount("/ops/q", create_dashboard())
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app.add_middleware(GZipMiddleware)
    with by_uvicorn(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        assert [client.get(path).status_code for path in ("/docs", "/openapi.json")] == [200, 200]
        assert log_in(client, "/ops/q").headers["x-host"] == "passed"
        page = client.get("/ops/q/queues")
        assert "mail" in page.text
        assert page.headers["content-encoding"] == "gzip"
        began = time.monotonic()
        assert _first_pulse(client, "/ops/q")["waiting"] == 3
        assert time.monotonic() - began < 15
        eventually(lambda: "conveyor-poller" not in {thread.name for thread in threading.enumerate()})
        assert client.post("/ops/q/api/v1/queues/mail/resume", content="{}", headers=OWN).status_code == 200


def test_two_servers_in_the_same_site_are_separate(
    mail: str, servers: Any, environment: pytest.MonkeyPatch
) -> None:
    with servers.lend("valkey-server") as other:
        Queue("video", maxsize=10, store=other.client).put(1)
        environment.setenv("MAIL_URL", mail)
        environment.setenv("VIDEO_URL", other.url)
        with (
            by_uvicorn(recipe("Several servers")) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
        ):
            replies = [log_in(client, prefix) for prefix in ("/ops/mail", "/ops/video")]
            names = {reply.headers["set-cookie"].partition("=")[0] for reply in replies}
            assert len(names) == 2
            queues = [client.get(f"/ops/{name}/api/v1/queues").json()["queues"] for name in ("mail", "video")]
            assert [[one["name"] for one in found] for found in queues] == [["mail"], ["video"]]
            assert [
                client.post(f"/ops/{name}/api/v1/queues/{name}/resume", content="{}", headers=OWN).status_code
                for name in ("mail", "video")
            ] == [200, 403]
            assert _first_pulse(client, "/ops/mail")["queues"].keys() == {"mail"}
            assert _first_pulse(client, "/ops/video")["queues"].keys() == {"video"}
            session = client.cookies.get(next(name for name in names if name in str(replies[0].headers)))
            stolen = {name: str(session) for name in names}
            assert httpx.get(f"http://127.0.0.1:{port}/ops/video/queues", cookies=stolen).status_code == 303


@pytest.mark.parametrize("path", ["/ops/q", "/site/ops/q"])
def test_root_path_of_the_application_precedes_the_mount_path(mail: str, path: str) -> None:
    """The proxy strips /site, or keeps it; the application names it itself, or its server does."""
    app = FastAPI()
    app.mount("/ops/q", create_dashboard())

    async def told(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/site"}, receive, send)

    with by_uvicorn(told) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        form = client.get(f"{path}/login")
        assert form.status_code == 200
        assert [one for one in links(form.text) if not one.startswith("/site/ops/q/")] == []
        assert log_in(client, path).headers["location"] == "/site/ops/q/queues"


def test_nested_dashboard_has_a_separate_login(mail: str) -> None:
    app = FastAPI()
    app.mount("/ops/q", create_dashboard())
    app.mount("/ops", create_dashboard())
    with by_uvicorn(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        for prefix in ("/ops", "/ops/q"):
            assert log_in(client, prefix).status_code == 303
        assert [client.get(f"{prefix}/queues").status_code for prefix in ("/ops", "/ops/q")] == [200, 200]
