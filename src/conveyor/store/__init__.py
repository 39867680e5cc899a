"""Everything that knows Redis. `connect` gives the client for the server that this process should use."""

from __future__ import annotations

import functools
import os
import sys
import threading

from conveyor.clock import Deadline
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import embedded
from conveyor.store.address import normal, shown
from conveyor.store.client import Client
from conveyor.store.embedded.state_folder import state_folder
from conveyor.store.timeouts import time_for

__all__ = ["Client", "announce", "connect", "server_line"]

#: Environment variable that remembers, for this process and its children, which server was named already.
_ANNOUNCED = "CONVEYOR_ANNOUNCED"


def connect(url: str | None = None, deadline: Deadline | None = None) -> Client:
    """Give the client of `url`, else of CONVEYOR_URL, else of the embedded server, which is started if need be.

    One client per address and process. Raises StoreUnavailable if the embedded server cannot be started, or not until
    the deadline.
    """
    url = url or os.environ.get("CONVEYOR_URL") or None
    end = Deadline(time_for(deadline))
    lock = _connecting.lock  # two threads that come here first at once must get the same client
    if not lock.acquire(timeout=end.left(threading.TIMEOUT_MAX)):
        message = "another thread is still connecting to a server"
        raise StoreUnavailable(message)
    try:
        return _client(normal(url)) if url else _embedded(end)
    except StoreError:
        raise
    except OSError as error:  # such as too many open files
        message = f"no way to {f'the server at {shown(url)}' if url else 'the embedded server'}: {error}"
        raise StoreUnavailable(message) from error
    finally:
        lock.release()


def server_line(client: Client) -> str:
    """Give the one line that tells a person which server is in use."""
    kind = "embedded server" if client.revive else "server"
    return f"conveyor: {kind} at {shown(client.url)}"


def announce(client: Client) -> None:
    """Tell on standard error which server is in use; once, however many processes this one starts."""
    if os.environ.get(_ANNOUNCED) != client.url:
        os.environ[_ANNOUNCED] = client.url
        sys.stderr.write(server_line(client) + "\n")
        sys.stderr.flush()


class _Connecting:
    """A lock that a forked child does not inherit from a thread of its parent."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = threading.Lock()


_connecting = _Connecting()
os.register_at_fork(after_in_child=_connecting.renew)


@functools.cache
def _client(url: str) -> Client:
    return Client(url)


_embedded_clients: list[Client] = []  # one at most


def _embedded(end: Deadline) -> Client:
    if not _embedded_clients:
        # The client's server stays that of this folder, however the environment changes.
        folder = state_folder()
        client = Client(embedded.ensure(end), revive=functools.partial(embedded.revive, folder))
        announce(client)
        _embedded_clients.append(client)
    return _embedded_clients[0]
