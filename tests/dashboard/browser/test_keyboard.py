"""The main actions without a mouse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from browser_tasks import fail, hold, report
from playwright.sync_api import expect

from .typist import Typist

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from conveyor import Queue

    from .window import Window


def test_worker_is_killed_by_keys(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name, workers=2)
    job = queue.submit(hold, str(path))
    view = window()
    page = view.go()
    typist = Typist(page)
    typist.go("w")
    view.is_live()
    row = page.locator(f'tr[data-row][data-job="{job.id}"]')
    expect(row).to_have_count(1)
    name = row.get_attribute("data-target")
    typist.press("j")
    expect(page.locator("tr.chosen")).to_have_count(1)
    typist.press("k")
    kill = page.locator(f'tr[data-target="{name}"]').get_by_role("button", name="Kill")
    typist.tab_to(kill)
    typist.press("Enter")
    typist.answer("it hangs")
    expect(page.locator(f'tr[data-target="{name}"]')).to_have_count(0)
    path.touch()
    assert job.result(30) == "let go"
    view.is_in_the_audit("kill", str(name), "it hangs")


def test_job_is_cancelled_and_its_log_read_by_keys(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path, eventually: Any
) -> None:
    consume(queue.name)
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    job = queue.submit(report, str(path))
    view = window()
    page = view.go("/jobs")
    typist = Typist(page)
    typist.press("Control+k")
    expect(page.locator("#palette-text")).to_be_focused()
    typist.type(job.id)
    with page.expect_navigation():
        typist.press("Enter")
    view.is_live()
    expect(page.locator("tr[data-row]")).to_have_count(
        1
    )  # its queue is so new that it may be seen a second later
    typist.press("j")
    expect(page.locator("tr.chosen th a")).to_be_focused()
    with page.expect_navigation():
        typist.press("Enter")
    view.is_live()
    lines = page.locator("#log-lines")
    expect(lines.locator("li")).to_have_count(100)
    typist.tab_to(lines)
    typist.press("Home")
    follow = page.locator("[data-log-end]")
    expect(follow).to_have_attribute("aria-pressed", "false")
    view.comes_true("document.getElementById('log-lines').scrollTop === 0")
    eventually(lambda: typist.press("End") or follow.get_attribute("aria-pressed") == "true")

    cancel = page.locator(".job-head").get_by_role("button", name="Cancel")
    typist.tab_to(cancel, back=True)
    typist.press("Space")
    typist.answer("wrong file")
    expect(page.locator(".job-head .state")).to_have_text(re.compile("cancelled"))
    view.is_in_the_audit("cancel job", job.id, "wrong file")


def test_failures_are_retried_by_keys(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    queue.submit_many(fail, [(str(path),)] * 3)
    view = window()
    page = view.go(f"/queues/{queue.name}")
    expect(page.locator(".tiles [data-n=dead]")).to_have_text("3")
    path.touch()
    page = view.go(f"/jobs?queue={queue.name}&state=dead")
    typist = Typist(page)
    typist.press("j", "x", "j", "x")
    expect(page.locator("[data-bulk-words]")).to_have_text("2 jobs")
    typist.tab_to(page.locator("[data-bulk]").get_by_role("button", name="Retry"))
    typist.press("Enter")
    typist.answer("two of three")
    expect(page).to_have_url(re.compile("/operations"))
    expect(page.locator("tbody tr").filter(has_text=queue.name)).to_contain_text("2 done")
    view.is_live()
    typist.go("f")
    view.is_live()
    group = page.locator(".failure").filter(has_text=queue.name)
    expect(group.locator(".failure-count b")).to_have_text("1")
    typist.press("j")
    typist.tab_to(group.get_by_role("button", name="Retry all"))
    typist.press("Enter")
    typist.answer("and the last")
    expect(page).to_have_url(re.compile("/operations"))
    view.is_in_the_audit("retry", queue.name, "and the last")


def test_job_is_put_by_keys(window: Callable[..., Window], one_server: Any, eventually: Any) -> None:
    view = window()
    page = view.go()
    typist = Typist(page)
    typist.go("e")
    view.is_live()
    typist.tab_to(page.locator("#task"))
    typist.type("double")
    typist.tab_to(page.get_by_role("button", name="Choose"))
    with page.expect_navigation():
        typist.press("Enter")
    view.is_live()
    typist.tab_to(page.locator("#a-number"))
    typist.type("21")
    typist.tab_to(page.get_by_role("button", name="Enqueue", exact=True))
    expect(page.locator("[data-command]")).to_contain_text("21")
    with page.expect_navigation():
        typist.press("Enter")
    expect(page.locator("h1")).to_contain_text("double")
    assert one_server.raw.zcard("conveyor:{forms}:ready") == 1


def test_queue_is_paused_by_keys(window: Callable[..., Window], queue: Queue) -> None:
    queue.put("something")
    view = window()
    page = view.go()
    typist = Typist(page)
    expect(page.locator(f"#belt-{queue.name}")).to_be_visible()
    typist.press("Control+k")
    typist.type(queue.name)
    expect(page.locator("#palette-list [aria-selected=true]")).to_have_text(f"queue {queue.name}")
    with page.expect_navigation():
        typist.press("Enter")
    view.is_live()
    typist.tab_to(page.get_by_role("button", name="Pause", exact=True))
    typist.press("Enter")
    typist.answer("deploying")
    expect(page.locator("h1 .state")).to_have_text(re.compile("paused"))
    assert queue.count().paused
    view.is_in_the_audit("pause queue", queue.name, "deploying")


def test_palette_finds_entries_and_runs_reversible_actions(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], eventually: Any
) -> None:
    queue.put("something")
    consume(queue.name, workers=2)
    view = window()
    page = view.go()
    typist = Typist(page)

    def choose(text: str, wanted: str) -> None:
        typist.press("Control+k")
        expect(page.locator("#palette-text")).to_be_focused()
        typist.type(text)
        expect(page.locator("#palette-list [aria-selected=true]")).to_have_text(re.compile(wanted))
        typist.press("Enter")
        expect(page.locator("#palette")).to_be_hidden()

    choose("worker /1", r"^worker .*/1$")
    expect(page.locator("h1")).to_contain_text("/1")
    choose("double", "^task double$")
    expect(page.locator("h1")).to_contain_text("Enqueue double")
    choose("light dark", "^Change between light and dark$")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    choose("updates", "^Pause updates$")
    expect(page.locator(".live")).to_have_attribute("data-live-state", "paused")
    choose("updates", "^Resume updates$")
    view.is_live()
    choose(f"pause {queue.name}", f"^Pause queue {queue.name}$")
    typist.answer("deploying")
    eventually(lambda: queue.count().paused)
    choose(f"resume {queue.name}", f"^Resume queue {queue.name}$")
    typist.answer("deployed")
    eventually(lambda: not queue.count().paused)
    view.is_in_the_audit("resume queue", queue.name, "deployed")
    typist.press("Control+k")
    typist.type("no such")
    expect(page.locator("#palette-none")).to_have_text("No match.")
    typist.press("Enter", "Escape")
    expect(page.locator("#palette")).to_be_hidden()


def test_palette_keeps_the_first_entry_marked_as_more_arrive(
    window: Callable[..., Window], queue: Queue
) -> None:
    view, held = window(), []
    view.context.route("**/api/v1/tasks*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright wants a function
    page = view.go("/queues")
    typist = Typist(page)
    typist.press("Control+k")
    expect(page.locator("#palette-text")).to_be_focused()
    typist.type("double")
    marked = page.locator("#palette-list [aria-selected=true]")
    expect(marked).to_have_text("job double")
    view.comes_true("true")  # lets Playwright report the request
    held[0].continue_()
    expect(marked).to_have_text("task double")


def test_single_keys_ignore_fields_and_can_be_disabled(window: Callable[..., Window], queue: Queue) -> None:
    queue.put("something")
    view = window()
    page = view.go(f"/jobs?queue={queue.name}&state=waiting")
    typist = Typist(page)
    typist.press("/")
    task = page.get_by_label("Task")
    expect(task).to_be_focused()
    typist.type("gojkx?pt/")
    expect(task).to_have_value("gojkx?pt/")
    assert page.url.endswith("waiting")
    typist.press("Escape", "?")
    dialog = page.locator("#keys-dialog")
    expect(dialog).to_be_visible()
    typist.press("g", "o")
    typist.tab_to(dialog.locator("#keys-on"))
    typist.press("Space", "Escape")
    expect(dialog).to_be_hidden()
    typist.press("?", "j", "/", "p", "g", "o")
    typist.press("Control+k")  # not a single key
    expect(page.locator("#palette")).to_be_visible()
    typist.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".chosen")).to_have_count(0)
    expect(page.locator(".live")).to_have_attribute("data-live-state", "live")
    assert page.url.endswith("waiting")
    page.reload()
    view.is_live()
    typist.press("?")
    expect(dialog).to_be_hidden()


def test_menu_of_a_narrow_page_opens_by_keys(window: Callable[..., Window]) -> None:
    view = window(viewport={"width": 390, "height": 844})
    page = view.go()
    typist = Typist(page)
    menu = page.get_by_role("button", name="Menu")
    typist.tab_to(menu)
    assert "expanded=False" in told_of(page, "Menu")
    typist.press("Enter")
    assert "expanded=True" in told_of(page, "Menu")
    typist.tab_to(page.get_by_role("link", name="Queues", exact=True))
    typist.press("Escape")
    expect(page.locator("#menu")).to_be_hidden()
    expect(menu).to_be_focused()
    typist.press("/")
    expect(page.locator("#find")).to_be_focused()
    typist.tab_to(page.get_by_role("link", name="Queues", exact=True), back=True)
    with page.expect_navigation():
        typist.press("Enter")
    expect(page.locator("h1")).to_contain_text("Queues")


def told_of(page: Page, button: str) -> set[str]:
    """Return the accessible description of a button."""
    asked = page.context.new_cdp_session(page)
    nodes = asked.send("Accessibility.getFullAXTree")["nodes"]
    return {
        f"{one['name']}={one['value'].get('value')}"
        for node in nodes
        if node.get("role", {}).get("value") == "button" and node["name"]["value"] == button
        for one in node["properties"]
    }
