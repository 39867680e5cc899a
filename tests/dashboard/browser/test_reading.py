"""Every page is readable: with low vision, on a small screen, without JavaScript, without motion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser_tasks import double
from playwright.sync_api import expect

from conveyor.dashboard.access.users import hashed

from .scene import Scene, build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from conveyor import Queue

    from .kit import Dashboard
    from .window import Window

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
RUN = """async (rules) => {
  const options = rules ? { runOnly: { type: 'rule', values: rules } }
    : { rules: { 'target-size': { enabled: true } } };
  options.resultTypes = ['violations'];
  const found = await axe.run(document, options);
  return found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 5).map((node) =>
    `${node.html.slice(0, 160)} [${node.failureSummary.slice(0, 200)}]`).join(' | ')}`);
}"""
#: Widths of phones, tablets and windows, and those at which the layout changes.
WIDTHS = (320, 390, 720, 768, 820, 1024, 1080, 1081, 1440)
TOO_WIDE = """() => {
  const wide = (one) => one.scrollWidth > one.clientWidth;
  const boxes = [...document.querySelectorAll('.table-box')].filter(wide);
  return [document.documentElement, document.querySelector('.top')].filter(wide).concat(boxes)
    .map((one) => `${one.outerHTML.slice(0, 90)}: ${one.scrollWidth} of ${one.clientWidth} px`);
}"""

#: Charts are drawn again a moment after the width has changed.
CHARTS_FOLLOW = """new Promise((done) => requestAnimationFrame(
  () => setTimeout(done, document.querySelector('[data-chart]') ? 50 : 0)))"""

#: Short messages of each kind, and the notice that the server is unavailable.
MESSAGES = """async () => {
  const { toast } = await import(`${document.body.dataset.static}/shell.js`);
  for (const kind of ['', 'good', 'wrong']) toast(`A message that is ${kind || 'plain'}`, kind, 0);
  for (const box of document.querySelectorAll('.trouble')) { box.textContent = 'No answer.'; box.hidden = false; }
}"""


@pytest.fixture
def scene(
    one_server: Any, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any], queue: Queue
) -> Scene:
    """Return a server with an example of everything."""
    return build(queue.client, consume, path, eventually, queue.name)


def settle(page: Page) -> None:
    """Wait until the page's fades have ended, since a color in between has no contrast."""
    page.evaluate(
        """Promise.allSettled(document.getAnimations()
          .filter((one) => one.effect.getTiming().iterations !== Infinity).map((one) => one.finished))"""
    )


def violations(page: Page, name: str) -> list[str]:
    """Return axe's findings: all of them in two of the four layouts, contrast in the two that differ by color."""
    found = []
    page.evaluate(AXE)
    looks = (
        (1440, "light", None),
        (1440, "dark", ["color-contrast"]),
        (390, "dark", None),
        (390, "light", ["color-contrast"]),
    )
    for width, theme, rules in looks:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        settle(page)
        found += [f"{name}, {width} px, {theme}: {one}" for one in page.evaluate(RUN, rules)]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(CHARTS_FOLLOW)
        found += [f"{name}, {width} px: scrolls sideways: {one}" for one in page.evaluate(TOO_WIDE)]
    return found


@pytest.mark.timeout(400)  # twenty pages with eight checks each, which takes long on a busy machine
def test_pages_have_no_axe_violations_and_no_sideways_scrolling(
    window: Callable[..., Window], scene: Scene
) -> None:
    view = window(reduced_motion="reduce")
    view.forgiven += ["status of 404"]
    page, found = view.page, []
    for name, address in scene.pages.items():
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto(view.address + address)
        found += violations(page, name)
    assert found == [], "\n".join(found)


def test_dialogs_have_no_axe_violations(window: Callable[..., Window], scene: Scene) -> None:
    view = window(reduced_motion="reduce")
    page = view.go(scene.pages["queue"])
    page.get_by_role("button", name="Empty").click()
    expect(page.locator("#confirm")).to_be_visible()
    found = violations(page, "confirm")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    found += violations(page, "keys")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-list li").first).to_be_visible()
    found += violations(page, "palette")
    assert found == [], "\n".join(found)


def test_error_messages_are_accessible(window: Callable[..., Window], scene: Scene) -> None:
    view = window(reduced_motion="reduce")
    view.forgiven.append("status of 4")
    page = view.go(scene.pages["form"])
    page.get_by_label("times").fill("0")
    page.get_by_role("button", name="Enqueue", exact=True).click()
    expect(page.locator("[aria-invalid]").first).to_be_visible()
    found = violations(page, "form with faults")
    page.set_viewport_size({"width": 1440, "height": 900})
    page = view.go(scene.pages["queue"])
    page.evaluate(MESSAGES)
    expect(page.locator(".toast")).to_have_count(3)
    found += violations(page, "messages")
    assert found == [], "\n".join(found)


def test_page_without_its_server_is_accessible(
    window: Callable[..., Window], serve: Callable[..., Dashboard], own_server: Any
) -> None:
    view = window(address=serve(url=own_server.url).address, reduced_motion="reduce")
    own_server.stop()
    view.forgiven.append("status of 503")
    view.page.goto(f"{view.address}/")
    expect(view.page.locator("h1")).to_contain_text("is unavailable")
    assert violations(view.page, "server away") == []


@pytest.fixture
def with_login(serve: Callable[..., Dashboard], tmp_path: Path) -> Iterator[Dashboard]:
    """Return a dashboard with a login."""
    users = tmp_path / "users"
    users.touch(0o600)
    users.write_text(f"vera:viewer:{hashed('a long password')}\n")
    return serve("--users", str(users))


def test_login_is_accessible_and_usable(
    window: Callable[..., Window], with_login: Dashboard, queue: Queue
) -> None:
    queue.put("something")
    view = window(address=with_login.address, reduced_motion="reduce")
    view.forgiven.append("status of 40[13]")
    page = view.page
    page.goto(f"{view.address}/queues")
    found = violations(page, "login")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill("a wrong password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    found += violations(page, "login refused")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill("a long password")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Queues")
    view.is_live()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_have_count(0)
    page.goto(f"{view.address}/enqueue")
    found += violations(page, "forbidden")
    assert found == [], "\n".join(found)


def test_every_page_works_without_javascript(window: Callable[..., Window], scene: Scene) -> None:
    """Each is readable, and hides the controls that need scripts."""
    view = window(java_script_enabled=False)
    view.forgiven.append("status of 404")
    facts = {
        "overview": "full",
        "queues": "paused",
        "queue": "running",
        "full queue": "4",
        "running jobs": "report",
        "dead jobs": "ValueError",
        "running job": "nearly there",
        "done job": "42",
        "dead job": "Traceback",
        "workers": "far-1",
        "worker": "far-1",
        "failures": "ValueError",
        "form": "number",
        "system": "puts are refused",
    }
    buttons = "button:not([type=submit]):not(form[method] button)"
    dead = f"input[type=checkbox]:not([data-argument]), .log-tools input, {buttons}"
    missing, found = [], []
    for name, address in scene.pages.items():
        page = view.go(address, live=False)
        expect(page.locator("h1")).to_have_count(1)
        text = page.locator("main").inner_text()
        if facts.get(name, "") not in text:
            missing.append((name, text[:300]))
        seen = page.locator(f"main :is({dead}):visible").evaluate_all(
            "all => all.map((one) => one.outerHTML)"
        )
        found += [(name, html) for html in seen]
    assert missing == []
    assert found == []


def test_times_are_as_of_rendering_without_javascript(window: Callable[..., Window], scene: Scene) -> None:
    view = window(java_script_enabled=False)
    page = view.go(scene.pages["overview"], live=False)
    expect(page.locator("[data-total-since=oldest]")).to_have_text(re.compile(r"^\d+ (s|min)( \d+ s)?$"))
    page = view.go(scene.pages["running job"], live=False)
    times = page.locator(".facts div").filter(has_text="Started").locator("time")
    expect(times).to_have_text([re.compile("just now|ago"), re.compile(r"UTC$")])


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_phone_has_a_compact_header_with_a_menu(window: Callable[..., Window], *, scripts: bool) -> None:
    phone = {"width": 390, "height": 844}
    view = window(java_script_enabled=scripts, viewport=phone, reduced_motion="reduce")
    page = view.go("/", live=scripts)
    head = page.locator(".top").bounding_box()
    assert head is not None
    assert head["height"] < 60
    link = page.get_by_role("link", name="Workers", exact=True)
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(link).to_be_visible()
    if scripts:
        assert violations(page, "menu") == []
        page.set_viewport_size(phone)
    link.click()
    expect(page.locator("h1")).to_contain_text("Workers")
    expect(link).to_be_hidden()


def test_animations_are_off_if_reduced_motion_is_preferred(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any]
) -> None:
    consume(queue.name)
    queue.submit(double, 1).result(30)
    view = window(reduced_motion="reduce")
    page = view.go()
    expect(page.locator(f"#belt-{queue.name}")).to_be_visible()
    page.evaluate(
        """() => {
          window.moved = [];
          const look = () => {
            for (const one of document.getAnimations()) {
              if (Number(one.effect.getComputedTiming().duration) > 1) window.moved.push(String(one.animationName));
            }
            if (document.querySelector('.traveller')) window.moved.push('traveller');
            requestAnimationFrame(look);
          };
          look();
        }"""
    )
    for _ in range(2):
        for job in queue.submit_many(double, [(1,)] * 3):
            job.result(30)
        ended = page.locator(f"#belt-{queue.name} [data-n=rate_out]")
        expect(ended).not_to_have_text("0")
    assert page.evaluate("window.moved") == []
