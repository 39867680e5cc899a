"""Going from page to page costs little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .scene import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window

#: Requests and bytes, decoded, that one navigation may cost.
MOST_REQUESTS, MOST_BYTES = 3, 60 * 1024
STREAM = "/api/v1/events"


def of_the_navigation(replies: list[Any]) -> list[Any]:
    """Give those that cannot be news: all until the stream is open, and of the later ones what no news leads to."""
    stream = next((number for number, reply in enumerate(replies) if STREAM in reply.url), len(replies))
    later = [reply for reply in replies[stream + 1 :] if not is_news(reply)]
    return replies[: stream + 1] + later


def is_news(reply: Any) -> bool:
    """Say whether a page asked for this because it was told that something has changed."""
    return "conveyor-part" in reply.request.headers or "/log?" in reply.url


def test_a_navigation_costs_three_requests_and_sixty_kilobytes_at_most(
    window: Callable[..., Window],
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    scene = build(queue.client, consume, path, eventually, queue.name)
    view = window()
    view.forgiven.append("status of 404")
    view.go(scene.pages["overview"])
    costs = {}
    for name, address in scene.pages.items():
        if name == "no such page":
            continue
        read: list[Any] = []
        view.page.on("response", lambda reply, read=read: read.append(reply))
        view.go(address)
        # What never changes is in the browser's memory, and not asked for.
        asked = of_the_navigation([reply for reply in read if "/static/" not in reply.url])
        bodies = [reply.body() for reply in asked if reply.status == 200 and STREAM not in reply.url]
        costs[name] = (len(asked), sum(map(len, bodies)))
    assert {
        name: cost for name, cost in costs.items() if cost[0] > MOST_REQUESTS or cost[1] > MOST_BYTES
    } == {}
