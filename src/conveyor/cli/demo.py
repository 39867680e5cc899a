"""`conveyor demo` hands over to the demo itself."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conveyor.cli.commands.work import Demo


def show(_: Demo) -> int:
    """Run the demo; it is a surface beside this one, so it is known by its name alone."""
    status: int = importlib.import_module("conveyor.demo").run()
    return status
