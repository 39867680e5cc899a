"""The server that a command uses."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import socket

from conveyor.cli.exit_codes import NotFound, closest
from conveyor.monitor import Inspector
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import Client, announce, commands, connect

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


def queue_names(inspector: Inspector) -> list[str]:
    """Return the names of all queues, including those that only consumers know so far."""
    consumers = inspector.consumers()
    return sorted({*inspector.queues(), *(queue for one in consumers for queue in one.queues)})


def existing_queue(inspector: Inspector, name: str) -> str:
    """Return the name of a queue if it exists or has a consumer. Raises NotFound."""
    known = queue_names(inspector)
    if name in known:
        return name
    message = f"no queue named {name!r}"
    raise NotFound(message, hint=closest(name, known) or "list the queues with `conveyor queues`")
