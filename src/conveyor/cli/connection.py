"""The server that a command uses."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import socket
from typing import TYPE_CHECKING

from conveyor.cli.exit_codes import NotFound, closest
from conveyor.monitor import Inspector
from conveyor.monitor.actions import Actions, Actor
from conveyor.monitor.snapshot import EMPTY
from conveyor.store import Client, announce, commands, connect

if TYPE_CHECKING:
    from conveyor.store.commands import Count

#: Seconds that a command waits for the first reply of the server.
FIRST_PATIENCE = 1.0


def open_store(*, quiet: bool = False) -> Client:
    """Return the client of the server in use, after a first reply, and name the server in one line unless `quiet`.

    Raises StoreUnavailable within a second or so if the server does not reply.
    """
    # connect() itself names an embedded server, once; with --json, only errors may be on standard error.
    with contextlib.redirect_stderr(io.StringIO()) if quiet else contextlib.nullcontext():
        client = connect()
        announce(client)
    client.run(commands.server_time(), patience=FIRST_PATIENCE)
    return client


def open_inspector(*, quiet: bool = False) -> Inspector:
    """Return an inspector of the server in use."""
    return Inspector(open_store(quiet=quiet))


def open_actions(client: Client) -> Actions:
    """Return the actions on a server, recorded as done by the user of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in some containers
        user = f"uid {os.getuid()}"
    return Actions(client, Actor(user, f"cli@{socket.gethostname()}"))


def queue_counts(inspector: Inspector) -> dict[str, Count]:
    """Return the counts of all queues by name, including those that only consumers know so far."""
    consumed = (queue for one in inspector.consumers() for queue in one.queues)
    return dict.fromkeys(consumed, EMPTY) | inspector.queues()


def existing_queue(inspector: Inspector, name: str) -> Count:
    """Return the counts of a queue if it exists or has a consumer. Raises NotFound."""
    known = queue_counts(inspector)
    if name in known:
        return known[name]
    message = f"no queue named {name!r}"
    raise NotFound(message, hint=closest(name, known) or "list the queues with `conveyor queues`")
