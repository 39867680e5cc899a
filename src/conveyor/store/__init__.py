"""All that knows Redis. `connect` returns the client of the server that this process uses."""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import TYPE_CHECKING

from conveyor import logs
from conveyor.clock import Deadline
from conveyor.errors import StoreError, StoreUnavailable
from conveyor.store import embedded
from conveyor.store.address import normal, shown
from conveyor.store.client import Client, time_for
from conveyor.wire import signed
from conveyor.wire.ids import PerProcess

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Client", "announce", "connect", "connected", "server_line", "server_of"]

#: Environment variable in which this process and its children remember the server that was announced.
_ANNOUNCED = "CONVEYOR_ANNOUNCED"


def connect(url: str | Path | None = None, deadline: Deadline | None = None) -> Client:
    """Return the client of `url`, or else of CONVEYOR_URL, or else of the embedded server, started if necessary.

    A path is the state folder of an embedded server. One client per URL and process. Raises StoreUnavailable if the
    embedded server cannot be started in time.
    """
    url = url or os.environ.get("CONVEYOR_URL") or None
    if (known := _known(url)) is not None:
        return known
    end = Deadline(time_for(deadline))
    lock = _lock()  # two threads may race here, and both must get the same client
    if not lock.acquire(timeout=end.left(threading.TIMEOUT_MAX)):
        raise StoreUnavailable("another thread is still connecting to a server")
    try:
        return _client(url) if isinstance(url, str) else _embedded(url, end)
    except StoreError:
        raise
    except OSError as error:  # such as too many open files
        where = f"the server at {shown(url)}" if isinstance(url, str) else "the embedded server"
        raise StoreUnavailable(f"cannot reach {where}: {error}") from error
    finally:
        lock.release()


def connected(url: str | Path | None = None) -> Client | None:
    """Return the client as `connect` does, or None if that would have to wait. For asyncio."""
    url = url or os.environ.get("CONVEYOR_URL") or None
    if (known := _known(url)) is not None:
        return known
    lock = _lock()
    if not lock.acquire(blocking=False):
        return None
    try:
        return _client(url) if isinstance(url, str) else None
    finally:
        lock.release()


def server_of(given: Client | str | Path | None) -> str | Path:
    """Return what `connect` in another process needs for the same server: a URL, password included, or a state folder.

    None stands for the server that `connect` would return now; it is not started.
    """
    given = given or os.environ.get("CONVEYOR_URL") or _embedded_clients.get(None) or embedded.state_folder()
    if not isinstance(given, Client):
        return given
    known = list(_embedded_clients.items())  # another thread may add one
    return next((folder for folder, client in known if folder and client is given), given.url)


def server_line(client: Client) -> str:
    """Return the line that shows a person which server is in use."""
    kind = "embedded server" if client.revive else "server"
    return f"conveyor: {kind} at {shown(client.url)}"


def announce(client: Client) -> None:
    """Show on standard error which server is in use, once for this process and its children."""
    if os.environ.get(_ANNOUNCED) != client.url:
        os.environ[_ANNOUNCED] = client.url
        sys.stderr.write(logs.as_line(server_line(client)) + "\n")
        sys.stderr.flush()


_lock = PerProcess(threading.Lock)  # a forked child must not inherit it from a thread of its parent
_clients: dict[str, Client] = {}
"""By URL, each as it was given, and as it is written normally."""
_embedded_clients: dict[Path | None, Client] = {}
"""By state folder. None is that of the environment, even if the environment has changed since."""


def _known(url: str | Path | None) -> Client | None:
    return _clients.get(url) if isinstance(url, str) else _embedded_clients.get(url)


def _client(url: str) -> Client:
    usual = normal(url)
    client = _clients[url] = _clients[usual] = _clients.get(usual) or Client(usual)
    return client


def _embedded(folder: Path | None, end: Deadline) -> Client:
    if folder not in _embedded_clients:
        place = folder or embedded.state_folder()
        client = _embedded_clients.get(place)
        if client is None:
            client = Client(embedded.ensure(end, place), revive=functools.partial(embedded.revive, place))
            signed.use_folder(place)
            announce(client)
        _embedded_clients[folder] = _embedded_clients[place] = client
    return _embedded_clients[folder]
