"""The live channel: a stream of server-sent events for each browser, and the same for clients that poll.

A viewer has one slot per topic that holds the latest update, so a slow one costs no memory. The protocol is that of
the HTML standard, section 9.2 (text/event-stream).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response, StreamingResponse

from conveyor import clock
from conveyor.dashboard.access.problems import Problem, json_response
from conveyor.dashboard.access.request import has_streams
from conveyor.dashboard.access.security import allowed
from conveyor.dashboard.api.problems import problem_of
from conveyor.dashboard.live_stats import LiveStats, live_stats
from conveyor.dashboard.poller import pages_at
from conveyor.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from conveyor.dashboard.access.rights import Access
    from conveyor.dashboard.poller import PagePoller

#: Streams of one process; further viewers poll.
MAX_STREAMS = 200
#: Of these, those of one person: a browser has one for all its tabs. A local client without a name may have all.
MAX_EACH = 20
#: Seconds without an update after which a comment is sent, so that no proxy disconnects.
PING = 15.0
#: Seconds after which a stream ends and the browser opens the next: then a revoked login and a new version count.
MAX_SECONDS = 600.0
#: Addresses that one stream may watch: the open tabs of one browser.
MAX_ADDRESSES = 30
#: Topic of the last message of a stream; the browser then opens the next one.
OVER = "over"

_open: set[Viewer] = set()
_encode = msgspec.json.Encoder().encode


class Viewer:
    """The subscriber behind one open stream."""

    def __init__(self, addresses: Iterable[str], access: Access) -> None:
        self.addresses = frozenset(list(addresses)[:MAX_ADDRESSES])
        self.access = access
        self._loop = asyncio.get_running_loop()
        self._updates: dict[str, object] = {}
        self._sent: dict[str, object] = {}
        self._ready = asyncio.Event()

    def notify(self, topic: str, data: object) -> None:
        """Receive an update; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has just been closed, and no one reads any more
            self._loop.call_soon_threadsafe(self._put, topic, data)

    def _put(self, topic: str, data: object) -> None:
        self._updates.pop(topic, None)  # the latest goes last: of trouble and a pulse the newer one counts
        self._updates[topic] = data
        self._ready.set()

    async def take(self, seconds: float) -> dict[str, object]:
        """Return the updates by topic, after `seconds` at the latest; what was sent before is not an update.

        Live numbers always are, but after the first ones only the queues that have changed are included.
        """
        try:
            await asyncio.wait_for(self._ready.wait(), seconds)
        except TimeoutError:
            return {}
        self._ready.clear()
        updates, self._updates = self._updates, {}
        fresh = {
            topic: data
            for topic, data in updates.items()
            if topic == "pulse" or self._sent.get(topic) != data
        }
        before = self._sent.get("pulse")
        self._sent.update(fresh)
        stats = fresh.get("pulse")
        if stats is not None:
            self._sent.pop("trouble", None)  # it is over; the same one would be an update again
        if isinstance(stats, LiveStats) and isinstance(before, LiveStats):
            fresh["pulse"] = stats.since(before)
        return fresh


async def events(
    poller: PagePoller, viewer: Viewer, *, longest: float = MAX_SECONDS
) -> AsyncGenerator[bytes]:
    """Yield the bytes of one stream to a subscribed viewer, until it has lasted long enough or the viewer leaves."""
    deadline = clock.Deadline(longest)
    _open.add(viewer)
    try:
        yield f"retry: {random.SystemRandom().randint(1500, 3000)}\n\n".encode()
        while not deadline.passed():
            updates = await viewer.take(min(PING, deadline.left(PING) or 0.001))
            if not updates:
                yield b": still here\n\n"
            is_over = updates.pop(OVER, None) is not None  # nothing may come after that
            for topic, data in updates.items():
                yield message(topic.partition(" ")[0], data)
            if is_over:
                break
        yield message(OVER, {})
    finally:
        _open.discard(viewer)
        poller.unsubscribe(viewer)


class EventStream(StreamingResponse):
    """The response that is a stream; a viewer that disconnects is unsubscribed immediately."""

    def __init__(self, poller: PagePoller, viewer: Viewer) -> None:
        self._unsubscribe = functools.partial(poller.unsubscribe, viewer)
        poller.subscribe(viewer)  # now, so that simultaneous requests cannot exceed the limit
        self._messages = events(poller, viewer)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._messages, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send messages until one side has had enough."""
        # Cancelled while sending, the generator would end when it is collected, and the server be polled until then.
        try:
            async with contextlib.aclosing(self._messages):
                await super().__call__(scope, receive, send)
        finally:
            self._unsubscribe()  # the generator does not if it was never started


def message(kind: str, data: object) -> bytes:
    """Return the bytes of one event."""
    return b"event: " + kind.encode() + b"\ndata: " + _encode(data) + b"\n\n"


def end_all() -> None:
    """End every stream of this process, so that its server can exit immediately."""
    for viewer in list(_open):
        viewer.notify(OVER, {})


class LiveChannel:
    """The endpoints of the live channel."""

    def __init__(self, poller: PagePoller) -> None:
        self.poller = poller

    async def stream(self, request: Request) -> Response:
        """Open a stream of events about the pages named by `watch`; 503 if there are too many, or can be none."""
        access = allowed(request.scope, "look")
        if not has_streams(request.scope) or self._is_full_for(access):
            detail = "Too many streams are open, or there can be none here."
            return json_response(Problem(503, "no-stream", detail, "poll /api/v1/snapshot"))
        return EventStream(self.poller, Viewer(_watched(request), access))

    def _is_full_for(self, access: Access) -> bool:
        subscribers = self.poller.subscribers
        own = sum(one.access is not None and one.access.who == access.who for one in subscribers)
        return len(subscribers) >= MAX_STREAMS or (access.source != "local" and own >= MAX_EACH)

    def snapshot(self, request: Request) -> Response:
        """Return what a stream would send now: the numbers, and the versions of the pages named by `watch`."""
        access, poller = allowed(request.scope, "look"), self.poller
        try:
            poller.fresh()
            pages = pages_at(_watched(request), access, poller.registry)
            versions = poller.versions({one[1].address: one for one in pages.values()})
        except StoreError as error:
            return json_response(problem_of(error))
        changed = [
            {"address": address, "version": versions[one.address]}
            for address, (_, one) in pages.items()
            if one.address in versions
        ]
        stats = live_stats(poller.snapshot, poller.interval.seconds)
        headers = {"cache-control": "no-store"}
        body = _encode({"pulse": stats, "changed": changed})
        return Response(body, media_type="application/json", headers=headers)


def _watched(request: Request) -> list[str]:
    """Return the addresses named by `watch`."""
    return request.query_params.getlist("watch")[:MAX_ADDRESSES]
