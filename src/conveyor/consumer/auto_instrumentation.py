"""The command opentelemetry-instrument, which sets up the SDK in each Python process as it starts.

The threads of the SDK must not be in a supervisor, since that forks. So the supervisor starts again without it, and
each worker process sets it up for itself.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

#: What the command puts on the path, so that its `sitecustomize` is imported.
MODULE = "opentelemetry.instrumentation.auto_instrumentation"
#: The environment variable that keeps the path for workers.
_KEPT = "CONVEYOR_INSTRUMENTED_PATH"


def leave_to_workers(arguments: list[str]) -> None:
    """Start this supervisor again without the SDK, if the command has set it up here."""
    module = sys.modules.get(MODULE)
    if module is None or _KEPT in os.environ or module.__file__ is None:
        return
    path = os.environ.get("PYTHONPATH", "")
    own = str(Path(module.__file__).parent)
    rest = os.pathsep.join(one for one in path.split(os.pathsep) if one != own)
    os.environ.update({"PYTHONPATH": rest, _KEPT: path})
    # Blocked signals stay blocked until the supervisor can handle them.
    os.execv(sys.executable, [sys.executable, "-m", __package__, *arguments])  # noqa: S606 - our own interpreter


def begin() -> None:
    """Set up the SDK and all instrumentations in this worker process, if the command was to do so."""
    path = os.environ.pop(_KEPT, None)
    if path is not None:
        os.environ["PYTHONPATH"] = path  # for programs that tasks start
        importlib.import_module(MODULE).initialize()
