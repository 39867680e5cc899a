"""The live page beside the demo's work."""

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
def page_beside(client: Client, people: Console) -> Iterator[str]:
    """Serve the page while the block runs, on its usual port or else on any; gives its address, empty without one.

    The demo goes on without the page where that cannot be had, and says why.
    """
    with contextlib.ExitStack() as stack:
        address = ""
        try:
            address = stack.enter_context(_served(client))
            people.print(f"Watch it at {address}", highlight=False)
        except ConveyorError as error:
            people.print(f"conveyor: no page: {error}\n  Hint: {error.hint}", highlight=False, markup=False)
        yield address


def stay(address: str, people: Console) -> None:
    """Leave the page up until Ctrl-C."""
    people.print(f"The page and the workers stay up until Ctrl-C: {address}", highlight=False)
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
