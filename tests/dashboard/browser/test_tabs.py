"""The tabs of a browser share a stream, and hidden tabs hold none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import expect

from .kit import OTHER_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Request

    from conveyor import Queue

    from .kit import Dashboard
    from .window import Window


def streams(dashboard: Dashboard) -> int:
    """Return the number of streams the dashboard process has open."""
    # Without TLS, whose certificates take time to load.
    text = httpx.get(f"{dashboard.address}/metrics", verify=False).text
    found = re.search(r"^conveyor_dashboard_streams(?:\{.*\})? (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


@pytest.fixture(params=["localhost", OTHER_NAME])
def at(request: pytest.FixtureRequest, serve: Callable[..., Dashboard]) -> tuple[Dashboard, str]:
    """Return a dashboard process and its URL: one with the browser's locks, one with a name without them."""
    own = serve("--allow-host", OTHER_NAME)
    return own, f"http://{request.param}:{own.port}"


class Tabs:
    """Tabs of a browser, all on the page of a queue or on the list of queues."""

    def __init__(self, view: Window, queue: Queue, count: int) -> None:
        self.view = view
        self.queue = queue
        view.forgiven.append("Cross-Origin-Opener-Policy header has been ignored")
        self.asked: list[Page] = []
        """Which tab opened a stream, the last one last."""
        view.context.on("request", self._note)
        self.all = [view.page, *(view.tab() for _ in range(count - 1))]
        for tab in self.all:  # together, as when a browser restores the tabs of yesterday
            tab.goto(f"{view.address}/queues/{queue.name}", wait_until="commit")

    def _note(self, request: Request) -> None:
        if "/api/v1/events" in request.url:
            self.asked.append(request.frame.page)

    @property
    def leader(self) -> Page:
        """The tab with the stream."""
        return self.asked[-1]

    def see(self, waiting: int) -> None:
        """Wait until every tab shows how many jobs wait."""
        for tab in self.all:
            number = tab.locator(f"[data-queue={self.queue.name}] [data-n=waiting]").first
            expect(number).to_have_text(str(waiting))


def test_ten_tabs_share_a_stream_and_can_navigate(
    window: Callable[..., Window], queue: Queue, at: tuple[Dashboard, str], eventually: Callable[..., Any]
) -> None:
    dashboard, address = at
    queue.put("first")
    view = window(address=address)
    tabs = Tabs(view, queue, 10)
    assert view.page.evaluate("'locks' in navigator") is (OTHER_NAME not in address)
    for tab in tabs.all:
        view.is_live(tab)
    follower = next(tab for tab in tabs.all if tab is not tabs.leader)
    for tab in dict.fromkeys((tabs.leader, follower, tabs.all[-1])):
        tab.goto(address + "/queues", timeout=10_000)
        view.is_live(tab)
    eventually(lambda: streams(dashboard) == 1)
    queue.put_many(range(4))
    tabs.see(5)
    assert streams(dashboard) == 1

    for count in (6, 7):
        leader = tabs.leader
        tabs.all.remove(leader)
        leader.close()
        queue.put("another")
        tabs.see(count)
        assert tabs.leader is not leader
        eventually(lambda: streams(dashboard) == 1)


@pytest.mark.parametrize("at", [OTHER_NAME], indirect=True)
def test_another_tab_takes_over_from_a_hung_tab(
    window: Callable[..., Window], queue: Queue, at: tuple[Dashboard, str], eventually: Callable[..., Any]
) -> None:
    dashboard, address = at
    queue.put("first")
    tabs = Tabs(window(address=address), queue, 3)
    for tab in tabs.all:
        tabs.view.is_live(tab)
    eventually(lambda: streams(dashboard) == 1)
    hangs = tabs.leader
    hangs.evaluate("setTimeout(() => { for (;;); })")
    tabs.all.remove(hangs)
    eventually(lambda: tabs.leader is not hangs or tabs.all[0].wait_for_timeout(50))
    queue.put("second")
    tabs.see(2)
    hangs.close()
    eventually(lambda: streams(dashboard) == 1)


def test_hidden_tabs_hold_no_stream(
    window: Callable[..., Window], queue: Queue, at: tuple[Dashboard, str], eventually: Callable[..., Any]
) -> None:
    dashboard, address = at
    queue.put("first")
    view = window(address=address)
    view.context.clock.install()
    tabs = Tabs(view, queue, 3)
    for tab in tabs.all:
        tab.clock.resume()
        view.is_live(tab)
    eventually(lambda: streams(dashboard) == 1)
    for tab in tabs.all:
        hide(tab, hidden=True)
    tabs.all[0].clock.fast_forward(29_000)
    assert streams(dashboard) == 1
    for tab in tabs.all:
        tab.clock.fast_forward(31_000)
    eventually(lambda: streams(dashboard) == 0)

    queue.put("second")
    hide(tabs.all[-1], hidden=False)
    expect(tabs.all[-1].locator("[data-n=waiting]").first).to_have_text("2")
    assert tabs.leader is tabs.all[-1]
    eventually(lambda: streams(dashboard) == 1)
    for tab in tabs.all:
        hide(tab, hidden=False)
    tabs.see(2)
    eventually(lambda: streams(dashboard) == 1)


def hide(page: Page, *, hidden: bool) -> None:
    """Set the visibility of a page."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def test_late_tab_learns_of_idle_queues(
    window: Callable[..., Window], queue: Queue, at: tuple[Dashboard, str]
) -> None:
    _, address = at
    queue.put("first")
    tabs = Tabs(window(address=address), queue, 2)
    for tab in tabs.all:
        tabs.view.is_live(tab)
    late = next(tab for tab in tabs.all if tab is not tabs.leader)
    late.evaluate(
        "for (const one of document.querySelectorAll('[data-n=waiting]')) one.textContent = 'of an older page'"
    )
    tabs.see(1)
