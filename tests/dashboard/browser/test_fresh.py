"""Lists with the newest rows first: visible rows stay in place, and new ones wait behind a button."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from conveyor.store import keys
from conveyor.store.command import Command
from conveyor.wire.outcome import Run, note_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue

    from .window import Window


class Ends:
    """A queue in which runs end, and the list of them in a browser."""

    def __init__(self, queue: Queue, view: Window) -> None:
        self.queue = queue
        self.count = 0
        self.end(3)
        queue.put("so that the queue is known")
        self.page = view.go(f"/jobs?queue={queue.name}&state=ended")
        self.rows = self.page.locator("tbody tr")
        self.chip = self.page.locator("[data-fresh] button")
        expect(self.rows).to_have_count(3)

    def end(self, more: int) -> None:
        """Record `count` runs, run1 and so on."""
        for _ in range(more):
            self.count += 1
            note = note_of(f"run{self.count}", "done", Run("double", "", 1.0, "host-ab12/1", 1), 0.5)
            words = ("XADD", keys.key(self.queue.name, "history"), f"{self.count}-0", "end", note)
            self.queue.client.run(Command(words))

    def runs(self, first: int, last: int) -> list[re.Pattern[str]]:
        """Return patterns of the rows from one run down to another."""
        return [re.compile(rf"^\s*run{number}\b") for number in range(first, last - 1, -1)]


@pytest.fixture
def ends(queue: Queue, window: Callable[..., Window]) -> Ends:
    """Return the list with three finished runs."""
    return Ends(queue, window())


def test_new_rows_wait_behind_a_button_until_requested(ends: Ends) -> None:
    expect(ends.chip).to_be_hidden()
    ends.end(2)
    expect(ends.chip).to_have_text("Show 2 new")
    expect(ends.rows).to_have_text(ends.runs(3, 1))
    expect(ends.page.locator(".pager")).to_contain_text("3 runs")
    ends.end(1)
    expect(ends.chip).to_have_text("Show 3 new")
    ends.chip.click()
    expect(ends.rows).to_have_text(ends.runs(6, 1))
    expect(ends.chip).to_be_hidden()
    ends.end(1)
    expect(ends.chip).to_have_text("Show 1 new")


def test_displaced_rows_stay_while_new_rows_wait(ends: Ends) -> None:
    ends.end(57)
    expect(ends.chip).to_have_text("Show 50 or more new")
    expect(ends.rows).to_have_text(ends.runs(3, 1))
    ends.chip.click()
    expect(ends.rows).to_have_text(ends.runs(60, 11))
    ends.end(12)
    expect(ends.chip).to_have_text("Show 12 new")
    expect(ends.rows).to_have_text(ends.runs(60, 11))
    ends.page.locator(".pager").get_by_text("Older").click()
    expect(ends.rows).to_have_text(ends.runs(10, 1))


def test_button_for_new_rows_works_by_keyboard_and_moves_focus(ends: Ends) -> None:
    ends.end(1)
    expect(ends.chip).to_be_visible()
    ends.chip.focus()
    ends.page.keyboard.press("Enter")
    expect(ends.rows).to_have_text(ends.runs(4, 1))
    expect(ends.rows.first.locator("a").first).to_be_focused()


def test_removed_row_leaves_the_list_while_new_rows_wait(queue: Queue, window: Callable[..., Window]) -> None:
    def run(*words: Any) -> None:
        queue.client.run(Command(words))

    dead, jobs = keys.key(queue.name, "dead"), keys.key(queue.name, "jobs")
    queue.put("so that the queue is known")
    for place in range(1, 4):
        run("ZADD", dead, place, f"job{place}")
        run("HSET", jobs, f"job{place}", b"no job")
    page = window().go("/jobs?state=dead")
    names = page.locator("tbody th")
    expect(names).to_have_text(["job3", "job2", "job1"])
    run("ZADD", dead, 4, "job4")
    run("ZREM", dead, "job2")
    expect(page.locator("[data-fresh] button")).to_have_text("Show 1 new")
    expect(names).to_have_text(["job3", "job1"])
