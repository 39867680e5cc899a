"""A TCP proxy that does what networks do to a server's connections: delay, cut, lose, hold and repeat.

It passes bytes, and knows of the protocol only where a request ends. A connection of a queue carries one exchange at a
time, so that is exact enough to lose one reply, or to send one request twice.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS, REPLIES = "requests", "replies"
#: A value of `Mode.lost_replies`: every reply, until the mode changes.
ALL = float("inf")
_CHUNK = 1 << 16  # max bytes of one read
_CONNECTING = 5.0  # seconds
_DEFAULT_PORT = 6379
_END = b"\r\n"
_GREETING = re.compile(rb"\*\d+\r\n\$\d\r\n(?:AUTH|HELLO|SELECT)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Mode:
    """What the proxy does to each exchange. The default passes everything on."""

    delay: float = 0.0
    """Additional seconds of each request and each reply."""
    held: frozenset[str] = frozenset()
    """Directions in which nothing arrives until the mode changes. Held data then arrive, even if their client has
    disconnected, unless the connection was cut."""
    lost_replies: float = 0
    """Number of replies still to lose: the server runs the request, its reply is dropped, and the connection cut."""
    times: int = 1
    """How often each request arrives. Copies travel on separate connections, ahead of the original."""
    matching: bytes = b""
    """Only requests with these bytes, and their replies, are affected. An empty value matches all."""


PASS = Mode()


class Proxy:
    """A proxy on a separate loopback port, in front of a server's `redis://` or `unix://` URL. Thread-safe.

    Set `mode` at any time; it also applies to exchanges in transit. `target` may be changed: open connections stay
    where they are. Clients may use `url` as soon as the proxy is made. Usable as a context manager, which closes it.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.connections_made = 0
        self.replies_lost = 0
        self.copies_sent = 0
        self._mode = PASS
        self._changed = threading.Condition()
        self._links: set[_Link] = set()
        self._closed = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    @property
    def mode(self) -> Mode:
        """The current mode."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def cut(self) -> int:
        """Close all connections, with the data they hold; return their number. New ones are accepted as before."""
        with self._changed:
            links = list(self._links)
            for link in links:
                self._cut(link)
        return len(links)

    def close(self) -> None:
        """Close everything and end the threads."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        self.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._links, timeout=_CONNECTING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            try:
                link = _Link(client, _connection(self.target), self.target)
            except OSError:  # the server is unavailable, and so is its proxy
                client.close()
                continue
            with self._changed:
                self.connections_made += 1
                self._links.add(link)
            for pump in (self._pass_requests, self._pass_replies):
                threading.Thread(target=self._pump, args=(pump, link), name="proxy", daemon=True).start()

    def _pump(self, pump: Callable[[_Link], None], link: _Link) -> None:
        """Run one direction of a link until either side closes."""
        with contextlib.suppress(OSError, _Cut):
            pump(link)
        with self._changed:
            self._cut(link)
            link.pumps -= 1
            if not link.pumps:
                link.close()
                self._links.discard(link)
                self._changed.notify_all()

    def _pass_requests(self, link: _Link) -> None:
        while data := link.client.recv(_CHUNK):
            while self._mode != PASS and not _is_whole(data) and (chunk := link.client.recv(_CHUNK)):
                data += chunk
            if _GREETING.match(data):
                link.greeting += data
            link.request = data
            self._delay(link, REQUESTS)
            mode = self._mode
            if mode.times > 1 and mode.matching in data:
                for _ in range(mode.times - 1):
                    _send_copy(link, data)
                    self.copies_sent += 1
            link.server.sendall(data)

    def _pass_replies(self, link: _Link) -> None:
        while data := link.server.recv(_CHUNK):
            self._delay(link, REPLIES)
            with self._changed:
                mode = self._mode
                if mode.lost_replies and mode.matching in link.request:
                    self._mode = replace(mode, lost_replies=mode.lost_replies - 1)
                    self.replies_lost += 1
                    raise _Cut
            link.client.sendall(data)

    def _delay(self, link: _Link, direction: str) -> None:
        """Wait as the mode requires. Raises _Cut if the link is cut meanwhile."""

        def matches() -> bool:
            return self._mode.matching in link.request

        if self._mode.delay and matches():
            time.sleep(self._mode.delay)
        with self._changed:
            self._changed.wait_for(lambda: link.is_cut or direction not in self._mode.held or not matches())
        if link.is_cut:
            raise _Cut

    def _cut(self, link: _Link) -> None:
        """Cut both directions of a link. The caller holds the lock."""
        link.is_cut = True
        for one in (link.client, link.server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._changed.notify_all()


class _Cut(Exception):
    """The link was cut."""


class _Link:
    """A client's connection and its counterpart to the server."""

    def __init__(self, client: socket.socket, server: socket.socket, target: str) -> None:
        self.client, self.server, self.target = client, server, target
        self.greeting = b""
        self.request = b""
        self.is_cut = False
        self.pumps = 2
        for one in (client, server):
            if one.family == socket.AF_INET:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def _connection(target: str) -> socket.socket:
    """Return a new connection to the server. Raises OSError."""
    url = urlsplit(target)
    if url.scheme == "unix":
        one = socket.socket(socket.AF_UNIX)
        try:
            one.connect(unquote(url.path))
        except OSError:
            one.close()
            raise
        return one
    one = socket.create_connection((url.hostname or "127.0.0.1", url.port or _DEFAULT_PORT), _CONNECTING)
    one.settimeout(None)
    return one


def _is_whole(data: bytes) -> bool:
    """Return True if a request ends here: an array of strings, each behind its length, or several of them.

    Data that begin in the middle of a request count as whole.
    """
    at = 0
    try:
        while data[at : at + 1] == b"*":
            strings, at = _length(data, at)
            for _ in range(strings):
                size, at = _length(data, at)
                at += size + len(_END)
    except ValueError:  # a length has not arrived
        return False
    return at <= len(data)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return the number in the line at this position, and the position of the next line. Raises ValueError."""
    end = data.index(_END, at)
    return int(data[at + 1 : end]), end + len(_END)


def _send_copy(link: _Link, request: bytes) -> None:
    """Make the server execute a request on a separate connection, and drop the replies.

    The link's greeting is sent first: the user, the password and the database.
    """
    with contextlib.suppress(OSError), _connection(link.target) as one:
        one.settimeout(_CONNECTING)
        one.sendall(link.greeting + request)
        one.shutdown(socket.SHUT_WR)
        while one.recv(_CHUNK):
            pass
