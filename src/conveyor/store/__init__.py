"""All that knows Redis. `connect` returns the client of the server that this process uses."""

from __future__ import annotations

import functools
import os
import sys
import threading

from conveyor.clock import Deadline
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import embedded
from conveyor.store.address import normal, shown
from conveyor.store.client import Client, time_for
from conveyor.wire.ids import PerProcess

__all__ = ["Client", "announce", "connect", "connected", "server_line"]

#: Environment variable in which this process and its children remember the server that was announced.
_ANNOUNCED = "CONVEYOR_ANNOUNCED"


def connect(url: str | None = None, deadline: Deadline | None = None) -> Client:
    """Return the client of `url`, or else of CONVEYOR_URL, or else of the embedded server, started if necessary.

    One client per URL and process. Raises StoreUnavailable if the embedded server cannot be started in time.
    """
    url = url or os.environ.get("CONVEYOR_URL") or None
    if url in _clients:
        return _clients[url]
    end = Deadline(time_for(deadline))
    lock = _lock()  # two threads may race here, and both must get the same client
    if not lock.acquire(timeout=end.left(threading.TIMEOUT_MAX)):
        raise StoreUnavailable("another thread is still connecting to a server")
    try:
        return _client(url) if url else _embedded(end)
    except StoreError:
        raise
    except OSError as error:  # such as too many open files
        where = f"the server at {shown(url)}" if url else "the embedded server"
        raise StoreUnavailable(f"cannot reach {where}: {error}") from error
    finally:
        lock.release()


def connected(url: str | None = None) -> Client | None:
    """Return the client as `connect` does, or None if that would have to wait. For asyncio."""
    url = url or os.environ.get("CONVEYOR_URL") or None
    lock = _lock()
    if not lock.acquire(blocking=False):
        return None
    try:
        if url:
            return _client(url)
        return _embedded_clients[0] if _embedded_clients else None
    finally:
        lock.release()


def server_line(client: Client) -> str:
    """Return the line that shows a person which server is in use."""
    kind = "embedded server" if client.revive else "server"
    return f"conveyor: {kind} at {shown(client.url)}"


def announce(client: Client) -> None:
    """Show on standard error which server is in use, once for this process and its children."""
    if os.environ.get(_ANNOUNCED) != client.url:
        os.environ[_ANNOUNCED] = client.url
        sys.stderr.write(server_line(client) + "\n")
        sys.stderr.flush()


_lock = PerProcess(threading.Lock)  # a forked child must not inherit it from a thread of its parent
_clients: dict[str | None, Client] = {}
"""By URL, each as it was given, and as it is written normally."""
_embedded_clients: list[Client] = []  # one at most


def _client(url: str) -> Client:
    client = _clients.get(normal(url)) or Client(normal(url))
    _clients[url] = _clients[normal(url)] = client
    return client


def _embedded(end: Deadline) -> Client:
    if not _embedded_clients:
        # The client's server stays that of this folder, even if the environment changes.
        folder = embedded.state_folder()
        client = Client(embedded.ensure(end), revive=functools.partial(embedded.revive, folder))
        announce(client)
        _embedded_clients.append(client)
    return _embedded_clients[0]
