"""`conveyor top`: the live view in the terminal, until somebody leaves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from conveyor.cli import exits
from conveyor.cli.desk import open_actions, open_store
from conveyor.cli.exits import Usage
from conveyor.cli.output import is_terminal
from conveyor.cli.tasks import labels_of
from conveyor.top.app import Top

if TYPE_CHECKING:
    from conveyor.cli.commands.look import Top as Asked


def show(asked: Asked) -> int:
    """Show one server until somebody leaves."""
    if not (is_terminal() and sys.stdout.isatty()):
        message = "top needs a terminal to draw on"
        raise Usage(message, hint="`conveyor status --json` gives the same to a program")
    labels_of(asked.tasks)  # now it is known which of their arguments are secret
    client = open_store()
    app = Top(client, open_actions(client).actor, read_only=asked.read_only)
    app.run()
    code = app.return_code or exits.OK
    return code if code in {exits.OK, exits.INTERRUPTED} else exits.FAILED
