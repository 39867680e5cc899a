"""The live channel: only the latest updates, to permitted viewers, for as long as they listen."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import ClientDisconnect, Request

from conveyor import clock
from conveyor.dashboard import live
from conveyor.dashboard.access.rights import LOCAL, Access, Role
from conveyor.dashboard.live import EventStream, Viewer, events
from conveyor.dashboard.live_stats import live_stats
from conveyor.monitor.snapshot import NOTHING

from ..visitor_kit import ADA  # noqa: TID252 - test folders are no packages
from .core_kit import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.dashboard.poller import PagePoller


def test_slow_reader_gets_the_latest_of_each_topic_once() -> None:
    async def news() -> dict[str, object]:
        viewer = Viewer(["/a"], ADA)
        for number in range(1000):
            viewer.notify("changed /a", {"version": number})
            viewer.notify("changed /b", {"version": -number})
        await asyncio.sleep(0)
        return await viewer.take(10)

    assert asyncio.run(news()) == {"changed /a": {"version": 999}, "changed /b": {"version": -999}}


def test_repeated_version_is_not_sent_but_live_stats_are() -> None:
    pulse = live_stats(NOTHING, 1.0)

    async def news() -> list[dict[str, object]]:
        viewer, taken = Viewer(["/a"], ADA), []
        for version in (1, 1, 2, 1):
            viewer.notify("pulse", pulse)
            viewer.notify("changed /a", version)
            await asyncio.sleep(0)
            taken.append(await viewer.take(10))
        return taken

    first, second, third, fourth = asyncio.run(news())
    assert first == {"pulse": pulse, "changed /a": 1}
    assert second == {"pulse": pulse.since(pulse)}
    assert [third["changed /a"], fourth["changed /a"]] == [2, 1]


def test_same_trouble_is_sent_again_after_a_recovery() -> None:
    async def news() -> list[list[str]]:
        viewer, taken = Viewer([], ADA), []
        for topics in (["trouble"], ["trouble"], ["pulse"], ["trouble"], ["pulse", "trouble", "pulse"]):
            for topic in topics:
                viewer.notify(topic, {"why": "away"})
            await asyncio.sleep(0)
            taken.append(list(await viewer.take(10)))
        return taken

    assert asyncio.run(news()) == [["trouble"], [], ["pulse"], ["trouble"], ["pulse"]]


def test_newest_of_trouble_and_live_stats_is_sent_last() -> None:
    async def news(*topics: str) -> list[str]:
        viewer = Viewer([], ADA)
        for number, topic in enumerate(topics):
            viewer.notify(topic, number)
        await asyncio.sleep(0)
        return list(await viewer.take(10))

    assert asyncio.run(news("pulse", "trouble", "pulse")) == ["trouble", "pulse"]
    assert asyncio.run(news("trouble", "pulse", "trouble")) == ["pulse", "trouble"]


def test_viewer_with_a_closed_loop_is_ignored() -> None:
    async def viewer() -> Viewer:
        return Viewer([], ADA)

    asyncio.run(viewer()).notify("pulse", 1)


async def read(poller: PagePoller, hear: Callable[[bytes], object] = lambda _: None) -> list[bytes]:
    """Return the pieces of a stream of a minute; each is heard as it comes."""
    viewer = Viewer(["/a"], ADA)
    poller.subscribe(viewer)
    return [hear(piece) or piece async for piece in events(poller, viewer, longest=60.0)]


@pytest.mark.usefixtures("quick_steps")
def test_stream_ends_at_its_time_limit_and_stops_watching(
    poller_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller, real = poller_of(page("a")), clock.monotonic

    def hear(piece: bytes) -> None:
        if piece.startswith(b"event: changed\n"):
            monkeypatch.setattr(clock, "monotonic", lambda: real() + 60.0)

    first, *between, last = asyncio.run(read(poller, hear))
    assert re.fullmatch(rb"retry: \d{4}\n\n", first)
    assert any(piece.startswith(b"event: changed\n") for piece in between)
    assert last == b"event: over\ndata: {}\n\n"
    assert len(poller.subscribers) == 0


@pytest.mark.usefixtures("quick_steps")
def test_end_all_ends_every_stream_from_any_thread(poller_of: Any, eventually: Any) -> None:
    poller = poller_of(page("a"))

    def end() -> None:
        eventually(lambda: len(poller.subscribers) == 3 and len(live._open) == 3)
        live.end_all()

    async def three() -> list[list[bytes]]:
        return await asyncio.gather(*(read(poller) for _ in range(3)))

    ender = threading.Thread(target=end)
    ender.start()
    streams = asyncio.run(three())
    ender.join()
    assert [pieces[-1] for pieces in streams] == [b"event: over\ndata: {}\n\n"] * 3
    assert (len(poller.subscribers), live._open) == (0, set())


def test_comment_is_sent_if_there_are_no_updates(poller_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PING", 0.01)
    poller = poller_of()

    async def pieces() -> list[bytes]:
        async with contextlib.aclosing(events(poller, Viewer([], ADA))) as stream:
            return [await anext(stream) for _ in range(3)]

    assert asyncio.run(pieces())[1:] == [b": still here\n\n"] * 2


def test_viewer_that_disconnects_while_sending_is_removed(poller_of: Any) -> None:
    """Removal outside the generator matters, since a cancellation while sending never reaches it."""
    poller = poller_of(page("a"))

    async def watched_after() -> tuple[int, int]:
        sending, hangs_up = asyncio.Event(), asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                sending.set()
                await asyncio.Event().wait()

        async def receive() -> dict[str, str]:
            await hangs_up.wait()
            return {"type": "http.disconnect"}

        answer = EventStream(poller, Viewer(["/a"], ADA))
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        listening = asyncio.create_task(answer(scope, receive, send))
        await sending.wait()
        before = len(poller.subscribers)
        hangs_up.set()
        await listening
        return before, len(poller.subscribers)

    gc.disable()  # a collection would hide the leak
    try:
        assert asyncio.run(watched_after()) == (1, 0)
    finally:
        gc.enable()


def request_of(access: Access) -> Request:
    return Request({"type": "http", "headers": [], "query_string": b"", "state": {"access": access}})


def test_simultaneous_streams_do_not_exceed_the_limit(
    poller_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 2)
    channel = live.LiveChannel(poller_of(page("a")))

    async def opened() -> list[int]:
        """Open streams before any of them has sent something."""
        return [(await channel.stream(request_of(ADA))).status_code for _ in range(4)]

    assert asyncio.run(opened()) == [200, 200, 503, 503]


def test_single_user_cannot_exhaust_the_streams(poller_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_EACH", 2)
    channel, bob = live.LiveChannel(poller_of(page("a"))), Access.of("bob", Role.VIEWER)

    async def opened(access: Access) -> list[int]:
        return [(await channel.stream(request_of(access))).status_code for _ in range(3)]

    async def all_opened() -> list[list[int]]:
        return [await opened(one) for one in (ADA, bob, LOCAL)]

    assert asyncio.run(all_opened()) == [[200, 200, 503], [200, 200, 503], [200, 200, 200]]


def test_stream_that_fails_at_its_start_does_not_count_further(poller_of: Any) -> None:
    poller = poller_of(page("a"))

    async def failed() -> None:
        async def nothing(*_: Any) -> Any:
            message = "hung up"
            raise OSError(message)

        answer = EventStream(poller, Viewer(["/a"], ADA))
        assert len(poller.subscribers) == 1
        await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, nothing, nothing)

    with pytest.raises(ClientDisconnect):
        asyncio.run(failed())
    assert len(poller.subscribers) == 0
