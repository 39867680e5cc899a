"""The proxy of the torture bench: each mode has exactly its effect on a server's connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from conveyor.torture.proxy import ALL, PASS, REPLIES, REQUESTS, Mode, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Client:
    """A connection that sends the given bytes once, and nothing else."""

    def __init__(self, proxy: Proxy) -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])))
        self.socket.settimeout(30.0)
        self.reader = hiredis.Reader()

    def ask(self, *words: object) -> Any:
        self.socket.sendall(hiredis.pack_command(words))
        return self.reply()

    def reply(self) -> Any:
        while (reply := self.reader.gets()) is False:
            if not (data := self.socket.recv(1 << 16)):
                raise ConnectionResetError
            self.reader.feed(data)
        return reply


@pytest.fixture
def proxy(one_server: Any) -> Iterator[Proxy]:
    with Proxy(one_server.url) as one:
        yield one
    one_server.raw.delete("a")


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as sockets:

        def make(to: Proxy = proxy) -> Client:
            client = Client(to)
            sockets.enter_context(client.socket)
            assert client.ask("PING") == b"PONG"
            return client

        yield make


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    return connect()


def test_proxy_passes_large_requests_and_replies(client: Client) -> None:
    data = b"x" * 3_000_000
    client.ask("SET", "a", data)
    assert client.ask("GET", "a") == data


def test_proxy_reaches_a_tcp_port(proxy: Proxy, connect: Callable[..., Client]) -> None:
    with Proxy(proxy.url) as outer:
        connect(outer)
    assert proxy.connections_made == 1


def test_delay_applies_to_requests_and_to_replies(proxy: Proxy, client: Client) -> None:
    proxy.mode = Mode(delay=0.05)
    began = time.monotonic()
    client.ask("PING")
    assert time.monotonic() - began >= 0.1


def test_cut_closes_connections_and_accepts_new_ones(proxy: Proxy, connect: Callable[..., Client]) -> None:
    client = connect()
    assert proxy.cut() == 1
    with pytest.raises(ConnectionError):
        client.ask("PING")
    connect()


def test_lost_reply_leaves_its_effect_and_cuts(proxy: Proxy, connect: Callable[..., Client]) -> None:
    client = connect()
    proxy.mode = Mode(lost_replies=1)
    with pytest.raises(ConnectionResetError):
        client.ask("INCR", "a")
    assert connect().ask("INCR", "a") == 2
    assert (proxy.replies_lost, proxy.connections_made) == (1, 2)


def test_all_replies_are_lost_until_mode_changes(proxy: Proxy, connect: Callable[..., Client]) -> None:
    clients = [connect() for _ in range(3)]
    proxy.mode = Mode(lost_replies=ALL)
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.ask("INCR", "a")
    proxy.mode = PASS
    assert connect().ask("INCR", "a") == 4


def test_only_matching_requests_are_touched(proxy: Proxy, connect: Callable[..., Client]) -> None:
    client = connect()
    proxy.mode = Mode(lost_replies=1, matching=b"INCR")
    assert client.ask("PING") == b"PONG"
    with pytest.raises(ConnectionResetError):
        client.ask("INCR", "a")
    assert connect().ask("GET", "a") == b"1"


def test_each_request_arrives_twice(proxy: Proxy, client: Client) -> None:
    proxy.mode = Mode(times=2, matching=b"INCR")
    assert client.ask("INCR", "a") == 2
    assert client.ask("GET", "a") == b"2"
    assert proxy.copies_sent == 1


def test_large_request_arrives_twice_as_a_whole(proxy: Proxy, client: Client) -> None:
    proxy.mode = Mode(times=2)
    assert client.ask("APPEND", "a", b"x" * 1_000_000) == 2_000_000


def test_request_in_pieces_arrives_twice_as_a_whole(proxy: Proxy, client: Client) -> None:
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    proxy.mode = Mode(times=2)
    for byte in hiredis.pack_command(("APPEND", "a", "xy")):
        client.socket.sendall(bytes([byte]))
    assert client.reply() == 4


def test_copies_carry_the_password(proxy: Proxy, connect: Callable[..., Client], one_server: Any) -> None:
    one_server.raw.execute_command("ACL", "SETUSER", "ada", "on", ">secret", "~*", "-@all", "+incr")
    client = connect()
    client.ask("AUTH", "ada", "secret")
    one_server.raw.execute_command("ACL", "SETUSER", "default", "-incr")
    try:
        proxy.mode = Mode(times=2)
        assert client.ask("INCR", "a") == 2
    finally:
        one_server.raw.execute_command("ACL", "SETUSER", "default", "+@all")
        one_server.raw.execute_command("ACL", "DELUSER", "ada")


def test_copies_go_to_the_selected_database(proxy: Proxy, client: Client, one_server: Any) -> None:
    assert client.ask("SELECT", 3) == b"OK"
    proxy.mode = Mode(times=2, matching=b"INCR")
    assert client.ask("INCR", "a") == 2
    assert one_server.raw.get("a") is None


def test_held_request_arrives_twice_though_its_client_left(
    proxy: Proxy, client: Client, one_server: Any, eventually: Callable[..., Any]
) -> None:
    proxy.mode = Mode(held=frozenset({REQUESTS}))
    client.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.ask("INCR", "a")
    client.socket.close()
    assert one_server.raw.get("a") is None
    proxy.mode = Mode(times=2)
    eventually(lambda: one_server.raw.get("a") == b"2")


def test_held_reply_arrives_once_the_mode_changes(proxy: Proxy, client: Client, one_server: Any) -> None:
    proxy.mode = Mode(held=frozenset({REPLIES}))
    client.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.ask("INCR", "a")
    assert one_server.raw.get("a") == b"1"
    proxy.mode = PASS
    client.socket.settimeout(30.0)
    assert client.socket.recv(100) == b":1\r\n"


def test_cut_drops_held_traffic(proxy: Proxy, client: Client, one_server: Any) -> None:
    proxy.mode = Mode(held=frozenset({REQUESTS, REPLIES}))
    client.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.ask("INCR", "a")
    proxy.cut()
    proxy.close()
    assert one_server.raw.get("a") is None


def test_target_changes_for_new_connections_only(proxy: Proxy, connect: Callable[..., Client]) -> None:
    client = connect()
    proxy.target = "redis://127.0.0.1:1"
    assert client.ask("PING") == b"PONG"
    with pytest.raises(ConnectionError):
        connect()


def test_close_ends_all_threads(one_server: Any) -> None:
    before = threading.active_count()
    with Proxy(one_server.url) as proxy, Client(proxy).socket:
        assert threading.active_count() > before
    assert threading.active_count() == before
