"""Pages about queues and workers: small, fast, only for permitted users, and foreign text has no effect."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from conveyor import Queue
from conveyor.dashboard.access.rights import Access, Role
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import commands
from conveyor.store.commands import PutParams, Settlement
from conveyor.wire.audit_entry import Matching
from conveyor.wire.outcome import Note, encode

from .visitor_kit import LARGEST, Visitor, pages_from, put, report, tell, worker

SLOWEST = 0.3
ALL = ("/queues", "/queues/video", "/workers", "/workers/rack-0001/2", "/operations", "/audit", "/system")
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</td></tr></table><h1>x</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "&lt;b&gt;\u202e\x00",
)


@pytest.fixture
def visitor(one_server: Any) -> Visitor:
    """Return an administrator."""
    return Visitor(one_server.url)


class Tags(HTMLParser):
    """The elements of a page, with the names of their attributes, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))


def test_five_hundred_workers_fit_into_pages_once_each(one_server: Any, visitor: Visitor) -> None:
    put(one_server)
    crews = [
        report(f"rack{number // 10}-{number:04x}", 10, host=f"rack{number // 10}") for number in range(50)
    ]
    tell(one_server, *crews)
    wanted = {one.name for crew in crews for one in crew.workers}
    seen: list[str] = []
    for html in pages_from(visitor, "/workers"):
        seen += re.findall(r'<tr data-row data-target="([^"]+)"', html)
    assert len(seen) == 500
    assert set(seen) == wanted
    for address in ("/queues", "/queues/video", "/workers", "/system", "/workers/rack0-0001/2"):
        took = []
        for turn in range(3):
            began = time.perf_counter()
            assert len(visitor.see(f"{address}?turn={turn}").encode()) <= LARGEST
            took.append(time.perf_counter() - began)
        assert min(took) < SLOWEST, address


def test_system_page_needs_only_the_documented_rights(one_server: Any) -> None:
    guide = (
        "resetchannels ~conveyor:* +@read +@write +@connection -@dangerous +evalsha +script|load +time +info"
    )
    one_server.raw.execute_command("ACL", "SETUSER", "few", "on", ">secret", *guide.split())
    try:
        visitor = Visitor(f"unix://few:secret@{one_server.socket}")
        put(one_server)
        for address in ("/queues", "/queues/video", "/workers", "/operations", "/audit", "/system"):
            visitor.see(address)
    finally:
        one_server.raw.execute_command("ACL", "DELUSER", "few")


def test_viewer_sees_no_buttons_and_no_arguments(one_server: Any) -> None:
    viewer = Visitor(one_server.url, Access.of("vera", Role.VIEWER))
    put(one_server, "video", 3)
    tell(one_server, report())
    Actions(one_server.client, Actor("anna", "here")).begin("purge", "video")
    for address in ALL:
        html = viewer.see(address, 403 if address == "/audit" else 200)
        inner = html.partition("<main")[2].partition("</main>")[0]
        assert not re.findall(r"data-(act|tell|queue-act|limit)=", inner), address
        assert "&#39;n&#39;" not in inner


def nasty_facts(server: Any, text: str) -> None:
    """Put a text in every place where people and programs can put one."""
    server.raw.flushall()
    server.client.run(commands.note_queue("video"))
    put(server, "video", 2)
    crew = [worker("rack-0001/1", task=text, message=text), worker("rack-0001/2", task=text, message=text)]
    tell(server, report(host=text, workers=crew, version=text, python=text, queues=["video", text]))
    actions = Actions(server.client, Actor(text, text))
    actions.pause_queue("video", text)
    actions.begin("cancel", "video", Matching(task=text, group=text), text)
    note = Note("old1", text, text, 1.5, "rack-0001/2", 1, time.time(), 0.1, text)
    batch = server.client.run(commands.put("video", [("j1", text.encode())], PutParams()))
    assert batch
    Queue("video", store=server.client).resume()
    taken = server.client.run(commands.claim("video", "w", "n", 1, 60))
    settled = Settlement(taken.jobs[0].id, b"x", 60, encode(note))
    server.client.run(commands.finish("video", taken.token, [settled]))


@pytest.mark.parametrize("nasty", NASTY)
def test_foreign_text_becomes_no_element_or_attribute(one_server: Any, nasty: str) -> None:
    found = []
    for text in (nasty, "x" * len(nasty)):
        nasty_facts(one_server, text)
        visitor = Visitor(one_server.url)
        found.append([(address, Tags(visitor.see(address)).found) for address in ALL])
    for (address, with_nasty), (_, with_harmless) in zip(*found, strict=True):
        assert with_nasty == with_harmless, address


@pytest.mark.parametrize("nasty", [*NASTY, "", "%", "-1", "9" * 30, "0-0-0", "\U0001f600", "a" * 1500])
def test_any_filter_value_is_handled(one_server: Any, visitor: Visitor, nasty: str) -> None:
    put(one_server)
    tell(one_server, report())
    Actions(one_server.client, Actor("anna", "here")).pause_queue("video")
    names = ("name", "after", "queue", "host", "state", "first", "before", "action", "who")
    for address in ALL:
        reply = visitor.get(address, **dict.fromkeys(names, nasty))
        assert reply.status_code == 200, (address, reply.text[:300])
        assert not set(Tags(reply.text).found) & {("script",), ("img", "src", "onerror"), ("svg", "onload")}
    for path in ("/queues/", "/workers/rack-0001/", "/workers/", "/operations/"):
        assert visitor.get(path + quote(nasty, safe="")).status_code < 500


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), float("-inf"), 1e308, 1e300, -1e300, -1.0, 1e18]
)
def test_any_reported_number_is_handled(one_server: Any, visitor: Visitor, number: float) -> None:
    put(one_server)
    odd = [
        worker("rack-0001/1", done=number, total=number, cpu=number, busy_for=number),
        worker("rack-0001/2", done=1.0, total=number),
        worker("rack-0001/3", done=number, total=1e-308),
    ]
    tell(one_server, report(workers=odd, started=number, at=number))
    for address in ALL:
        visitor.see(address)
