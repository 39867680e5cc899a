"""A mounted page in a browser: it is live where it can be, polls where it cannot, and stays separate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from conveyor import Queue

from .mounting_kit import by_uvicorn, by_werkzeug, recipe

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def browser(chromium: Browser) -> Iterator[BrowserContext]:
    """Provide a browser and fail the test on any error of a script or a response."""
    faults: list[str] = []
    context = chromium.new_context()
    context.on("weberror", lambda error: faults.append(str(error.error)))
    context.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    yield context
    context.close()
    assert faults == []


def state(page: Page) -> Any:
    """Return the icon that shows how live the page is."""
    return page.locator("[data-live-state]")


def test_wsgi_dashboard_polls_and_opens_no_stream(
    browser: BrowserContext, one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_URL", one_server.url)
    queue = Queue("mail", maxsize=10, store=one_server.client)
    queue.put(1)
    asked: list[str] = []
    with by_werkzeug(recipe("Flask")) as port:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/ops/q/queues")
        expect(state(page)).to_have_attribute("data-live-state", "live")
        queue.put(2)
        waiting = page.locator("[data-queue=mail] [data-n=waiting]")
        expect(waiting).to_have_text("2")  # asked every five seconds
        page.close()
    assert any("/ops/q/api/v1/snapshot" in url for url in asked)
    assert [url for url in asked if "events" in url or "/ops/q/" not in url] == []


def test_two_dashboards_in_a_site_are_live_and_paused_separately(
    browser: BrowserContext, servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.lend("redis-server") as one, servers.lend("valkey-server") as other:
        monkeypatch.setenv("MAIL_URL", one.url)
        monkeypatch.setenv("VIDEO_URL", other.url)
        queues = [Queue("mail", store=one.client), Queue("mail", store=other.client)]
        for queue in queues:
            queue.put(1)
        with by_uvicorn(recipe("Several servers")) as port:
            pages = [browser.new_page(), browser.new_page()]
            for page, name in zip(pages, ("mail", "video"), strict=True):
                page.goto(f"http://127.0.0.1:{port}/ops/{name}/queues")
                expect(state(page)).to_have_attribute("data-live-state", "live")
            pages[0].locator("#pause").click()
            expect(state(pages[0])).to_have_attribute("data-live-state", "paused")
            queues[1].put(2)
            waiting = [page.locator("[data-queue=mail] [data-n=waiting]") for page in pages]
            expect(waiting[1]).to_have_text("2")
            expect(state(pages[1])).to_have_attribute("data-live-state", "live")
            pages[0].locator("#pause").click()
            expect(state(pages[0])).to_have_attribute("data-live-state", "live")
            expect(waiting[0]).to_have_text("1")
            for page in pages:
                page.close()
