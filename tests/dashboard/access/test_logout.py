"""A user who has logged in can log out there, by mouse and by keyboard, with and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import PASSWORD, ask
from playwright.sync_api import expect

from conveyor import Queue
from conveyor.dashboard import Policy, create_dashboard

from ..mounting_kit import by_uvicorn  # noqa: TID252 - test folders are no packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


@pytest.fixture
def address(one_server: Any, users: Any) -> Iterator[str]:
    """Serve the page with a login."""
    Queue("mail", store=one_server.client).put("job")
    app = create_dashboard(one_server.url, auth=Policy(users=users))
    with by_uvicorn(app, ws="none", proxy_headers=False, lifespan="off") as port:
        yield f"http://localhost:{port}"


def logged_in(page: Page, address: str) -> None:
    page.goto(f"{address}/queues/mail")
    page.get_by_label("Name").fill("otto")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("otto · operator")).to_be_visible()


def test_logout_is_not_offered_without_a_session(one_server: Any, users: Any) -> None:
    assert "Log out" not in ask(create_dashboard(one_server.url), "GET", "/").text
    guarded = create_dashboard(one_server.url, auth=Policy(users=users))
    assert "Log out" not in ask(guarded, "GET", "/", auth=("otto", PASSWORD)).text


@pytest.mark.parametrize("how", ["mouse", "keyboard", "mouse, without scripts"])
def test_logout_leads_to_the_login_page(how: str, address: str, chromium: Browser) -> None:
    scripts = "without" not in how
    with chromium.new_context(java_script_enabled=scripts, viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        logged_in(page, address)
        before: Any = context.cookies()
        button = page.get_by_role("button", name="Log out")
        if how != "keyboard":
            button.click()
        else:
            page.locator(".foot").click(position={"x": 1, "y": 1})
            page.keyboard.press("Tab")
            expect(button).to_be_focused()
            page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert context.cookies() == []
        page.goto(f"{address}/queues/mail")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        context.add_cookies(before)
        page.goto(f"{address}/queues/mail")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()  # the session itself is over
