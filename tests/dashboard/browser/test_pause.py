"""Updates are paused all at once, and the tabs of one browser share one stream."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import httpx
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from conveyor import Queue

    from .kit import Dashboard
    from .window import Window

#: Seconds in which three pulses would come.
THREE_PULSES = 3.3
WAITING = ".tiles [data-n=waiting]"


def streams(dashboard: Dashboard) -> int:
    """Give how many streams the page's process has open."""
    text = httpx.get(f"{dashboard.address}/metrics").text
    found = re.search(r"^conveyor_dashboard_streams(?:\{.*\})? (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


def nothing_happens(view: Window, pages: list[Page], queue: Queue, seconds: float = THREE_PULSES) -> None:
    """Put jobs for a time, and look that no page asks or shows anything."""
    asked = [view.requests(page) for page in pages]
    before = [page.locator("body").inner_text() for page in pages]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        queue.put("more")
        pages[0].wait_for_timeout(100)
    assert asked == [[] for _ in pages]
    assert [page.locator("body").inner_text() for page in pages] == before


def test_pause_pauses_everything_in_all_tabs_and_over_a_reload(
    window: Callable[..., Window], queue: Queue, dashboard: Dashboard
) -> None:
    queue.put("first")
    view = window()
    address = f"/queues/{queue.name}"
    first = view.go(address)
    second = view.tab()
    second.goto(dashboard.address + address)
    view.is_live(second)
    for page in (first, second):
        expect(page.locator(WAITING)).to_have_text("1")

    first.locator("#pause").click()
    for page in (first, second):
        expect(page.locator("#live-words")).to_have_text("paused")
        expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#said")).to_have_text("Updates: paused")  # a while after it is shown
    nothing_happens(view, [first, second], queue)

    first.reload()
    expect(first.locator("#live-words")).to_have_text("paused")
    nothing_happens(view, [first, second], queue, seconds=1.2)

    second.keyboard.press("p")
    for page in (first, second):
        view.is_live(page)
        expect(page.locator(WAITING)).to_have_text(f"{queue.qsize():,}")
    queue.put("and one more")
    for page in (first, second):
        expect(page.locator(WAITING)).to_have_text(f"{queue.qsize():,}")


def test_ten_tabs_share_one_stream_and_still_navigate(
    window: Callable[..., Window], queue: Queue, dashboard: Dashboard, eventually: Callable[..., Any]
) -> None:
    queue.put("first")
    view = window()
    tabs = [view.page, *(view.tab() for _ in range(9))]
    for tab in tabs:
        tab.goto(f"{dashboard.address}/queues/{queue.name}")
    for tab in tabs:
        view.is_live(tab)
        tab.goto(dashboard.address + "/queues", timeout=5000)
        view.is_live(tab)
    eventually(lambda: streams(dashboard) == 1)
    queue.put_many(range(4))
    for tab in tabs:
        expect(tab.locator(f"tr[data-queue={queue.name}] [data-n=waiting]")).to_have_text("5")
    assert streams(dashboard) == 1

    tabs.pop(0).close()  # the one that had the stream, most likely
    queue.put("another")
    for tab in tabs:
        expect(tab.locator(f"tr[data-queue={queue.name}] [data-n=waiting]")).to_have_text("6")
    eventually(lambda: streams(dashboard) == 1)


def test_a_tab_that_is_hidden_for_long_lets_go(
    window: Callable[..., Window], queue: Queue, dashboard: Dashboard, eventually: Callable[..., Any]
) -> None:
    queue.put("first")
    view = window()
    view.page.clock.install()
    page = view.go("/queues")
    page.clock.resume()
    eventually(lambda: streams(dashboard) == 1)
    hide(page, hidden=True)
    page.clock.fast_forward(29_000)
    assert streams(dashboard) == 1
    page.clock.fast_forward(2_000)
    eventually(lambda: streams(dashboard) == 0)
    queue.put("second")
    hide(page, hidden=False)
    expect(page.locator(f"tr[data-queue={queue.name}] [data-n=waiting]")).to_have_text("2")
    eventually(lambda: streams(dashboard) == 1)


def hide(page: Page, *, hidden: bool) -> None:
    """Tell a page that it is hidden, or that it is seen again."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )
