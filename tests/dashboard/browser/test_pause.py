"""Updates are paused together, in all tabs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from conveyor import Queue

    from .kit import Dashboard
    from .window import Window

#: Seconds in which three pulses would arrive.
THREE_PULSES = 3.3
WAITING = ".tiles [data-n=waiting]"


def nothing_happens(view: Window, pages: list[Page], queue: Queue, seconds: float = THREE_PULSES) -> None:
    """Put jobs for a time, and check that no page polls or shows anything."""
    asked = [view.requests(page) for page in pages]
    before = [page.locator("body").inner_text() for page in pages]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        queue.put("more")
        pages[0].wait_for_timeout(100)
    assert asked == [[] for _ in pages]
    assert [page.locator("body").inner_text() for page in pages] == before


def test_pause_freezes_all_tabs_and_survives_a_reload(
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
