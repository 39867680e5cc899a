"""One connection to a server: what is sent are bytes, what is received are replies. Parsed by hiredis, a C library.

A larger client library would do the same work in Python: redis-py takes 40 µs more for each round trip, and its import
0.1 s and 8 MB, as much as the rest of an idle worker.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING, Any

import hiredis

from conveyor import clock
from conveyor.clock import Deadline

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from conveyor.store.address import ServerAddress, TLSOptions

#: Seconds for which a reply is looked out for without sleeping, and how often that must fail in a row until only one
#: reply in 64 is.
LOOK_OUT, MAX_MISSES = 0.0001, 6
#: Bytes that one read takes from the system.
_READ_SIZE = 1 << 16
INCOMPLETE = object()
_NUMBERS = frozenset({bool, int, float})


class Refusal(Exception):
    """An error that the server replied; `word` is its first word in capitals, such as READONLY, or ERR."""

    def __init__(self, text: str) -> None:
        self.word = text.partition(" ")[0]
        super().__init__(text.removeprefix("ERR ").removeprefix("NOPERM "))


class UntrustedError(OSError):
    """The server's certificate is not trusted, or what this shall be decided by cannot be read."""


class BrokenError(ConnectionError):
    """The server closed the connection, or sent something else than a reply."""


def pack(words: Iterable[Any]) -> bytes:
    """Return a command as it is sent."""
    # hiredis crashes if a signal handler, such as that of Ctrl-C, raises while it formats a number.
    texts: Any = tuple([str(one) if type(one) in _NUMBERS else one for one in words])
    packed: bytes = hiredis.pack_command(texts)
    return packed


def reader() -> Any:
    """Return a parser of replies: INCOMPLETE if there is none yet. It raises BrokenError, and refusals are values."""
    return hiredis.Reader(protocolError=BrokenError, replyError=Refusal, notEnoughData=INCOMPLETE)


def greeting(address: ServerAddress, name: str) -> list[bytes]:
    """Return the first commands of a connection, each with a reply: user, database and name."""
    sent: list[tuple[str, ...]] = []
    if address.user or address.password:
        sent.append(("AUTH", *filter(None, [address.user]), address.password))
    if address.db:
        sent.append(("SELECT", str(address.db)))
    if name:
        sent.append(("CLIENT", "SETNAME", name))
    return [pack(one) for one in sent]


class Connection:
    """A connection to a server, made and greeted. All errors are OSErrors, and refusals are values."""

    __slots__ = ("_buffer", "_misses", "_poll", "_reader", "_skip", "loaded", "socket", "timeout")

    def __init__(
        self, address: ServerAddress, name: str, *, connect: float, answer: float, end: Deadline | None = None
    ) -> None:
        """Connect within `connect` seconds, and send user, database and name; the replies come within `answer` seconds.

        Neither takes longer than until `end`. Raises OSError, or Refusal for wrong credentials.
        """
        self.socket: socket.socket | None = None
        end = end or Deadline(None)
        self.socket = _connected(address, max(0.001, end.left(connect)))
        self.timeout = -1.0
        """Seconds that each read and write may take now."""
        self.loaded: set[str] = set()
        """Hashes of scripts that were loaded by this client."""
        self._buffer = bytearray(_READ_SIZE)
        self._misses = self._skip = 0
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        self._reader = reader()
        try:
            self._greet(address, name, Deadline(end.left(answer)))
        except BaseException:
            self.disconnect()
            raise

    def _greet(self, address: ServerAddress, name: str, end: Deadline) -> None:
        """Send the user, the database and the name in one round trip."""
        sent = greeting(address, name)
        self.send(b"".join(sent), max(0.001, end.left(float("inf"))))
        for _ in sent:
            reply = self.reply(max(0.001, end.left(float("inf"))))
            if isinstance(reply, Refusal):
                raise reply

    def fileno(self) -> int:
        """Return the file descriptor, or -1 once disconnected."""
        return -1 if self.socket is None else self.socket.fileno()

    def send(self, packed: bytes, timeout: float) -> None:
        """Send packed commands. Raises TimeoutError if the server does not read for `timeout` seconds."""
        if timeout != self.timeout:
            self._limit(timeout)
        self._open().sendall(packed)

    def reply(self, timeout: float, *, soon: bool = False) -> Any:
        """Return the next reply. Raises TimeoutError if nothing comes for `timeout` seconds.

        `soon` is for the reply to a command that does not block.
        """
        reader = self._reader
        while (reply := reader.gets()) is INCOMPLETE:
            if timeout != self.timeout:
                self._limit(timeout)
            if soon:
                self._look_out()
            if (size := self._open().recv_into(self._buffer)) == 0:
                raise BrokenError("connection closed by server")
            reader.feed(self._buffer, 0, size)
        return reply

    def _look_out(self) -> None:
        """Wait for a reply without sleeping, for a moment: a near server takes less time than a thread to wake up.

        The process then goes on with warm caches, too. If replies take longer, most are not looked out for.
        """
        if self._skip > 0:
            self._skip -= 1
            return
        is_readable, end = self._poll.poll, clock.monotonic() + LOOK_OUT
        while not is_readable(0):
            if clock.monotonic() >= end:
                self._misses = min(self._misses + 1, MAX_MISSES)
                self._skip = 2**self._misses - 1
                return
            os.sched_yield()  # others may need the processor more, such as the server
        self._misses = 0

    def _open(self) -> socket.socket:
        if self.socket is None:  # closed by another thread
            raise BrokenError("connection closed")
        return self.socket

    def _limit(self, timeout: float) -> None:
        """Limit each read and write from now on, in seconds.

        The kernel's own limit would save a poll before each read, but starts again with each signal.
        """
        self._open().settimeout(timeout)
        self.timeout = timeout

    def disconnect(self) -> None:
        """Close the connection; again is harmless."""
        mine, self.socket = getattr(self, "socket", None), None  # it may not be made yet
        if mine is not None:
            with contextlib.suppress(OSError):  # a task may have closed it
                mine.close()  # no shutdown: a forked child has a copy of its parent's

    __del__ = disconnect


def _connected(address: ServerAddress, timeout: float) -> socket.socket:
    """Return a socket that is connected, with TLS if the address says so."""
    if address.path:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(timeout)
            made.connect(address.path)
        except BaseException:
            made.close()
            raise
        return made
    end = clock.monotonic() + timeout
    made = socket.create_connection((address.host, address.port), timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if address.tls is None:
        return made
    try:
        made.settimeout(max(0.001, end - clock.monotonic()))
        return _with_tls(made, address.host, address.tls)
    except BaseException:
        made.close()
        raise


def _with_tls(plain: socket.socket, host: str, options: TLSOptions) -> socket.socket:
    """Return the socket after the handshake. Raises UntrustedError, or another OSError."""
    context = tls_context(options)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except OSError as error:
        raise untrusted(error) from error


def untrusted(error: OSError) -> OSError:
    """Return the error of a handshake, as an UntrustedError if the certificate is its reason."""
    if type(error).__name__ == "SSLCertVerificationError":
        return UntrustedError(f"its certificate is not trusted: {error.verify_message}")  # type: ignore[attr-defined]
    return error


def tls_context(options: TLSOptions) -> ssl.SSLContext:
    """Return what makes connections with TLS. Raises UntrustedError if a file of a certificate cannot be loaded."""
    import ssl  # noqa: PLC0415 - only for rediss, or it would be a tenth of the import of this package

    context = ssl.create_default_context()
    context.check_hostname = options.check_hostname and options.cert_reqs != "none"
    context.verify_mode = ssl.VerifyMode[f"CERT_{options.cert_reqs.upper()}"]
    try:
        if options.certfile or options.keyfile:
            context.load_cert_chain(options.certfile, options.keyfile or None, options.password or None)
        if options.ca_certs or options.ca_path:
            context.load_verify_locations(options.ca_certs or None, options.ca_path or None)
    except OSError as error:  # it does not say which file
        files = [options.certfile, options.keyfile, options.ca_certs, options.ca_path]
        raise UntrustedError(f"cannot load {' or '.join(filter(None, files))}: {error}") from error
    if options.min_version:
        context.minimum_version = ssl.TLSVersion(options.min_version)
    if options.ciphers:
        context.set_ciphers(options.ciphers)
    return context
