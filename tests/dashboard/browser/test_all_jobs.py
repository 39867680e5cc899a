"""The list of jobs of all queues in a browser: it is live, and selected jobs are acted on, queue by queue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import fail, hold
from playwright.sync_api import expect

from conveyor import Queue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .window import Window


@pytest.fixture
def other(queue: Queue) -> Queue:
    """Return a second queue, whose name does not contain that of the first."""
    return Queue(queue.name.replace("line", "side"), store=queue.client)


def test_jobs_of_all_queues_appear_and_disappear_live(
    window: Callable[..., Window], queue: Queue, other: Queue
) -> None:
    queue.put("one")
    other.put("two")
    page = window().go("/jobs?state=waiting")
    cells = page.locator("tbody td[data-label=Queue]")
    expect(cells).to_have_text([queue.name, other.name])
    other.put("three")
    expect(cells).to_have_text([queue.name, other.name, other.name])
    queue.get()
    expect(cells).to_have_text([other.name, other.name])


def test_selected_jobs_of_several_queues_are_cancelled(
    window: Callable[..., Window], queue: Queue, other: Queue, eventually: Callable[..., Any]
) -> None:
    jobs = [one.submit(hold, "/nowhere") for one in (queue, other, queue, other)]
    view = window()
    page = view.go("/jobs?state=waiting")
    boxes = page.locator("[data-select]")
    expect(boxes).to_have_count(4)
    for place in (0, 1, 2):
        boxes.nth(place).click()
    expect(page.locator("[data-bulk-words]")).to_have_text("3 jobs")
    expect(page.locator("[data-bulk]")).to_contain_text("choose a queue")
    page.locator("[data-bulk]").get_by_role("button", name="Cancel").click()
    expect(page.locator("#confirm-title")).to_have_text("Cancel 3 jobs?")
    view.say_yes("not these")
    expect(page).to_have_url(re.compile("/operations"))
    eventually(lambda: queue.qsize() + other.qsize() == 1)
    assert [job.cancelled() for job in jobs].count(True) == 3
    for one in (queue, other):
        view.is_in_the_audit("cancel", one.name, "not these")


def test_selected_running_jobs_of_several_queues_are_cancelled(
    window: Callable[..., Window],
    queue: Queue,
    other: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    consume(queue.name, other.name, workers=2)
    jobs = [one.submit(hold, str(path)) for one in (queue, other)]
    eventually(lambda: queue.count().leased == other.count().leased == 1)
    view = window()
    page = view.go("/jobs")
    page.get_by_label("Select all on this page").click()
    expect(page.locator("[data-bulk-words]")).to_have_text("2 jobs")
    page.locator("[data-bulk]").get_by_role("button", name="Cancel").click()
    view.say_yes()
    view.toast("Cancel 2 jobs: 2 of 2")
    eventually(lambda: all(job.cancelled() for job in jobs))


def test_dead_jobs_of_several_queues_are_retried_by_keyboard(
    window: Callable[..., Window],
    queue: Queue,
    other: Queue,
    consume: Callable[..., Any],
    eventually: Callable[..., Any],
) -> None:
    consume(queue.name, other.name)
    for one in (queue, other):
        one.submit(fail, "no such disk")
    eventually(lambda: queue.count().dead == other.count().dead == 1)
    view = window()
    page = view.go("/jobs?state=dead")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("[data-bulk-words]")).to_have_text("2 jobs")
    page.locator("[data-bulk]").get_by_role("button", name="Retry").press("Enter")
    page.keyboard.type("there is one now")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/operations"))
    for one in (queue, other):
        view.is_in_the_audit("retry", one.name, "there is one now")
