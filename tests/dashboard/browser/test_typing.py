"""A field in use is left alone while the rest of the page is updated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import hold
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window


@pytest.fixture
def view(window: Callable[..., Window]) -> Window:
    return window()


def test_job_page_is_updated_while_its_log_is_filtered(
    view: Window, queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    job = queue.submit(hold, str(path))
    consume(queue.name)
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    expect(page.locator("#log-lines li")).to_have_count(1)
    field = page.get_by_label("Show only lines with")
    field.click()
    page.keyboard.type("hol")
    path.touch()
    expect(page.locator(".job-head .state")).to_have_text("done")
    page.keyboard.type("ds")
    expect(field).to_be_focused()
    expect(field).to_have_value("holds")


def test_list_is_updated_while_its_filter_is_typed(view: Window, queue: Queue) -> None:
    queue.put_many(range(2))
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    expect(page.locator("main tbody tr")).to_have_count(2)
    field = page.get_by_label("Task")
    field.click()
    page.keyboard.type("dou")
    type(queue)(f"{queue.name}b", store=queue.client).put("first")
    queue.put("third")
    expect(page.locator("main tbody tr")).to_have_count(3)
    expect(field).to_be_focused()
    expect(field).to_have_value("dou")
    chosen = page.locator("#filters [name=queue]")
    expect(chosen.locator("option")).to_have_text([queue.name])

    page.locator("h1").click()
    expect(chosen.locator("option").last).to_have_text(f"{queue.name}b")
    expect(chosen).to_have_value(queue.name)
    expect(field).to_have_value("dou")


def test_typed_limit_is_not_overwritten_by_the_server(view: Window, queue: Queue) -> None:
    queue.put("first")
    page = view.go(f"/queues/{queue.name}")
    field = page.get_by_label("Change the limit")
    field.fill("7")
    queue.resize(50)
    expect(page.get_by_text("50 slots", exact=True)).to_be_visible()
    expect(field).to_be_focused()
    expect(field).to_have_value("7")


def test_page_freezes_and_says_so_if_a_field_in_use_would_vanish(view: Window, queue: Queue) -> None:
    queue.put("first")
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    page.evaluate("document.getElementById('main').append(document.createElement('textarea'))")
    page.locator("main > textarea").fill("half a sen")
    queue.put("second")
    expect(page.locator("#live-words")).to_have_text("frozen while you type")
    expect(page.locator(".live")).to_have_attribute("data-live-state", "held")
    expect(page.locator("main tbody tr")).to_have_count(1)
    page.locator("h1").click()
    expect(page.locator("main tbody tr")).to_have_count(2)
    expect(page.locator("#live-words")).to_have_text("live")
