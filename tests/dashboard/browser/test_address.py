"""A page that goes on at another address than it was opened at stays live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue

    from .window import Window


def test_a_list_that_chose_its_queue_later_goes_on_being_brought_up_to_date(
    window: Callable[..., Window], queue: Queue
) -> None:
    view = window()
    page = view.go("/jobs?state=waiting")
    second = view.tab()
    second.goto(f"{view.address}/jobs?state=waiting")
    view.is_live(second)
    for count in range(1, 4):
        queue.put(count)
        for tab in (page, second):
            expect(tab.locator("main tbody tr")).to_have_count(count)
    expect(page.locator("#main")).to_have_attribute("data-address", f"/jobs?queue={queue.name}&state=waiting")
