"""Everything that knows Redis. `connect` gives the client for the server that this process should use."""

from __future__ import annotations

import functools
import os

from conveyor.store import embedded
from conveyor.store.client import Client, shown

__all__ = ["Client", "connect", "server_line"]


def connect(url: str | None = None) -> Client:
    """Give the client of `url`, else of CONVEYOR_URL, else of the embedded server, which is started if need be.

    One client per address and process. Raises StoreUnavailable where the embedded server cannot be started.
    """
    url = url or os.environ.get("CONVEYOR_URL") or None
    return _client(url) if url else _embedded()


def server_line(client: Client) -> str:
    """Give the one line that tells a person which server is in use."""
    kind = "embedded server" if client.revive else "server"
    return f"conveyor: {kind} at {shown(client.url)}"


@functools.cache
def _client(url: str) -> Client:
    return Client(url)


@functools.cache
def _embedded() -> Client:
    return Client(embedded.ensure(), revive=embedded.revive)
