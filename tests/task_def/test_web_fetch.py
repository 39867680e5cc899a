"""Fetching a page from an untrusted site."""

from __future__ import annotations

import gzip
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from conveyor.task_def import web_fetch
from conveyor.task_def.web_fetch import FetchedPage, Fetcher, FetchError, FetchLimits

if TYPE_CHECKING:
    from conftest import Site, Visitor

PIECE = b"x" * (1 << 16)


def fetch(
    url: str, *, allow_private: bool = True, bytes_per_page: int = 5_000_000, seconds: float = 30.0
) -> FetchedPage:
    with Fetcher(FetchLimits(bytes_per_page, seconds, allow_private)) as fetcher:
        return fetcher.fetch(url)


def test_page_is_fetched_unchanged(site: Site) -> None:
    site.page("/a?b=c", "body")
    page = fetch(f"{site.url}a?b=c#part")
    assert (page.url, page.status, page.cut) == (f"{site.url}a?b=c", 200, False)
    assert b"body" in page.body


def test_compressed_page_is_decompressed(site: Site) -> None:
    site.answers["/"] = lambda visitor: visitor.say(
        gzip.compress(b"<p>hello" * 1000), Content_Encoding="gzip"
    )
    assert fetch(site.url).body == b"<p>hello" * 1000


def test_page_of_a_gigabyte_is_stopped_at_the_limit(site: Site) -> None:
    sent = 0

    def endless(visitor: Visitor) -> None:
        nonlocal sent
        visitor.send_response(200)
        visitor.send_header("Content-Type", "text/html")
        visitor.send_header("Content-Length", str(1 << 30))
        visitor.end_headers()
        while sent < 1 << 30:
            visitor.wfile.write(PIECE)
            sent += len(PIECE)

    site.answers["/"] = endless
    page = fetch(site.url, bytes_per_page=1_000_000)
    assert (page.cut, len(page.body)) == (True, 1_000_000)
    assert sent < 100_000_000


def test_decompressed_page_of_a_gigabyte_is_stopped_at_the_limit(site: Site) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    site.answers["/"] = lambda visitor: visitor.say(bomb, Content_Encoding="gzip")
    page = fetch(site.url, bytes_per_page=1_000_000)
    assert (page.cut, len(page.body)) == (True, 1_000_000)


def test_unrequested_compression_is_refused(site: Site) -> None:
    twice = gzip.compress(gzip.compress(b"x"))
    site.answers["/"] = lambda visitor: visitor.say(twice, Content_Encoding="gzip, gzip")
    with pytest.raises(FetchError, match="unrequested encoding"):
        fetch(site.url)


def test_site_that_trickles_bytes_is_abandoned(site: Site) -> None:
    left = threading.Event()

    def slow(visitor: Visitor) -> None:
        visitor.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        try:
            while not left.wait(0.02):
                visitor.wfile.write(b"x")
                visitor.wfile.flush()
        except OSError:
            return

    site.answers["/"] = slow
    try:
        with pytest.raises(FetchError, match=r"timed out|longer than 0\.5 seconds"):
            fetch(site.url, seconds=0.5)
    finally:
        left.set()


def test_redirects_are_followed_to_the_page(site: Site) -> None:
    site.redirect("/", "/second")
    site.redirect("/second", "third")
    site.page("/third", "here")
    assert fetch(site.url).url == f"{site.url}third"


def test_redirect_loop_is_reported(site: Site) -> None:
    site.redirect("/a", "/b")
    site.redirect("/b", "/a")
    with pytest.raises(FetchError, match="loop back to"):
        fetch(f"{site.url}a")
    assert site.asked == ["/a", "/b"]


def test_endless_redirects_are_stopped(site: Site) -> None:
    for number in range(50):
        site.redirect(f"/{number}", f"/{number + 1}")
    with pytest.raises(FetchError, match="more than 10 times"):
        fetch(f"{site.url}0")
    assert len(site.asked) == 11


@pytest.mark.parametrize(
    "target",
    [
        *["http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/"],
        *["file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "ftp://127.0.0.1/", "javascript:alert(1)"],
    ],
)
def test_redirect_to_a_forbidden_url_is_not_followed(site: Site, target: str) -> None:
    site.redirect("/", target)
    with pytest.raises(FetchError):
        fetch(site.url)


@pytest.mark.parametrize(
    "url",
    [
        *[
            "file:///etc/passwd",
            "gopher://localhost/",
            "ftp://localhost/",
            "localhost",
            "//localhost/",
            "http://",
            "",
        ],
        *["http://[::1", "http://local host/", "http://x:99999999/", "data:text/html,x", "\0"],
    ],
)
def test_invalid_page_url_is_refused(url: str) -> None:
    with pytest.raises(FetchError):
        fetch(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ],
)
def test_local_host_gets_no_request_unless_allowed(
    site: Site, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_fetch, "PUBLIC_PORTS", {site.server_port})
    with pytest.raises(FetchError, match=r"private address|never fetched|invalid URL"):
        fetch(f"http://{host}:{site.server_port}/", allow_private=False)
    assert site.asked == []


def test_name_that_resolves_differently_later_has_no_effect(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to the checked address; the name is not resolved again."""
    asked = []

    def rebinding(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    site.page("/", "here")
    monkeypatch.setattr(web_fetch.socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(web_fetch.httpcore.SyncBackend, "connect_tcp", connect_to_number)
    assert fetch(f"http://rebind.example:{site.server_port}/").status == 200
    assert asked == ["rebind.example"]


def connect_to_number(
    self: web_fetch.httpcore.SyncBackend, host: str, port: int, timeout: float | None, *_: object
) -> web_fetch.httpcore.NetworkStream:
    """Connect without looking up anything, as only a number can be."""
    connection = socket.socket()
    connection.settimeout(timeout)
    connection.connect((socket.inet_ntoa(socket.inet_aton(host)), port))
    return web_fetch.httpcore._backends.sync.SyncStream(connection)


def test_proxies_of_the_environment_are_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    site.page("/")
    assert fetch(site.url).status == 200


def test_unreachable_site_is_reported() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(FetchError, match=rf"http://127\.0\.0\.1:{port}/ cannot be reached"):
            fetch(f"http://127.0.0.1:{port}/")


def test_site_of_another_protocol_is_reported(site: Site) -> None:
    def other(visitor: Visitor) -> None:
        visitor.wfile.write(b"SSH-2.0-x\r\n")
        visitor.close_connection = True

    site.answers["/"] = other
    with pytest.raises(FetchError, match="cannot be reached"):
        fetch(site.url)
