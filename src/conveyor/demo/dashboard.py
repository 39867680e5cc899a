"""The dashboard alongside the demo's work."""

from __future__ import annotations

import contextlib
import importlib
import signal
from typing import TYPE_CHECKING, Any

from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from conveyor.store import Client


@contextlib.contextmanager
def dashboard_beside(client: Client, console: Console) -> Iterator[str]:
    """Serve the dashboard during the block, on its usual port or any other; yield its URL, or "" if it cannot start."""
    with contextlib.ExitStack() as stack:
        url = ""
        try:
            url = stack.enter_context(_served(client))
            console.print(f"Watch it at {url}")
        except ConveyorError as error:
            console.print(f"conveyor: no dashboard: {error}\n  Hint: {error.hint}", markup=False)
        yield url


def stay(url: str, console: Console) -> None:
    """Keep the dashboard up until Ctrl-C."""
    console.print(f"The dashboard and the workers stay up until Ctrl-C: {url}")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _served(client: Client) -> contextlib.AbstractContextManager[str]:
    dashboard: Any = importlib.import_module("conveyor.dashboard")  # an optional extra
    serving: Any = importlib.import_module("conveyor.dashboard.serve")
    host = "127.0.0.1"
    try:
        listening = serving.listen(host, serving.PORT)
    except serving.CannotListen:
        listening = serving.listen(host, 0)
    app = dashboard.create_dashboard(client.url)
    served: contextlib.AbstractContextManager[str] = serving.served(app, listening)
    return served
