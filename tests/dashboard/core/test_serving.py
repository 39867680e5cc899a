"""`conveyor dashboard` as a separate process: its output, its refusals, and its end."""

from __future__ import annotations

import re
import signal
import socket
from typing import Any

import httpx
import pytest

from ..asgi_client import OWN  # noqa: TID252 - test folders are no packages
from .core_kit import put

WITHOUT_STARLETTE = (
    "import sys\nsys.modules['starlette'] = None\nfrom conveyor.cli.main import main\nsys.exit(main())\n"
)


def test_dashboard_prints_its_url_and_serves_there(start: Any, one_server: Any) -> None:
    put(one_server, "video", 2)
    page = start()
    assert page.address == f"http://localhost:{page.port}/"
    assert "WARNING" not in page.said
    html = page.get().text
    assert "video: 2 jobs waiting, no workers." in html
    assert 'class="banner' not in html
    assert page.get("healthz").text == "ok\n"


def test_dashboard_connections_are_named_on_the_server(start: Any, one_server: Any) -> None:
    start().get()
    assert "conveyor-dashboard" in {client["name"] for client in one_server.raw.client_list()}


def test_port_in_use_is_refused(start: Any, run: Any) -> None:
    page = start()
    done = run("--port", page.port)
    assert done.returncode == 1
    assert f"port {page.port} is in use" in done.stderr
    assert f"choose another port: --port {page.port + 1}, or --port 0 for any free one" in done.stderr
    assert page.get("healthz").status_code == 200, "the first one goes on"


def test_other_addresses_require_a_login_with_three_ways_named(run: Any) -> None:
    done = run("--host", "0.0.0.0", "--port", 0)
    assert done.returncode == 2
    assert "no login is set up" in done.stderr
    words = " ".join(done.stderr.split())
    assert all(
        way in words
        for way in ("(1) listen on 127.0.0.1", "(2) set up a login", "(3) use --insecure-no-auth")
    )
    named = ("--users FILE", "--add-user NAME", "--tokens FILE", "--add-token NAME", "--allow-host NAME")
    assert all(option in words for option in named)
    manual = " ".join(run("--help").stdout.split())
    assert all(option.split()[0] in manual for option in named), "what is named is there"


def test_missing_login_is_warned_of_on_terminal_and_pages(start: Any) -> None:
    page = start("--insecure-no-auth")  # on loopback: tests are not to be reached from elsewhere
    assert "WARNING: no login is set up" in page.said
    for path in ("", "queues"):
        assert "anyone who can reach this URL can stop jobs" in page.get(path).text


def test_read_only_mode_is_shown_and_refuses_writes(start: Any, one_server: Any) -> None:
    queue = put(one_server, "video")
    page = start("--read-only")
    assert "Read only: this dashboard changes nothing." in page.get().text
    reply = httpx.post(f"{page.address}api/v1/queues/video/pause", headers=OWN, json={"reason": "test"})
    assert reply.status_code == 403
    assert not queue.count().paused
    other = start()
    reply = httpx.post(f"{other.address}api/v1/queues/video/pause", headers=OWN, json={"reason": "test"})
    assert reply.status_code == 200
    assert queue.count().paused


def test_exit_code_is_69_if_the_server_is_unavailable(run: Any) -> None:
    done = run("--port", 0, CONVEYOR_URL="redis://127.0.0.1:1")
    assert done.returncode == 69, done.stderr
    assert "no reply from the server at redis://127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_signal_ends_open_streams_and_then_the_process(number: int, code: int, start: Any) -> None:
    page = start()
    with (
        httpx.Client(base_url=page.address, timeout=20) as http,
        http.stream("GET", "api/v1/events") as reply,
    ):
        lines = reply.iter_lines()
        assert "event: pulse" in lines
        page.process.send_signal(number)
        assert "event: over" in lines, "the stream is told, so nothing is cut off"
    assert page.process.wait(20) == code
    assert "The dashboard is at" in page.said.splitlines()[-1], "it says nothing more"


def test_all_urls_begin_with_the_root_path(start: Any, eventually: Any) -> None:
    page = start("--root-path", "ops/q/")
    assert page.address.endswith("/ops/q/")
    with httpx.Client(base_url=f"http://localhost:{page.port}", timeout=20) as http:
        html = http.get("/ops/q/queues").text
        addresses = re.findall(r' (?:href|src|action)="(/[^"]*)"', html)
        assert len(addresses) > 5
        assert all(address.startswith("/ops/q/") for address in addresses)
        # A proxy may take the path off. Pages of two polls differ in their time.
        eventually(lambda: http.get("/queues").text == http.get("/ops/q/queues").text)


def test_missing_extra_is_reported_with_the_install_command(run: Any) -> None:
    done = run(code=WITHOUT_STARLETTE)
    assert done.returncode == 2
    assert 'the dashboard needs the extra "dashboard": starlette is not installed' in done.stderr
    assert 'pip install ".[dashboard]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_address_of_another_host_is_refused_by_name(run: Any) -> None:
    done = run("--host", "192.0.2.1", "--insecure-no-auth", "--port", 0)
    assert done.returncode == 1
    assert "cannot listen on 192.0.2.1:0" in done.stderr


def test_released_port_can_be_reused_immediately(start: Any, eventually: Any) -> None:
    page = start()
    page.get()
    page.process.send_signal(signal.SIGINT)
    page.process.wait(20)
    again = start("--port", page.port)  # the later one counts
    assert again.port == page.port
    with socket.create_connection(("127.0.0.1", page.port), timeout=20):
        pass
