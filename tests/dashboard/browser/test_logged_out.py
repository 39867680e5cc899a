"""A user whose session has ended is notified, and led to the login and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from conveyor.dashboard.access.users import hashed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from conveyor import Queue

    from .kit import Dashboard
    from .window import Window

PASSWORD = "correct horse"
REFUSED = "status of 401|Failed to load resource|net::ERR"


@pytest.fixture(scope="module")
def people() -> str:
    """Return the users file with Ada; the hash of a password takes 0.2 s by design."""
    return f"ada:admin:{hashed(PASSWORD)}\n"


@pytest.fixture
def own(serve: Callable[..., Dashboard], tmp_path: Path, people: str) -> Dashboard:
    """Return a dashboard process with a login for Ada."""
    users = tmp_path / "users"
    users.touch(0o600)
    users.write_text(people)
    return serve("--users", str(users))


@pytest.fixture
def view(window: Callable[..., Window], own: Dashboard, queue: Queue) -> Window:
    """Return a window on the page of a queue in which Ada is logged in."""
    queue.put("first")
    view = window(address=own.address)
    view.forgiven.append(REFUSED)
    view.page.goto(f"{own.address}/queues/{queue.name}")
    log_in(view.page)
    view.is_live()
    expect(view.page.locator("h1")).to_contain_text(queue.name)
    return view


def log_in(page: Page) -> None:
    """Fill in the form."""
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def is_told(page: Page, queue: Queue) -> None:
    """Wait until a page reports the ended session, and check that it still shows its content."""
    expect(page.get_by_role("alert").filter(has_text="You are logged out")).to_be_visible()
    expect(page.locator("#live-words")).to_have_text("logged out")
    expect(page.locator("h1")).to_contain_text(queue.name)
    expect(page.locator("main")).not_to_contain_text("Password")


def test_ended_session_is_reported_in_all_tabs_until_a_login(view: Window, queue: Queue) -> None:
    first, second = view.page, view.tab()
    second.goto(first.url)
    view.is_live(second)
    view.context.clear_cookies()
    queue.pause()  # the part that shows it is asked for, and refused
    for tab in (first, second):
        is_told(tab, queue)
    asked = view.requests(first)
    queue.put("second")
    first.wait_for_timeout(2500)
    assert asked == []

    second.get_by_role("link", name="Log in").click()
    log_in(second)
    expect(second.locator("h1")).to_contain_text(queue.name)
    for tab in (second, first):
        view.is_live(tab)
        expect(tab.locator("h1 .state")).to_have_text(re.compile("paused"))
        expect(tab.locator("#notice")).to_be_hidden()


def test_refused_stream_is_not_requested_forever(view: Window, queue: Queue, own: Dashboard) -> None:
    view.context.clear_cookies()
    own.end()
    expect(view.page.locator("#live-words")).to_have_text("reconnecting")
    own.restart()
    is_told(view.page, queue)
    expect(view.page.locator("#trouble")).to_be_hidden()


def test_refused_action_is_reported(view: Window, queue: Queue) -> None:
    view.context.clear_cookies()
    view.page.get_by_role("button", name="Pause", exact=True).click()
    view.say_yes()
    is_told(view.page, queue)
    assert not queue.count().paused
