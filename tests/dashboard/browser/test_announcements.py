"""Announcements of the page for screen readers."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import fail, hold
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window

#: Notes each announcement and its time, by the page's own clock.
LISTEN = """() => {
  window.heard = [];
  new MutationObserver(() => window.heard.push([Date.now(), document.getElementById('said').textContent]))
    .observe(document.getElementById('said'), { childList: true, characterData: true, subtree: true });
}"""
#: Milliseconds between two summaries at least.
QUIET = 10_000


def failures(view: Window) -> int:
    """Return the number of failures announced so far."""
    said: list[tuple[int, str]] = view.page.evaluate("window.heard")
    return sum(int(number) for _, text in said for number in re.findall(r"(\d+) jobs? failed", text))


@pytest.fixture
def listener(window: Callable[..., Window]) -> Callable[[], Window]:
    """Return a function that opens the overview and records announcements, with a clock that the test can advance."""

    def listen() -> Window:
        view = window()
        view.page.clock.install()
        view.go()
        view.page.evaluate(LISTEN)
        return view

    return listen


def test_failures_are_announced_together_and_rarely(
    listener: Callable[[], Window], queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    consume(queue.name)
    view = listener()
    for number in range(3):
        queue.submit(fail, f"no {number}").exception(30)
        expect(view.page.locator("[data-total=dead]")).to_have_text(str(number + 1))

    def all_told() -> bool:
        view.page.clock.fast_forward(QUIET)
        return failures(view) == 3

    eventually(all_told)
    moments = [at for at, _ in view.page.evaluate("window.heard")]
    assert all(later - at >= QUIET for at, later in itertools.pairwise(moments))
    view.page.clock.fast_forward(QUIET)
    assert failures(view) == 3


def test_paused_page_announces_no_changes(
    listener: Callable[[], Window], queue: Queue, consume: Callable[..., Any]
) -> None:
    consume(queue.name)
    quiet, other = listener(), listener()
    quiet.page.locator("#pause").click()
    expect(quiet.page.locator("#said")).to_have_text("Updates: paused")
    queue.submit(fail, "no").exception(30)
    expect(other.page.locator("#said")).to_have_text("1 job failed")
    quiet.page.clock.fast_forward(QUIET)
    assert failures(quiet) == 0
    quiet.page.locator("#pause").click()
    quiet.page.clock.fast_forward(QUIET)
    expect(quiet.page.locator("#said")).to_contain_text("1 job failed")


def test_end_of_the_shown_job_is_announced(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(hold, str(path))
    view = window()
    page = view.go(f"/queues/{queue.name}/jobs/{job.id}")
    expect(page.locator(".job-head .state")).to_have_text(re.compile("running"))
    path.touch()
    expect(page.locator("#said")).to_contain_text("hold: done")


def test_errors_are_announced_immediately(window: Callable[..., Window], queue: Queue) -> None:
    queue.put("something")
    view = window()
    view.forgiven.append("status of 503")
    page = view.go(f"/queues/{queue.name}")
    page.route("**/pause", lambda route: route.fulfill(status=503, json={"title": "no answer"}))
    page.get_by_role("button", name="Pause", exact=True).click()
    view.say_yes()
    expect(page.get_by_role("alert").filter(has_text="no answer")).to_be_visible()
