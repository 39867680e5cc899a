"""How long a call may take whose caller waits only so long: for a connection, for sending, and for the answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.clock import Deadline

#: Seconds beyond the caller's own timeout after which a server that does not answer is given up.
GRACE = 0.2


def time_for(deadline: Deadline | None) -> float | None:
    """Give the seconds that a call may take whose caller waits until the deadline; None for any."""
    if deadline is None or deadline.at is None:
        return None
    return deadline.left(float("inf")) + GRACE


def left(end: Deadline, at_most: float) -> float:
    """Give the seconds that may be waited for a socket; never zero, which would mean not to wait at all."""
    return max(0.001, end.left(at_most))


@contextmanager
def sending(connection: Any, end: Deadline, usual: float) -> Iterator[None]:
    """Let what this connection sends take no longer than until the end."""
    if connection._sock is not None:  # noqa: SLF001 - the library has no other way
        connection._sock.settimeout(left(end, usual))  # noqa: SLF001
    yield
    if connection._sock is not None:  # noqa: SLF001
        connection._sock.settimeout(usual)  # noqa: SLF001


@contextmanager
def greeting(connection: Any, end: Deadline | None, connect: float, answer: float) -> Iterator[None]:
    """Let the making of this connection take no longer than until the end; later answers may take as long as usual."""
    if end is None:
        yield
        return
    connection.socket_connect_timeout, connection.socket_timeout = left(end, connect), left(end, answer)
    yield
    connection.socket_timeout = answer
    connection._parser._socket_timeout = answer  # noqa: SLF001 - what it sets again after each answer
    if connection._sock is not None:  # noqa: SLF001
        connection._sock.settimeout(answer)  # noqa: SLF001
