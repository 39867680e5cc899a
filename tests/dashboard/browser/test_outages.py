"""The page reports outages, and recovers automatically."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from conveyor import Queue

from .window import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route

    from .kit import Dashboard
    from .window import Window

NETWORK = "Failed to load resource|net::ERR|EventSource"


def test_page_reports_a_server_restart_and_recovers(
    window: Callable[..., Window], serve: Callable[..., Dashboard], own_server: Any
) -> None:
    own = serve(url=own_server.url)
    view = window(address=own.address)
    view.forgiven.append(NETWORK)
    queue = Queue("heals", store=own_server.client)
    queue.put("first")
    page = view.go("/queues")
    expect(page.locator("tr[data-queue=heals] [data-n=waiting]")).to_have_text("1")
    page.evaluate("window.same = true")
    second = view.tab()

    own_server.stop()
    expect(page.locator("#live-words")).to_have_text("no reply from the server; trying again")
    second.goto(own.address + "/workers")
    expect(second.locator("h1")).to_have_text("The server is unavailable")
    expect(second.locator("main p.hint code")).to_have_text("conveyor doctor")
    expect(page.locator("#trouble code")).to_have_text("conveyor doctor")
    for words in (second.locator("main p").all_inner_texts(), page.locator("#trouble").all_inner_texts()):
        assert all(re.match(r"[A-Z]", one) and "`" not in one for one in words), words

    own_server.start()
    Queue("again", store=own_server.another_client()).put_many(range(3))
    view.is_live()
    expect(page.locator("tr[data-queue=again] [data-n=waiting]")).to_have_text("3")
    assert page.evaluate("window.same")
    expect(second.locator("h1")).to_contain_text("Workers")


def test_page_reports_a_dashboard_restart_and_recovers(
    window: Callable[..., Window], serve: Callable[..., Dashboard], queue: Queue
) -> None:
    own = serve()
    view = window(address=own.address)
    view.forgiven.append(NETWORK)
    queue.put("first")
    page = view.go("/queues")
    own.end()
    expect(page.locator("#live-words")).to_have_text("reconnecting")
    queue.put("second")
    own.restart()
    view.is_live()
    expect(page.locator(f"tr[data-queue={queue.name}] [data-n=waiting]")).to_have_text("2")


def test_page_reports_a_long_dashboard_outage_and_recovers(
    window: Callable[..., Window], serve: Callable[..., Dashboard], queue: Queue
) -> None:
    own = serve()
    view = window(address=own.address)
    view.forgiven.append(NETWORK)
    queue.put("first")
    page = view.go()
    own.process.terminate()
    own.process.wait(20)
    expect(page.locator("#live-words")).to_have_text("reconnecting")
    banner = page.get_by_role("alert").filter(has_text="The dashboard is unavailable.")
    expect(banner).to_contain_text(re.compile(r"What is shown is as of \d"))
    expect(page.locator("html")).to_have_class(re.compile(r"\baway\b"))
    own.restart()
    view.is_live()
    expect(banner).to_be_hidden()
    expect(page.locator("html")).not_to_have_class(re.compile(r"\baway\b"))


def test_page_reports_a_silent_dashboard(
    window: Callable[..., Window], serve: Callable[..., Dashboard], queue: Queue
) -> None:
    own = serve()
    view = window(address=own.address)
    page = view.go("/queues")
    own.process.send_signal(signal.SIGSTOP)
    expect(page.locator("#live-words")).to_have_text(re.compile(r"no updates for \d+ s"))
    expect(page.locator(".live")).to_have_attribute("data-live-state", "silent")
    expect(page.locator("#trouble")).to_contain_text("The dashboard is unavailable.")
    own.process.send_signal(signal.SIGCONT)
    queue.put("first")
    view.is_live()
    expect(page.locator(f"tr[data-queue={queue.name}] [data-n=waiting]")).to_have_text("1")


def test_page_without_its_stream_polls(window: Callable[..., Window], queue: Queue) -> None:
    view = window()
    view.forgiven.append(NETWORK)
    view.context.route("**/api/v1/events*", lambda route: route.fulfill(status=503, body="no"))
    queue.put("first")
    view.page.clock.install()
    page = view.go("/queues")
    number = page.locator(f"tr[data-queue={queue.name}] [data-n=waiting]")
    row = f"document.querySelector('tr[data-queue={queue.name}]')"
    view.skip(5_000, row)  # the queue may be younger than the dashboard's last poll
    expect(number).to_have_text("1")
    queue.put("second")
    view.skip(5_000, f"{row}.querySelector('[data-n=waiting]').textContent === '2'")
    expect(number).to_have_text("2")
    queue.pause()
    view.skip(5_000, f"{row}.querySelector('.state').textContent.includes('paused')")
    expect(page.locator(f"tr[data-queue={queue.name}] .state")).to_have_text(re.compile("paused"))


COUNTS_POLLS = """
window.polls = new Set();
const set = window.setTimeout, clear = window.clearTimeout;
window.setTimeout = (run, wait, ...rest) => {
  const timer = set(() => { window.polls.delete(timer); run(...rest); }, wait);
  if (wait === 5000) window.polls.add(timer);
  return timer;
};
window.clearTimeout = (timer) => { window.polls.delete(timer); clear(timer); };
"""


def test_polling_page_has_a_single_poll_loop_after_a_pause(
    window: Callable[..., Window], queue: Queue
) -> None:
    view, held = window(), []

    def hold(route: Route) -> None:
        held.append(route)

    view.forgiven.append(NETWORK)
    view.page.add_init_script(COUNTS_POLLS)
    view.context.route("**/api/v1/events*", lambda route: route.fulfill(status=503, body="no"))
    view.context.route("**/api/v1/snapshot*", hold)
    page = view.go("/queues", live=False)
    polls(page, held, 1)
    for _ in range(2):
        page.locator("#pause").click()
    polls(page, held, 2)
    for route in held:
        with page.expect_response("**/api/v1/snapshot*"):
            route.continue_()
    view.is_live()
    view.comes_true("window.polls.size > 0")
    page.wait_for_timeout(200)  # in which the other answer would begin another loop
    assert page.evaluate("window.polls.size") == 1


def polls(page: Page, held: list[Route], number: int) -> None:
    """Wait until the page has asked so often."""
    deadline = time.monotonic() + PATIENCE / 1000
    while len(held) < number:
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def test_missing_page_is_reported(window: Callable[..., Window], queue: Queue, one_server: Any) -> None:
    view = window()
    page = view.page
    view.forgiven.append("status of 404")
    page.goto(view.address + "/queues/never")
    expect(page.locator("h1")).to_have_text(re.compile("no queue is called never"))
    page.goto(view.address + f"/queues/{queue.name}/jobs/never")
    expect(page.locator("h1")).to_contain_text(re.compile("never|no job|no queue", re.IGNORECASE))
    page.goto(view.address + "/nowhere")
    expect(page.locator("h1")).to_have_text("There is no such page")
