"""An open page reports that its subject has gone, and stays readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from browser_tasks import double, hold
from playwright.sync_api import expect

from conveyor import Queue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .window import Window

NOT_FOUND = "status of 404"
TWO_ROWS = "document.querySelectorAll('main tbody tr').length === 2"


def test_exited_worker_is_reported_and_its_controls_disabled(
    window: Callable[..., Window],
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    consumer = consume(queue.name)
    queue.submit(hold, str(path))
    eventually(lambda: queue.count().leased == 1)
    view = window()
    view.forgiven.append(NOT_FOUND)
    page = view.go("/workers")
    page.locator("tr[data-row] a").first.click()
    view.is_live()
    expect(page.locator("h1")).to_contain_text("busy")
    name = page.url.rpartition("/workers/")[2]
    kill = page.get_by_role("button", name="Kill now")
    expect(kill).to_be_enabled()

    path.touch()
    consumer.leave()
    expect(page.get_by_role("alert").filter(has_text="This worker has left.")).to_be_visible()
    for button in page.locator("main [data-tell]").all():
        expect(button).to_be_disabled()
    expect(page.locator("h1")).to_contain_text(name)  # in its last state, which may be idle or leaving
    page.get_by_role("link", name="All workers").click()
    expect(page).to_have_url(f"{view.address}/workers")


def test_forgotten_job_is_reported(window: Callable[..., Window], queue: Queue, one_server: Any) -> None:
    job = queue.submit(double, 1)
    view = window()
    view.forgiven.append(NOT_FOUND)
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    one_server.raw.flushall()
    expect(page.locator("#notice")).to_contain_text("This job is no longer known.")
    expect(page.locator("main [data-act]").first).to_be_disabled()
    expect(page.locator("h1")).to_have_text("double")
    expect(page.get_by_role("link", name="All jobs")).to_have_attribute("href", "/jobs")


def test_missing_queue_is_reported_until_it_is_back(
    window: Callable[..., Window], queue: Queue, one_server: Any
) -> None:
    queue.put("first")
    view = window()
    view.forgiven.append(NOT_FOUND)
    page = view.go(f"/queues/{queue.name}")
    pause = page.get_by_role("button", name="Pause", exact=True)
    expect(pause).to_be_enabled()
    one_server.raw.flushall()
    expect(page.locator("#notice")).to_contain_text("This queue is gone.")
    expect(pause).to_be_disabled()
    expect(page.get_by_label("Change the limit")).to_be_disabled()

    Queue(queue.name, store=one_server.another_client()).put("first")
    expect(page.locator("#notice")).to_be_hidden()
    expect(pause).to_be_enabled()
    expect(page.get_by_label("Change the limit")).to_be_enabled()


def test_failed_page_update_is_reported_until_it_succeeds(
    window: Callable[..., Window], queue: Queue
) -> None:
    queue.put("first")
    view = window()
    view.forgiven.append("status of 500")
    view.page.clock.install()
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    page.route("**/jobs?*", lambda route: route.fulfill(status=500, body="no"))
    queue.put("second")
    expect(page.locator("#notice")).to_contain_text("could not be updated")
    page.unroute("**/jobs?*")
    view.skip(5_000, TWO_ROWS)
    expect(page.locator("main tbody tr")).to_have_count(2)
    expect(page.locator("#notice")).to_be_hidden()


def test_failed_partial_update_is_retried(window: Callable[..., Window], queue: Queue) -> None:
    queue.put("first")
    view = window()
    view.forgiven.append("net::ERR_FAILED")
    view.page.clock.install()
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    page.route("**/jobs?*", lambda route: route.abort(), times=1)
    with page.expect_event("requestfailed"):
        queue.put("second")
    view.skip(5_000, TWO_ROWS)
    expect(page.locator("main tbody tr")).to_have_count(2)


def test_page_of_a_queue_without_jobs_opens_automatically(
    window: Callable[..., Window], queue: Queue
) -> None:
    name = f"{queue.name}-new"
    view = window()
    view.forgiven.append(NOT_FOUND)
    view.page.clock.install()
    page = view.go(f"/queues/{name}", live=False)
    expect(page.locator("h1")).to_have_text(f"no queue is called {name}")
    Queue(name, store=queue.client).put(1)
    page.clock.fast_forward(3_000)
    expect(page.locator(".tiles [data-n=waiting]")).to_have_text("1")
    view.is_live()
