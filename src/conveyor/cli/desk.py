"""Opens the server for a command, and says which one it is."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import socket

from conveyor.cli.exits import NotFound, closest
from conveyor.monitor import Inspector
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import Client, announce, commands, connect

#: Seconds that a command waits for the first answer before it says that there is none.
FIRST_PATIENCE = 1.0


def open_store(*, quiet: bool = False) -> Client:
    """Give the client of the server in use, after it has answered once; raises StoreUnavailable soon if it does not.

    One line on standard error says which server that is, unless `quiet`.
    """
    # connect() itself names an embedded server, once; with --json nothing but the document and errors may be said.
    with contextlib.redirect_stderr(io.StringIO()) if quiet else contextlib.nullcontext():
        client = connect()
        announce(client)
    client.run(commands.server_time(), patience=FIRST_PATIENCE)
    return client


def open_inspector(*, quiet: bool = False) -> Inspector:
    """Give an inspector of the server in use."""
    return Inspector(open_store(quiet=quiet))


def open_actions(client: Client) -> Actions:
    """Give what the user of this process can do on a server."""
    return Actions(client, Actor(_user(), f"cli@{socket.gethostname()}"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in some containers
        return f"uid {os.getuid()}"


def existing_queue(inspector: Inspector, name: str) -> str:
    """Give the name back if there is such a queue: put to once, or listened to now; raises NotFound."""
    known = {*inspector.queues()}
    if name not in known:
        known |= {queue for consumer in inspector.consumers() for queue in consumer.queues}
    if name in known:
        return name
    message = f"no queue is called {name!r}"
    raise NotFound(message, hint=closest(name, sorted(known)) or "`conveyor queues` lists what there is")
