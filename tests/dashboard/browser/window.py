"""A browser window on the page: a fresh profile, whose console is watched."""

from __future__ import annotations

import contextlib
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Error, expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

#: Milliseconds that the tests wait for something to be seen; machines are busy.
PATIENCE = 15_000


class Window:
    """A profile of the browser with a page open, and more on request."""

    def __init__(self, browser: Browser, address: str, options: dict[str, Any]) -> None:
        settings = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light", **options}
        self.address = address
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(PATIENCE)
        self.forgiven: list[str] = []
        """Texts of errors on the console that the test brings about."""
        self._said: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        """Open another tab."""
        page = self.context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._said.append(f"{page.url}: {error}"))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._said.append(f"{message.location.get('url', '')}: {message.text}")

    def errors(self) -> list[str]:
        """Return the unexpected errors of the console."""
        return [one for one in self._said if not any(re.search(text, one) for text in self.forgiven)]

    def go(self, path: str = "/", *, live: bool = True) -> Page:
        """Go to a path, and wait until the page is live and current.

        A queue may be younger than the dashboard's last poll: then the page reloads itself, which is no error.
        """
        response = self.page.goto(self.address + path)
        if (
            response
            and response.status == HTTPStatus.NOT_FOUND
            and self.page.get_by_text("opens automatically").count()
        ):
            self.forgiven.append("status of 404")
        if live:
            self.is_live()
            self.is_current()
        return self.page

    def is_live(self, page: Page | None = None) -> None:
        """Wait until the page shows that it is live."""
        expect((page or self.page).locator(".live")).to_have_attribute(
            "data-live-state", re.compile("live|slowed")
        )

    def is_current(self) -> None:
        """Wait until the page shows what the dashboard knows now; as it was served, it may be older than its numbers.

        Then it may have rows of the test before, which had the same server.
        """
        shown = self.page.locator("#main").get_attribute("data-address")
        api = f"{self.address}/api/v1/snapshot"
        latest = self.context.request.get(api, params={"watch": shown or ""}).json()
        at = latest["pulse"]["at"]
        for one in latest["changed"]:
            self.comes_true(
                "(({ version, at }) => "
                f"version === '{one['version']}' || Number(at) >= {at})(document.getElementById('main').dataset)"
            )

    def comes_true(self, expression: str, page: Page | None = None) -> Any:
        """Wait until a JavaScript expression is true, and return it. The page's own policy forbids waiting in it."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not (fact := (page or self.page).evaluate(expression)):
            assert time.monotonic() < deadline, expression
            (page or self.page).wait_for_timeout(20)
        return fact

    def skip(self, milliseconds: int, expression: str) -> None:
        """Advance the page's clock by so much at a time until a JavaScript expression is true.

        The clock must have been installed before the page was opened. Between two steps the page gets its replies.
        """
        deadline = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.clock.fast_forward(milliseconds)
            self.page.wait_for_timeout(300)

    def say_yes(self, reason: str = "", typed: str = "") -> None:
        """Confirm the open dialog by mouse."""
        dialog = self.page.locator("#confirm")
        expect(dialog).to_be_visible()
        if typed:
            dialog.locator("#confirm-typed").fill(typed)
        if reason:
            dialog.locator("#confirm-reason").fill(reason)
        dialog.locator("#confirm-yes").click()
        expect(dialog).to_be_hidden()

    def close(self) -> None:
        """Close the window. Chromium may never answer if that happens just as a page begins to load: that is ended."""
        for page in self.context.pages:
            with contextlib.suppress(Error):
                page.goto("about:blank")
        self.context.close()

    def toast(self, text: str | re.Pattern[str]) -> Locator:
        """Wait for a short message with this text."""
        found = self.page.locator(".toast").filter(has_text=text).first
        expect(found).to_be_visible()
        return found

    def requests(self, page: Page | None = None) -> list[Request]:
        """Return the list to which every request of the page is added from now on."""
        made: list[Request] = []
        (page or self.page).on("request", lambda request: made.append(request))  # noqa: PLW0108 - Playwright wants a function
        return made

    def is_in_the_audit(self, act: str, target: str, reason: str) -> None:
        """Go to the audit trail, and check that an action is in it with its reason."""
        self.page.goto(f"{self.address}/audit")
        row = self.page.locator("tbody tr").filter(has_text=reason).filter(has_text=target)
        expect(row.first).to_contain_text(act)
