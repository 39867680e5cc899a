"""Navigation from page to page costs little."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from .scene import build
from .window import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

    from .window import Window

#: Requests and bytes, decoded, that one navigation may cost.
MOST_REQUESTS, MOST_BYTES = 3, 60 * 1024
STREAM = "/api/v1/events"


class Traffic:
    """The requests of a page and the bytes of their responses, as the browser counts them while they arrive.

    A body cannot be asked for afterwards: the browser drops it when the page moves on.
    """

    def __init__(self, view: Window) -> None:
        self.view = view
        self.requests: list[dict[str, Any]] = []
        self.bytes: Counter[str] = Counter()
        self.finished: set[str] = set()
        browser = view.context.new_cdp_session(view.page)
        browser.on("Network.requestWillBeSent", lambda told: self.requests.append(told))  # noqa: PLW0108 - Playwright wants a function
        browser.on("Network.dataReceived", self._receive)
        for event in ("Network.loadingFinished", "Network.loadingFailed"):
            browser.on(event, lambda told: self.finished.add(told["requestId"]))
        browser.send("Network.enable")

    def _receive(self, told: dict[str, Any]) -> None:
        self.bytes[told["requestId"]] += told["dataLength"]

    def cost(self, path: str) -> tuple[int, int]:
        """Go to a path, and return how many requests and bytes that took, the stream's bytes left out."""
        self.requests.clear()
        self.view.go(path)
        made = of_the_last_document(self.requests)
        asked = of_the_navigation([one for one in made if self._counts(one["request"]["url"])])
        loads = {one["requestId"] for one in asked if STREAM not in one["request"]["url"]}
        deadline = time.monotonic() + PATIENCE / 1000
        while not loads <= self.finished:
            assert time.monotonic() < deadline, path
            self.view.page.wait_for_timeout(20)
        return len(asked), sum(self.bytes[one] for one in loads)

    def _counts(self, url: str) -> bool:
        """Return True for requests to the page's server for changing content."""
        return url.startswith(self.view.address) and "/static/" not in url


def of_the_last_document(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests of the last page, without those that the page before made while it was left.

    These may never be reported as finished.
    """
    document = [one["loaderId"] for one in requests if one["type"] == "Document"][-1]
    return [one for one in requests if one["loaderId"] == document]


def of_the_navigation(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests of the navigation itself: all up to the stream's, and later ones not caused by an update."""
    stream = next(
        (number for number, one in enumerate(requests) if STREAM in one["request"]["url"]), len(requests)
    )
    later = [one for one in requests[stream + 1 :] if not is_news(one["request"])]
    return requests[: stream + 1] + later


def is_news(request: dict[str, Any]) -> bool:
    """Return True if a page sent this request because of a reported change."""
    return "conveyor-part" in map(str.lower, request["headers"]) or "/log?" in request["url"]


def test_navigation_costs_at_most_three_requests_and_60_kb(
    window: Callable[..., Window],
    queue: Queue,
    consume: Callable[..., Any],
    path: Path,
    eventually: Callable[..., Any],
) -> None:
    scene = build(queue.client, consume, path, eventually, queue.name)
    view = window()
    view.go(scene.pages["overview"])  # static files are in the browser's cache from here on
    traffic = Traffic(view)
    costs = {name: traffic.cost(address) for name, address in scene.pages.items() if name != "no such page"}
    assert all(requests and size for requests, size in costs.values())
    assert {
        name: cost for name, cost in costs.items() if cost[0] > MOST_REQUESTS or cost[1] > MOST_BYTES
    } == {}
