"""The graph of a job and the limits of a queue, as their users see and use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import double
from playwright.sync_api import expect

from conveyor import Queue, Task
from conveyor.store import commands
from conveyor.wire.call import PutOptions, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from .window import Window


@pytest.fixture
def step() -> Task[..., int]:
    """Return a task, for jobs with options."""
    return Task(double, "step", PutOptions(), RunOptions())


def test_graph_follows_its_jobs_and_keeps_the_focus(
    window: Callable[..., Window], queue: Queue, step: Any
) -> None:
    first = queue.submit(step, 1)
    last = queue.submit(step.options(after=[first]), 2)
    page = window().go(f"/queues/{queue.name}/jobs/{last.id}")
    link = page.locator(f"#flow-{queue.name}-{first.id}")
    expect(link).to_have_class("job is-waiting")
    expect(page.locator(".flow path.blocks")).to_have_count(1)
    link.focus()
    batch = queue.client.run(commands.claim(queue.name, "ann", "nonce.1", 1, 60.0))
    expect(link).to_have_class("job is-running")
    expect(link).to_be_focused()
    queue.client.run(commands.finish(queue.name, batch.token, [commands.Settlement(first.id, DONE, 60.0)]))
    expect(link).to_have_class("job is-done")
    expect(page.locator(".flow path.blocks")).to_have_count(0)
    expect(page.locator(".job-line .state")).to_contain_text("waiting")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{page.url.partition('/queues')[0]}/queues/{queue.name}/jobs/{first.id}")


DONE = b"\x93\xa4done\x01\x00"


def test_graph_can_be_skipped_and_read_as_a_list(
    window: Callable[..., Window], queue: Queue, step: Any
) -> None:
    first = queue.submit(step, 1)
    last = queue.submit(step.options(after=[first]), 2)
    page = window().go(f"/queues/{queue.name}/jobs/{last.id}")
    skip = page.get_by_role("link", name="Skip the picture")
    skip.focus()
    expect(skip).to_be_in_viewport()
    page.get_by_text("As a list").click()
    rows = page.locator(".flow-list li li")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text(f"waits for 1 job before it: {first.id}")
    rows.nth(0).get_by_role("link").click()
    expect(page.locator(".job-line")).to_contain_text(first.id)


def test_picture_begins_where_the_job_is_on_a_small_screen(
    window: Callable[..., Window], queue: Queue, step: Any
) -> None:
    job = queue.submit(step, 0)
    for number in range(6):
        job = queue.submit(step.options(after=[job]), number)
    view = window(viewport={"width": 390, "height": 800})
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    page.locator(".flow .asked").scroll_into_view_if_needed()
    expect(page.locator(".flow .asked")).to_be_in_viewport()
    assert page.locator(".flow-box").evaluate("(box) => box.scrollLeft") > 0


def test_limit_of_a_queue_is_set_and_removed_on_its_page(window: Callable[..., Window], queue: Queue) -> None:
    queue.put(1)
    view = window()
    page = view.go(f"/queues/{queue.name}")
    form = page.locator("[data-run-limit]")
    form.get_by_label("At a time").fill("3")
    form.get_by_label("Starts").fill("100")
    form.get_by_role("button", name="Change limits").click()
    expect(page.locator("#confirm-title")).to_have_text(
        f"Limit {queue.name} to 3 at a time, 100 starts per 60 s?"
    )
    view.say_yes("small disk")
    section = page.locator("section[aria-labelledby=limits-title]")
    expect(section).to_contain_text("3 at a time, 100 starts per minute")
    own = queue.limits().queue
    assert own
    assert (own.max_running, own.max_starts, own.period) == (3, 100, 60.0)
    form.get_by_label("At a time").fill("0")
    form.get_by_label("Starts").fill("0")
    form.get_by_role("button", name="Change limits").click()
    view.say_yes()
    expect(section).not_to_contain_text("at a time, 100")
    assert queue.limits().queue is None


def test_rest_of_a_queue_is_ended_on_its_page(window: Callable[..., Window], queue: Queue) -> None:
    queue.submit(double, 1)
    batch = queue.client.run(commands.claim(queue.name, "ann", "nonce.1", 1, 60.0))
    queue.client.run(commands.throttle(queue.name, batch.token, batch.jobs[0].id, 600.0))
    view = window()
    page = view.go(f"/queues/{queue.name}")
    expect(page.locator("h1")).to_contain_text("throttled")
    page.get_by_role("button", name="End rest").click()
    view.say_yes()
    expect(page.locator("h1")).not_to_contain_text("throttled")
    assert queue.count().rest == 0
