"""A page that moves to another path than it was opened at stays live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Route

    from conveyor import Queue

    from .window import Window


def test_page_that_moves_to_another_path_is_updated_there(
    window: Callable[..., Window], queue: Queue
) -> None:
    queue.put("first")
    there = f"/jobs?queue={queue.name}&state=waiting"

    def move(route: Route) -> None:
        """Reply with the part as if it were that of another path."""
        reply = route.fetch()
        wanted = f'data-address="{there.replace("&", "&amp;")}"'
        body = reply.text().replace('data-address="/jobs?state=waiting"', wanted)
        route.fulfill(response=reply, body=body)

    view = window()
    page, second = view.page, view.tab()
    for tab in (page, second):
        tab.goto(f"{view.address}/jobs?state=waiting")
        view.is_live(tab)
    view.context.route("**/jobs?state=waiting", move)
    for count in (2, 3):
        queue.put(count)
        for tab in (page, second):
            expect(tab.locator("main tbody tr")).to_have_count(count)
            expect(tab.locator("#main")).to_have_attribute("data-address", there)
