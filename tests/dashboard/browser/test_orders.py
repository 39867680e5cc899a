"""How the page follows a control command whose acknowledgement takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from browser_tasks import hold
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window

#: Milliseconds by which the page's clock is advanced at a time: less than the page's longest wait.
STRIDE = 4_000
MINUTE = 60_000


def test_slow_acknowledgement_is_polled_ever_less_and_then_not(
    window: Callable[..., Window], queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume(queue.name)
    job = queue.submit(hold, str(path))
    view = window()
    view.page.clock.install()
    page = view.go("/workers")
    asked: list[str] = []
    page.on(
        "requestfinished", lambda request: asked.append(request.url) if "/orders/" in request.url else None
    )

    def later(milliseconds: int) -> int:
        """Advance the page's clock, and return the number of its polls."""
        before = len(asked)
        for _ in range(milliseconds // STRIDE):
            page.clock.run_for(STRIDE)
            page.evaluate("fetch(document.body.dataset.root + '/healthz')")  # by then an answer is there, too
        return len(asked) - before

    row = page.locator(f"tr[data-job='{job.id}']")  # the page may be a second older than its test
    expect(row).to_contain_text("busy")
    row.get_by_role("button", name="Stop").click()
    view.say_yes("enough for today")
    expect(page.locator(".toast")).to_contain_text("acknowledged")
    assert later(20_000) <= 10
    assert 10 <= later(5 * MINUTE) <= 60
    expect(page.locator(".toast")).to_contain_text("acknowledged")
    later(5 * MINUTE)
    expect(page.locator(".toast.wrong")).to_contain_text("No final reply in 10 min")
    assert later(MINUTE) == 0
    expect(page.locator(".toast")).to_have_count(0)
    path.touch()
    assert job.result(30) == "let go"
