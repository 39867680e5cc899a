"""`conveyor top`: the terminal view."""

from __future__ import annotations

import sys

from conveyor.cli import exit_codes
from conveyor.cli.connection import open_actions, open_store
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import ReadOnly, TaskModules
from conveyor.cli.output import is_terminal
from conveyor.cli.tasks import labels_of
from conveyor.top.app import Top


def top(*, read_only: ReadOnly = False, tasks: TaskModules) -> int:
    """Show queues, jobs, workers and failures live in the terminal, with controls."""
    if not (is_terminal() and sys.stdout.isatty()):
        message = "top needs a terminal to draw on"
        raise Usage(message, hint="use `conveyor status --json` in programs")
    labels_of(tasks)  # registers the tasks, so that their secret arguments are known
    client = open_store()
    app = Top(client, open_actions(client).actor, read_only=read_only)
    app.run()
    code = app.return_code or exit_codes.OK
    return code if code in {exit_codes.OK, exit_codes.INTERRUPTED} else exit_codes.FAILED
