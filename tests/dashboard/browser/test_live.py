"""Jobs are seen moving, and soon."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import double, fail, hold
from playwright.sync_api import expect

from conveyor.store import commands
from conveyor.store.commands import PutParams
from conveyor.wire import ids
from conveyor.wire.call import encode_items

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window

#: Seconds from the end of a job until a page shows it.
SOON = 1.5

WATCH_TRAVELLERS = """() => {
  window.seen = 0;
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) window.seen += node.className === 'traveller';
  }).observe(document.body, { childList: true, subtree: true });
}"""
WATCH_NUMBER = """(selector) => {
  const element = document.querySelector(selector);
  window.changed = 0;
  new MutationObserver(() => { window.changed ||= Date.now(); })
    .observe(element, { childList: true, characterData: true, subtree: true });
}"""


def test_jobs_move_without_a_reload(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    queue.resize(8)
    queue.put("first")
    assert queue.get() == "first"
    queue.task_done()
    view = window()
    page = view.go()
    page.evaluate("window.same = true")
    belt = page.locator(f"#belt-{queue.name}")
    row = page.locator(f"#row-{queue.name}")
    expect(belt.locator(".slot.full")).to_have_count(0)
    queue.submit(hold, str(path))
    expect(belt.locator(".slot.full")).to_have_count(1)  # from now on the page knows the earlier state
    page.evaluate(WATCH_TRAVELLERS)

    queue.submit_many(hold, [(str(path),)] * 4)
    expect(belt.locator(".slot.full")).to_have_count(5)
    expect(row.locator("[data-n=waiting]")).to_have_text("5")
    expect(belt.locator("[data-belt-words]")).to_contain_text("5")
    view.comes_true("window.seen > 0")

    consume(queue.name, workers=2)
    expect(belt.locator(".sign.w")).to_have_count(2)
    expect(belt.locator(".slot.full")).to_have_count(3)
    expect(row.locator("[data-n=running]")).to_have_text("2")
    expect(page.locator("[data-total=busy]")).to_have_text("2")

    page.evaluate("window.seen = 0")
    path.touch()
    expect(belt.locator(".slot.full")).to_have_count(0)
    expect(belt.locator(".sign.i")).to_have_count(2)
    expect(row.locator("[data-n=running]")).to_have_text("0")
    view.comes_true("window.seen > 0")
    assert page.evaluate("window.same")


def test_full_queue_and_its_oldest_job_are_shown_live(window: Callable[..., Window], queue: Queue) -> None:
    queue.resize(2)
    queue.put("first")
    assert queue.get() == "first"
    view = window()
    page = view.go()
    row, oldest = page.locator(f"#row-{queue.name}"), page.locator("[data-total-since=oldest]")
    expect(row.locator(".state")).to_have_text("open")
    queue.put_many([1, 2])
    expect(row.locator(".state")).to_have_text("full")
    expect(oldest.locator("time")).to_have_text(re.compile(r"^\d"))
    assert (queue.get(), queue.get()) == (1, 2)
    expect(row.locator(".state")).to_have_text("open")
    expect(row.locator(".state .icon").last).to_be_hidden()


def test_end_of_a_job_is_shown_promptly(
    window: Callable[..., Window],
    queue: Queue,
    consume: Callable[..., Any],
    quickest: Callable[..., float],
) -> None:
    consume(queue.name)
    queue.submit(double, 1).result(30)
    view = window()
    page = view.go(f"/queues/{queue.name}")
    expect(page.locator(".tiles [data-n=ended]")).to_have_text("1")

    def seconds() -> float:
        """Put a job, and return the seconds from its result, seen here, to the number, changed there."""
        page.evaluate(WATCH_NUMBER, ".tiles [data-n=ended]")
        queue.submit(double, 2).result(30)
        ended = time.time()
        return view.comes_true("window.changed") / 1000 - ended

    took = quickest(seconds, SOON)
    print(f"seen {took:.2f} s after the end of the job")  # noqa: T201 - the figure is a promise
    assert took < SOON


@pytest.mark.parametrize("field", ["waiting", "dead"])
def test_numbers_of_a_queue_match_the_server(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], field: str
) -> None:
    page = window().go("/queues")
    if field == "waiting":
        queue.put_many(range(1234))
        wanted = "1,234"
    else:
        consume(queue.name)
        queue.submit_many(fail, [("nowhere",)] * 3)
        wanted = "3"
    expect(page.locator(f"tr[data-queue={queue.name}] [data-n={field}]")).to_have_text(wanted)


def test_delayed_jobs_are_shown_next_to_waiting_jobs_if_any(
    window: Callable[..., Window], queue: Queue
) -> None:
    queue.put(1)
    page = window().go()
    told = page.locator("[data-while=delayed]")
    expect(told).to_be_hidden()
    later = [(ids.new_ids(1)[0], encode_items([1])[0])]
    queue.client.run(commands.put(queue.name, later, PutParams(delay=600.0)))
    expect(told).to_be_visible()
    expect(told).to_have_text(", and 1 delayed")
    expect(page.locator("[data-total=waiting]")).to_have_text("1")
