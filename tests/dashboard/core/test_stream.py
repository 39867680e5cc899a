"""The live channel: the latest news and no older ones, to those who may have them, for as long as they listen."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard import live, stream
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.rights import RIGHTS, Access, Role
from conveyor.dashboard.app import application
from conveyor.dashboard.guard import Guard
from conveyor.dashboard.pulse import pulse_of
from conveyor.dashboard.stream import Viewer, events
from conveyor.inspector.snapshot import NOTHING

from ..crew_kit import ADA, Visitor  # noqa: TID252 - test folders are no packages
from ..mounting_kit import by_uvicorn  # noqa: TID252
from .core_kit import Listener, later, page, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.dashboard.sampler import Sampler

LIMITED = Access("bob", Role.VIEWER, RIGHTS[Role.VIEWER], queues=frozenset({"mail"}))


def test_who_does_not_read_gets_the_latest_of_each_topic_once() -> None:
    async def news() -> dict[str, object]:
        viewer = Viewer(["/a"], ADA)
        for number in range(1000):
            viewer.tell("changed /a", {"version": number})
            viewer.tell("changed /b", {"version": -number})
        await asyncio.sleep(0)
        return await viewer.take(10)

    assert asyncio.run(news()) == {"changed /a": {"version": 999}, "changed /b": {"version": -999}}


def test_what_was_said_is_no_news_but_a_pulse_always_is() -> None:
    pulse = pulse_of(NOTHING, 1.0)

    async def news() -> list[dict[str, object]]:
        viewer, taken = Viewer(["/a"], ADA), []
        for version in (1, 1, 2, 1):
            viewer.tell("pulse", pulse)
            viewer.tell("changed /a", version)
            await asyncio.sleep(0)
            taken.append(await viewer.take(10))
        return taken

    first, second, third, fourth = asyncio.run(news())
    assert first == {"pulse": pulse, "changed /a": 1}
    assert second == {"pulse": pulse}
    assert [third["changed /a"], fourth["changed /a"]] == [2, 1]


def test_the_same_trouble_is_news_again_after_it_was_over() -> None:
    async def news() -> list[list[str]]:
        viewer, taken = Viewer([], ADA), []
        for topics in (["trouble"], ["trouble"], ["pulse"], ["trouble"], ["pulse", "trouble", "pulse"]):
            for topic in topics:
                viewer.tell(topic, {"why": "away"})
            await asyncio.sleep(0)
            taken.append(list(await viewer.take(10)))
        return taken

    assert asyncio.run(news()) == [["trouble"], [], ["pulse"], ["trouble"], ["pulse"]]


def test_of_trouble_and_a_pulse_the_newer_one_is_said_last() -> None:
    async def news(*topics: str) -> list[str]:
        viewer = Viewer([], ADA)
        for number, topic in enumerate(topics):
            viewer.tell(topic, number)
        await asyncio.sleep(0)
        return list(await viewer.take(10))

    assert asyncio.run(news("pulse", "trouble", "pulse")) == ["trouble", "pulse"]
    assert asyncio.run(news("trouble", "pulse", "trouble")) == ["pulse", "trouble"]


def test_telling_a_viewer_whose_loop_is_closed_harms_nobody() -> None:
    async def viewer() -> Viewer:
        return Viewer([], ADA)

    asyncio.run(viewer()).tell("pulse", 1)


async def read(sampler: Sampler, viewer: Viewer, longest: float = 60.0) -> list[bytes]:
    return [piece async for piece in events(sampler, viewer, longest=longest)]


@pytest.mark.usefixtures("quick_steps")
def test_a_stream_ends_after_its_longest_time_and_stops_watching(sampler_of: Any) -> None:
    sampler = sampler_of(page("a"))

    async def pieces() -> list[bytes]:
        return await read(sampler, Viewer(["/a"], ADA), longest=0.2)

    first, *between, last = asyncio.run(pieces())
    assert re.fullmatch(rb"retry: \d{4}\n\n", first)
    assert any(piece.startswith(b"event: changed\n") for piece in between)
    assert last == b"event: over\ndata: {}\n\n"
    assert sampler.watcher_count == 0


@pytest.mark.usefixtures("quick_steps")
def test_end_all_ends_every_stream_from_any_thread(sampler_of: Any, eventually: Any) -> None:
    sampler = sampler_of(page("a"))

    def end() -> None:
        eventually(lambda: sampler.watcher_count == 3 and len(stream._open) == 3)
        stream.end_all()

    async def three() -> list[list[bytes]]:
        return await asyncio.gather(*(read(sampler, Viewer(["/a"], ADA)) for _ in range(3)))

    ender = threading.Thread(target=end)
    ender.start()
    streams = asyncio.run(three())
    ender.join()
    assert [pieces[-1] for pieces in streams] == [b"event: over\ndata: {}\n\n"] * 3
    assert (sampler.watcher_count, stream._open) == (0, set())


def test_a_comment_is_sent_where_there_is_no_news(sampler_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PING", 0.01)
    sampler = sampler_of()
    monkeypatch.setattr(sampler, "watch", lambda _: None)  # so nobody tells anything

    async def pieces() -> list[bytes]:
        return await read(sampler, Viewer([], ADA), longest=0.1)

    _, *between, _ = asyncio.run(pieces())
    assert len(between) >= 2
    assert set(between) == {b": still here\n\n"}


class Connection:
    """A raw connection with an open stream, read event by event."""

    def __init__(self, port: int, query: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        request = f"GET /api/v1/events?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.socket.sendall(request.encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        lines = iter(lambda: self.file.readline().strip(), b"")
        self.headers = dict(line.decode().lower().split(": ", 1) for line in lines)

    def block(self) -> list[str]:
        """Give the lines of the next event: one chunk of the answer."""
        data = self.file.read(int(self.file.readline(), 16))
        assert self.file.readline() == b"\r\n"
        assert data.endswith(b"\n\n")
        assert data.count(b"\n\n") == 1
        return data.decode().splitlines()[:-1]

    def next(self, kind: str) -> Any:
        """Give the data of the next event of a kind."""
        while True:
            lines = self.block()
            if lines[0] == f"event: {kind}":
                assert len(lines) == 2
                return json.loads(lines[1].removeprefix("data: "))

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def samplers(monkeypatch: pytest.MonkeyPatch) -> list[Sampler]:
    """Give the samplers of the applications that this test makes."""
    made: list[Sampler] = []

    class Noted(live.Live):
        def __init__(self, sampler: Sampler) -> None:
            super().__init__(sampler)
            made.append(sampler)

    monkeypatch.setattr("conveyor.dashboard.app.Live", Noted)
    return made


@pytest.fixture
def streaming(
    one_server: Any, samplers: list[Sampler], quick_steps: None, eventually: Any
) -> Callable[..., Any]:
    """Give the context in which a page is served to somebody: gives the function that opens a stream."""

    @contextmanager
    def streams(access: Access = ADA) -> Iterator[Callable[..., Connection]]:
        policy = Policy(resolve=lambda _: access)
        opened: list[Connection] = []
        with by_uvicorn(Guard(application(one_server.client, policy), policy), lifespan="off") as port:

            def connect(query: str = "") -> Connection:
                opened.append(Connection(port, query))
                return opened[-1]

            yield connect
            for connection in opened:
                connection.close()
            eventually(lambda: samplers[-1]._thread is None)

    return streams


def test_a_stream_is_events_with_a_name_and_one_line_of_json(streaming: Any, one_server: Any) -> None:
    put(one_server, "mail", 2)
    with streaming() as connect:
        connection = connect("watch=/queues&watch=/nowhere&watch=/queues/x/jobs/y")
        assert (connection.status, connection.headers["content-type"]) == (
            200,
            "text/event-stream; charset=utf-8",
        )
        assert connection.headers["cache-control"] == "no-store"
        assert connection.block()[0].startswith("retry: ")
        assert connection.next("pulse")["queues"]["mail"]["waiting"] == 2
        told = [connection.next("changed") for _ in range(2)]
        assert {one["address"] for one in told} == {"/queues", "/queues/x/jobs/y"}
        assert {one["address"]: one["version"] for one in told}["/queues/x/jobs/y"] == "gone"


def test_who_is_limited_to_some_queues_is_told_of_no_other(streaming: Any, one_server: Any) -> None:
    put(one_server, "mail", 1)
    put(one_server, "secret", 5)
    with streaming(LIMITED) as connect:
        connection = connect("watch=/queues/secret&watch=/queues/mail")
        assert list(connection.next("pulse")["queues"]) == ["mail"]
        told = [connection.block() for _ in range(4)]
        assert "secret" not in str(told)
        assert "/queues/mail" in str(told)
    body = (
        Visitor(one_server.url, LIMITED)
        .get("/api/v1/snapshot?watch=/queues/secret&watch=/queues/mail")
        .json()
    )
    assert list(body["pulse"]["queues"]) == ["mail"]
    assert [one["address"] for one in body["changed"]] == ["/queues/mail"]


def test_who_hangs_up_is_told_nothing_more(streaming: Any, samplers: list[Sampler], eventually: Any) -> None:
    with streaming() as connect:
        one, two = connect(), connect()
        one.next("pulse")
        two.next("pulse")
        assert samplers[-1].watcher_count == 2
        one.close()
        eventually(lambda: samplers[-1].watcher_count == 1)
        two.next("pulse")
        two.close()
        eventually(lambda: samplers[-1].watcher_count == 0)
        eventually(lambda: samplers[-1]._thread is None)


def test_too_many_streams_are_refused_with_the_way_that_is_left(
    streaming: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_STREAMS", 2)
    with streaming() as connect:
        for _ in range(2):
            connect().next("pulse")
        refused = connect()
        assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
        problem = json.loads(refused.file.read(int(refused.headers["content-length"])))
        assert problem["hint"] == "poll /api/v1/snapshot"


@pytest.mark.parametrize("address", ["/?" + "&".join(f"f{n}=1" for n in range(60)), "//[/"])
def test_an_address_that_makes_no_sense_harms_nobody(
    address: str, sampler_of: Any, eventually: Any, quick_steps: None
) -> None:
    sampler = sampler_of(page("a"))
    assert sampler.book.find(address) is None
    listener = Listener("/a", address)
    sampler.watch(listener)
    later(eventually, listener)
    assert listener.versions("/a")
