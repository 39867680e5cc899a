"""The page of schedules: run now, pause, resume and remove, live and in the audit trail."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from browser_tasks import double
from playwright.sync_api import expect

from conveyor import Schedule, Schedules

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Queue

    from .window import Window


def test_schedule_is_run_paused_resumed_and_removed(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any]
) -> None:
    schedules = Schedules(queue)
    schedules.add(double, Schedule(every=86_400, name="daily", args=(21,)))
    view = window()
    page = view.go("/schedules")
    row = page.locator(".schedules [data-row]").filter(has_text=queue.name)
    expect(row).to_contain_text("every day")
    row.get_by_role("button", name="Run now").click()
    view.say_yes("at once")
    view.is_in_the_audit("run schedule", "daily", "at once")
    assert queue.qsize() == 1
    page = view.go("/schedules")
    row.get_by_role("button", name="Pause").click()
    view.say_yes("holiday")
    expect(row.locator(".state")).to_have_text(re.compile("paused"))
    assert schedules.get("daily").paused
    row.get_by_role("button", name="Resume").click()
    view.say_yes("back")
    expect(row.locator(".state")).to_have_count(0)
    assert not schedules.get("daily").paused
    row.get_by_role("button", name="Remove").click()
    expect(page.locator("#confirm-words")).to_contain_text("Its jobs stay")
    view.say_yes("no more")
    expect(row).to_have_count(0)
    assert schedules.list() == []


def test_last_run_leads_to_its_job(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    schedules = Schedules(queue)
    schedules.add(double, Schedule(every=1, name="often", args=(21,)))
    consume(queue.name)
    eventually(lambda: schedules.get("often").fired)
    schedules.pause("often")
    page = window().go("/schedules")
    row = page.locator(".schedules [data-row]").filter(has_text=queue.name)
    row.get_by_role("link", name=re.compile("ago|now")).click()
    expect(page.locator(".job-head .state")).to_have_text(re.compile("done"))
    expect(page.locator("main")).to_contain_text(re.compile(r"often:\d{4}-"))
