"""Server-sent events: each viewer has one slot per topic that holds the latest news, so a slow one costs no memory.

The protocol is that of the HTML standard, section 9.2 (text/event-stream).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import StreamingResponse

from conveyor import clock
from conveyor.dashboard.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from starlette.types import Receive, Scope, Send

    from conveyor.dashboard.access.rights import Access
    from conveyor.dashboard.sampler import Sampler

#: Streams of one process at most; further viewers are told to poll.
MOST_STREAMS = 200
#: Of these, those of one person: a browser has one for all its tabs. Who is local and has no name may have all.
MOST_EACH = 20
#: Seconds without news after which a comment is sent, so that nobody in between hangs up.
PING = 15.0
#: Seconds after which a stream ends and the browser opens the next: a login taken back, a new version take effect.
LONGEST = 600.0
#: Addresses that one stream may watch: the open tabs of one browser.
MOST_ADDRESSES = 30

OVER = "over"
"""The topic of the last message of a stream; the browser then opens the next one."""
_open: set[Viewer] = set()

_encode = msgspec.json.Encoder().encode


class Viewer:
    """One open stream."""

    def __init__(self, addresses: Iterable[str], access: Access) -> None:
        self.addresses = frozenset(list(addresses)[:MOST_ADDRESSES])
        self.access = access
        self._loop = asyncio.get_running_loop()
        self._news: dict[str, object] = {}
        self._said: dict[str, object] = {}
        self._ready = asyncio.Event()

    def tell(self, topic: str, data: object) -> None:
        """Take news in; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has just been closed, and nobody reads any more
            self._loop.call_soon_threadsafe(self._put, topic, data)

    def _put(self, topic: str, data: object) -> None:
        self._news.pop(
            topic, None
        )  # the latest goes last, so that of trouble and a pulse the newer one counts
        self._news[topic] = data
        self._ready.set()

    async def take(self, seconds: float) -> dict[str, object]:
        """Give what is new by topic, after `seconds` at the latest; what was said before is not news.

        A pulse always is, but after the first one it tells only of the queues that have changed.
        """
        try:
            await asyncio.wait_for(self._ready.wait(), seconds)
        except TimeoutError:
            return {}
        self._ready.clear()
        news, self._news = self._news, {}
        fresh = {
            topic: data for topic, data in news.items() if topic == "pulse" or self._said.get(topic) != data
        }
        before = self._said.get("pulse")
        self._said.update(fresh)
        pulse = fresh.get("pulse")
        if pulse is not None:
            self._said.pop("trouble", None)  # it is over; the same one would be news again
        if isinstance(pulse, Pulse) and isinstance(before, Pulse):
            fresh["pulse"] = pulse.since(before)
        return fresh


async def events(sampler: Sampler, viewer: Viewer, *, longest: float = LONGEST) -> AsyncGenerator[bytes]:
    """Give the bytes of one stream to a viewer who watches, until it has lasted long enough or the viewer goes away."""
    deadline = clock.Deadline(longest)
    _open.add(viewer)
    try:
        yield f"retry: {random.SystemRandom().randint(1500, 3000)}\n\n".encode()
        while not deadline.passed():
            news = await viewer.take(min(PING, deadline.left(PING) or 0.001))
            if not news:
                yield b": still here\n\n"
            is_over = news.pop(OVER, None) is not None  # nothing may come after that
            for topic, data in news.items():
                yield message(topic.partition(" ")[0], data)
            if is_over:
                break
        yield message(OVER, {})
    finally:
        _open.discard(viewer)
        sampler.unwatch(viewer)


class EventStream(StreamingResponse):
    """The answer that is a stream; whoever hangs up is unwatched at once, also while a piece was being sent."""

    def __init__(self, sampler: Sampler, viewer: Viewer) -> None:
        self._end_watching = functools.partial(sampler.unwatch, viewer)
        # It counts from now on, so that those who come at the same moment are not too many.
        sampler.watch(viewer)
        self._pieces = events(sampler, viewer)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._pieces, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces until one side has had enough."""
        # Cancelled while sending, the generator would end when it is collected, and the server be asked until then.
        try:
            async with contextlib.aclosing(self._pieces):
                await super().__call__(scope, receive, send)
        finally:
            self._end_watching()  # the pieces do not, where not one was taken


def message(kind: str, data: object) -> bytes:
    """Give the bytes of one event."""
    return b"event: " + kind.encode() + b"\ndata: " + _encode(data) + b"\n\n"


def end_all() -> None:
    """End every stream of this process, so that whoever serves them can leave at once."""
    for viewer in list(_open):
        viewer.tell(OVER, {})
