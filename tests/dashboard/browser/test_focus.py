"""Focus, input and selection of the user survive changes of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import report
from playwright.sync_api import expect

from .typist import Typist

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from conveyor import Queue

    from .window import Window


class Reporter:
    """A running job whose page changes on the test's request."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.path = path
        self.lines = 0
        self.morphs = 0
        page.on("response", self._count)

    def _count(self, response: Any) -> None:
        if response.request.headers.get("conveyor-part") and response.status == 200:
            self.morphs += 1

    def say(self) -> str:
        """Make the job log another line and report progress."""
        self.lines += 1
        with self.path.open("a") as file:
            file.write(f"line {self.lines}\n")
        return f"line {self.lines}"

    def change(self, times: int = 1) -> None:
        """Make the page change and be patched `times` times."""
        for _ in range(times):
            before = self.morphs
            expect(self.page.locator("#progress")).to_contain_text(self.say())
            assert self.morphs > before


@pytest.fixture
def view(window: Callable[..., Window]) -> Window:
    return window()


@pytest.fixture
def reporter(view: Window, queue: Queue, consume: Callable[..., Any], path: Path) -> Reporter:
    """Return a running job with its page open."""
    consume(queue.name)
    job = queue.submit(report, str(path))
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    expect(page.locator("#progress")).to_be_visible()
    return Reporter(page, path)


def test_button_keeps_the_focus_while_the_page_changes(reporter: Reporter) -> None:
    page = reporter.page
    cancel = page.locator(".job-head").get_by_role("button", name="Cancel")
    typist = Typist(page)
    typist.tab_to(cancel)
    reporter.change(2)
    expect(cancel).to_be_focused()
    assert typist.focus()["shown"]


def test_open_dialog_and_its_input_survive_updates(reporter: Reporter) -> None:
    page = reporter.page
    cancel = page.locator(".job-head").get_by_role("button", name="Cancel")
    cancel.click()
    page.keyboard.type("half a rea")
    said = reporter.say()
    expect(page.locator("#log-lines li").last).to_contain_text(said)
    expect(page.locator("#confirm")).to_be_visible()
    page.keyboard.type("son")
    expect(page.locator("#confirm-reason")).to_have_value("half a reason")
    page.keyboard.press("Escape")
    expect(cancel).to_be_focused()
    expect(page.locator("#progress")).to_contain_text(said)
    reporter.change()
    expect(cancel).to_be_focused()


def test_text_selection_pauses_updates(reporter: Reporter) -> None:
    page = reporter.page
    page.locator("h1 .task").select_text()
    before = reporter.morphs
    said = reporter.say()
    expect(page.locator("#log-lines li").last).to_contain_text(said)
    expect(page.locator("#live-words")).to_have_text("frozen while you select")
    assert page.evaluate("getSelection().toString()").strip() == "report"
    assert reporter.morphs == before
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#progress")).to_contain_text(said)
    expect(page.locator("#live-words")).to_have_text("live")


def test_toggled_details_keep_their_state_over_updates(reporter: Reporter) -> None:
    page = reporter.page
    details = page.locator("main details").first
    was = details.evaluate("one => one.open")
    details.locator("summary").click()
    reporter.change()
    assert details.evaluate("one => one.open") is not was


def test_half_typed_field_survives_updates(view: Window, queue: Queue) -> None:
    queue.put_many(range(3))
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    typist = Typist(page)
    typist.press("/")
    typist.type("dou")
    chosen = page.locator("main [name=queue]")
    expect(page.locator("tbody tr")).to_have_count(3)
    button = page.get_by_role("button", name="Filter", exact=True)
    typist.tab_to(button)
    queue.put(4)
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.get_by_label("Task")).to_have_value("dou")
    expect(chosen).to_have_value(queue.name)
    expect(button).to_be_focused()
    typist.press("Enter")
    expect(page.locator(".empty")).to_be_visible()
    assert "task=dou" in page.url


def test_selected_row_stays_selected(view: Window, queue: Queue) -> None:
    queue.put_many(range(3))
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    typist = Typist(page)
    typist.press("j", "j", "x")
    chosen = page.locator("tr.chosen")
    name = chosen.get_attribute("id")
    queue.put(4)
    expect(page.locator("tbody tr")).to_have_count(4)
    assert chosen.get_attribute("id") == name
    expect(chosen.locator("[data-select]")).to_be_checked()
    expect(chosen.locator("a")).to_be_focused()
    typist.press("j")
    expect(page.locator("tbody tr").nth(2)).to_have_class("chosen")
