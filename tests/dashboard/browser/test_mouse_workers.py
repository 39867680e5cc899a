"""Actions on workers by mouse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from browser_tasks import hold
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window


def test_worker_is_killed(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name, workers=2)
    job = queue.submit(hold, str(path))
    view = window()
    page = view.go("/workers")
    rows = page.locator("tr[data-row]")
    expect(rows).to_have_count(2)
    row = page.locator(f'tr[data-row][data-job="{job.id}"]')  # a job that has only just begun is not reported
    expect(row).to_have_count(1)
    name = row.get_attribute("data-target")
    assert name
    row.get_by_role("button", name="Kill").click()
    words = page.locator("#confirm-words")
    expect(words).to_contain_text(job.id)
    expect(words).to_contain_text("returns to the queue")
    page.evaluate(
        """() => {
          window.told = [];
          new MutationObserver(() => {
            for (const one of document.querySelectorAll('.toast')) window.told.push(one.textContent);
          }).observe(document.getElementById('toasts'), { childList: true, subtree: true, characterData: true });
        }"""
    )
    view.say_yes("it hangs")
    expect(page.locator(f'tr[data-target="{name}"]')).to_have_count(0)
    expect(page.locator(".toast.good")).to_contain_text("done")
    told = page.evaluate("window.told")
    assert "requested" in told[0]
    assert "done" in told[-1]
    path.touch()
    assert job.result(30) == "let go"
    view.is_in_the_audit("kill", name, "it hangs")


def test_late_kill_does_not_end_the_next_job(
    window: Callable[..., Window],
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    consume(queue.name, workers=1)
    first, other = queue.submit(hold, str(path)), path.with_name("other")
    view = window()
    page = view.go("/workers")
    row = page.locator(f"tr[data-job='{first.id}']")  # a job that has only just begun is not reported
    row.get_by_role("button", name="Kill").click()
    expect(page.locator("#confirm-words")).to_contain_text(first.id)
    second = queue.submit(hold, str(other))
    path.touch()
    first.result(30)
    eventually(lambda: second.status() == "running")
    view.say_yes("it hangs")
    expect(page.locator(".toast.wrong")).to_contain_text(f"too late (it runs job {second.id} now)")
    other.touch()
    assert second.result(30) == "let go"


def test_control_command_is_followed_from_request_to_end(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name, workers=1)
    job = queue.submit(hold, str(path))
    view = window()
    page = view.go("/workers")
    row = page.locator(f"tr[data-job='{job.id}']")  # the page may be a second older than its test
    expect(row).to_contain_text("busy")
    row.get_by_role("button", name="Stop").click()
    view.say_yes("enough for today")
    view.toast(re.compile("acknowledged"))
    expect(row.locator(".state")).to_have_text(re.compile("leaving"))
    path.touch()
    view.toast(re.compile("done"))
    assert job.result(30) == "let go"
    expect(page.locator(".empty h2")).to_have_text("No workers are listening")


def test_worker_is_paused_and_resumed_and_shows_its_stack(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(hold, str(path))
    view = window()
    page = view.go("/workers")
    row = page.locator(f"tr[data-job='{job.id}']")
    expect(row).to_contain_text("busy")
    row.locator("th a").click()
    page.get_by_role("button", name="Show stack").click()
    expect(page.locator("[data-stack]")).to_contain_text("browser_tasks.py")
    page.get_by_role("button", name="Pause", exact=True).click()
    view.say_yes("to look closer")
    path.touch()
    state = page.locator("h1 .state")
    expect(state).to_have_text(re.compile("paused"))
    again = queue.submit(hold, str(path))
    expect(state).to_have_text(re.compile("paused"))
    assert queue.qsize() == 1
    page.get_by_role("button", name="Resume", exact=True).click()
    view.say_yes("seen enough")
    assert again.result(30) == "let go"
    expect(state).to_have_text(re.compile("idle"))
    view.is_in_the_audit("pause", "", "to look closer")
    view.is_in_the_audit("resume", "", "seen enough")


def test_running_job_shows_its_stack(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(hold, str(path))
    page = window().go(f"/queues/{queue.name}/jobs/{job.id}")
    page.get_by_role("button", name="Show stack").click()
    expect(page.locator("#stack-text")).to_contain_text("in hold")
    expect(page.locator("[data-stack-age]")).to_contain_text("As it was")


def test_consumer_is_scaled(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name, workers=1)
    view = window()
    view.forgiven.append("status of 404")  # a worker leaves while its page is open
    page = view.go("/workers")
    rows = page.locator("tr[data-row]")
    expect(rows).to_have_count(1)
    head = page.locator("tr.consumer-head")
    name = head.get_attribute("data-target")
    assert name
    head.get_by_role("button", name="Scale").click()
    number = page.get_by_role("spinbutton", name="Number of workers")
    expect(number).to_be_focused()
    expect(number).to_have_value("1")
    yes = page.get_by_role("button", name="Change number")
    for invalid in ("", "-1", "1001", "1.5"):
        number.fill(invalid)
        expect(yes).to_be_disabled()
    number.fill("3")
    view.say_yes("a rush")
    expect(rows).to_have_count(3)
    expect(page.locator(".toast.good")).to_contain_text(f"Scale {name}. {name}: done")
    page.get_by_role("link", name="/2").click()
    page.get_by_role("button", name="Scale consumer").click()
    expect(page.get_by_role("button", name="Keep 3 workers")).to_be_visible()
    page.get_by_role("spinbutton", name="Number of workers").fill("0")
    view.say_yes()
    expect(page.locator(".toast.good")).to_contain_text(f"{name}: done")
    page = view.go("/workers")
    expect(head).to_contain_text("no workers")
    head.get_by_role("button", name="Scale").click()
    page.get_by_role("spinbutton", name="Number of workers").fill("1")
    view.say_yes()
    expect(rows).to_have_count(1)
    view.is_in_the_audit("scale", name, "a rush")
