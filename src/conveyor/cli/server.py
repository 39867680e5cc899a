"""`conveyor server start|stop|status`: the embedded server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from conveyor.cli import exits
from conveyor.cli.output import document, note
from conveyor.store import embedded

if TYPE_CHECKING:
    from conveyor.cli.commands.act import ServerStart, ServerStatus, ServerStop
    from conveyor.store.embedded import ServerState


def start(asked: ServerStart) -> int:
    """Start it if it does not run."""
    ran = embedded.status().running
    return _tell(embedded.start(), "runs already" if ran else "started", as_json=asked.json)


def stop(asked: ServerStop) -> int:
    """Stop it if it runs."""
    stopped = embedded.stop()
    return _tell(embedded.status(), "stopped" if stopped else "did not run", as_json=asked.json)


def show(asked: ServerStatus) -> int:
    """Tell whether it runs."""
    state = embedded.status()
    return _tell(state, "runs" if state.running else "does not run", as_json=asked.json)


def _tell(state: ServerState, what: str, *, as_json: bool) -> int:
    if as_json:
        document("server/v1", **_document(state))
        return exits.OK
    print(f"The embedded server {what}.")
    facts = {"Address": state.url, "Folder": state.folder, "Program": state.binary or "none found"}
    if state.running:
        facts |= {"Process": state.pid or "?", "Version": state.version or "?"}
    for name, value in facts.items():
        print(f"  {name:<9}{value}")
    if os.environ.get("CONVEYOR_URL"):
        note("It is not in use here: CONVEYOR_URL or --url names another server.")
    return exits.OK


def _document(state: ServerState) -> dict[str, Any]:
    return {
        "running": state.running,
        "pid": state.pid,
        "url": state.url,
        "folder": state.folder,
        "binary": state.binary,
        "version": state.version or None,
    }
