"""The live channel over HTTP: its events, its viewers and its limits."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.dashboard import live
from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.security import SecurityMiddleware
from conveyor.dashboard.app import application

from ..mounting_kit import by_uvicorn  # noqa: TID252
from ..visitor_kit import ADA  # noqa: TID252 - test folders are no packages
from .core_kit import Listener, later, page, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.dashboard.access.rights import Access
    from conveyor.dashboard.poller import PagePoller


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
        """Return the lines of the next event: one chunk of the response."""
        data = self.file.read(int(self.file.readline(), 16))
        assert self.file.readline() == b"\r\n"
        assert data.endswith(b"\n\n")
        assert data.count(b"\n\n") == 1
        return data.decode().splitlines()[:-1]

    def next(self, kind: str) -> Any:
        """Return the data of the next event of a kind."""
        while True:
            lines = self.block()
            if lines[0] == f"event: {kind}":
                assert len(lines) == 2
                return json.loads(lines[1].removeprefix("data: "))

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def streaming(
    one_server: Any, pollers: list[PagePoller], quick_steps: None, eventually: Any
) -> Callable[..., Any]:
    """Return a context that serves a page to a user and provides the function that opens a stream."""

    @contextmanager
    def streams(access: Access = ADA) -> Iterator[Callable[..., Connection]]:
        policy = Policy(resolve=lambda _: access)
        opened: list[Connection] = []
        with by_uvicorn(
            SecurityMiddleware(application(one_server.client, policy), policy), lifespan="off"
        ) as port:

            def connect(query: str = "") -> Connection:
                opened.append(Connection(port, query))
                return opened[-1]

            yield connect
            for connection in opened:
                connection.close()
            eventually(lambda: pollers[-1]._thread is None)

    return streams


def test_stream_consists_of_named_events_with_a_json_line(streaming: Any, one_server: Any) -> None:
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


def test_disconnected_viewer_gets_no_further_events(
    streaming: Any, pollers: list[PagePoller], eventually: Any
) -> None:
    with streaming() as connect:
        one, two = connect(), connect()
        one.next("pulse")
        two.next("pulse")
        assert len(pollers[-1].subscribers) == 2
        one.close()
        eventually(lambda: len(pollers[-1].subscribers) == 1)
        two.next("pulse")
        two.close()
        eventually(lambda: len(pollers[-1].subscribers) == 0)
        eventually(lambda: pollers[-1]._thread is None)


def test_excess_stream_is_refused_with_the_polling_path(
    streaming: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 2)
    with streaming() as connect:
        for _ in range(2):
            connect().next("pulse")
        refused = connect()
        assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
        problem = json.loads(refused.file.read(int(refused.headers["content-length"])))
        assert problem["hint"] == "poll /api/v1/snapshot"


@pytest.mark.parametrize("address", ["/?" + "&".join(f"f{n}=1" for n in range(60)), "//[/"])
def test_invalid_path_harms_no_other_viewer(
    address: str, poller_of: Any, eventually: Any, quick_steps: None
) -> None:
    poller = poller_of(page("a"))
    assert poller.registry.find(address) is None
    listener = Listener("/a", address)
    poller.subscribe(listener)
    later(eventually, listener)
    assert listener.versions("/a")
