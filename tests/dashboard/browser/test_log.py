"""The log of a job if something fails on the way to the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import report
from playwright.sync_api import expect

from conveyor.store import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from conveyor import Queue

    from .window import Window


@pytest.fixture
def telling(queue: Queue, consume: Callable[..., Any], path: Path) -> Iterator[str]:
    """Provide the path of a job that logs the lines written to a file."""
    consume(queue.name)
    path.write_text("the first\n")
    job = queue.submit(report, str(path))
    yield f"/queues/{queue.name}/jobs/{job.id}"
    write(path, "end")
    job.result(30)


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def shows(page: Page, *lines: str) -> None:
    expect(page.locator("#log-lines li span")).to_have_text(list(lines))


def test_last_log_line_arrives_after_failed_fetches(
    window: Callable[..., Window], telling: str, path: Path
) -> None:
    view = window()
    view.forgiven.append("Failed to load resource")
    page = view.go(telling)
    shows(page, "the first")
    page.route("**/api/v1/jobs/*/log?*", lambda route: route.abort())
    write(path, "the last", "end")
    expect(page.locator(".job-head.is-done")).to_be_visible()
    shows(page, "the first")  # and there are no more updates, which would make it poll again
    page.unroute("**/api/v1/jobs/*/log?*")
    shows(page, "the first", "the last")


def test_invisible_characters_in_a_new_log_line_are_escaped(
    window: Callable[..., Window], telling: str, path: Path
) -> None:
    page = window().go(telling)
    shows(page, "the first")
    write(path, "a\u202eb \x07c")
    shows(page, "the first", "a\\u202eb \\x07c")
    page.reload()
    shows(page, "the first", "a\\u202eb \\x07c")


def test_page_without_its_stream_follows_the_log_by_polling(
    window: Callable[..., Window], telling: str, path: Path
) -> None:
    view = window()
    view.forgiven.append("Failed to load resource")
    view.page.route("**/api/v1/events?*", lambda route: route.fulfill(status=503))
    view.page.clock.install()
    page = view.go(telling)
    shows(page, "the first")
    write(path, "the second", "the third")
    view.skip(5_000, "document.querySelectorAll('#log-lines li').length === 3")
    shows(page, "the first", "the second", "the third")


def test_live_lines_have_levels_and_attempts_as_after_a_reload(
    window: Callable[..., Window], telling: str, queue: Queue
) -> None:
    page, job = window().go(telling), telling.rpartition("/")[2]
    shows(page, "the first")

    def log(text: str, level: str, attempt: int) -> None:
        queue.client.run_all(records.log(queue.name, job, text, level=level, attempt=attempt, number=1))

    log("slow", "WARNING", 1)
    log("again", "INFO", 2)
    rows = page.locator("#log-lines li")
    for _ in range(2):
        expect(rows).to_have_count(4)
        expect(rows.nth(1).locator("b")).to_have_text("WARNING")
        expect(rows.nth(2)).to_have_text("Attempt 2")
        shows(page, "the first", "slow", "again")
        page.locator("[data-log-filter]").fill("warn")
        expect(page.locator("#log-lines li[data-line]:visible span")).to_have_text(["slow"])
        page.reload()
