"""`conveyor server start`, `stop` and `status`: the embedded server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from conveyor.cli.commands import print_help
from conveyor.cli.options import Json
from conveyor.cli.output import document, note
from conveyor.store import embedded

if TYPE_CHECKING:
    from conveyor.store.embedded import ServerState

server = typer.Typer(
    help="Control the embedded server, used without --url and CONVEYOR_URL.", add_completion=False
)
server.callback(invoke_without_command=True)(print_help)


@server.command()
def start(*, as_json: Json = False) -> None:
    """Start the embedded server unless it is running."""
    was_running = embedded.status().running
    _report(embedded.start(), "was already running" if was_running else "started", as_json=as_json)


@server.command()
def stop(*, as_json: Json = False) -> None:
    """Stop the embedded server. Its jobs stay on disk."""
    stopped = embedded.stop()
    _report(embedded.status(), "stopped" if stopped else "was not running", as_json=as_json)


@server.command()
def status(*, as_json: Json = False) -> None:
    """Show whether the embedded server is running, and where it stores its data."""
    state = embedded.status()
    _report(state, "is running" if state.running else "is not running", as_json=as_json)


def _report(state: ServerState, change: str, *, as_json: bool) -> None:
    if as_json:
        document(
            "server/v1",
            running=state.running,
            pid=state.pid,
            url=state.url,
            folder=state.folder,
            binary=state.binary,
            version=state.version or None,
        )
        return
    print(f"The embedded server {change}.")
    facts = {"URL": state.url, "Folder": state.folder, "Program": state.binary or "none found"}
    if state.running:
        facts |= {"Process": state.pid or "?", "Version": state.version or "?"}
    for name, value in facts.items():
        print(f"  {name:<9}{value}")
    if os.environ.get("CONVEYOR_URL"):
        note("Not in use here: CONVEYOR_URL or --url names another server.")
