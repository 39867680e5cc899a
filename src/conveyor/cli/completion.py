"""Names for the shell to complete: asked of the server for a moment, and silent when it does not answer."""

from __future__ import annotations

import contextlib
import importlib
import io
import threading
from typing import Any

import typer  # noqa: TC002 - typer reads the type hints at run time

#: Seconds that a person who pressed Tab waits at most.
TIME_LIMIT = 0.5


def queues(context: typer.Context, incomplete: str) -> list[str]:
    """Give names of queues."""
    return _names("queues", context, incomplete)


def workers(context: typer.Context, incomplete: str) -> list[str]:
    """Give names of consumers and workers."""
    return _names("workers", context, incomplete)


def queues_and_workers(context: typer.Context, incomplete: str) -> list[str]:
    """Give names of queues, consumers and workers."""
    return _names("queues_and_workers", context, incomplete)


def jobs(context: typer.Context, incomplete: str) -> list[str]:
    """Give ids of jobs that are not over."""
    return _names("jobs", context, incomplete)


def dead_jobs(context: typer.Context, incomplete: str) -> list[str]:
    """Give ids of dead jobs."""
    return _names("dead_jobs", context, incomplete)


def tasks(context: typer.Context, incomplete: str) -> list[str]:
    """Give names of tasks."""
    return _names("tasks", context, incomplete)


def _names(kind: str, context: typer.Context, incomplete: str) -> list[str]:
    url: Any = context.find_root().params.get("url")
    found: list[str] = []

    def look() -> None:
        with contextlib.suppress(Exception):
            found.extend(getattr(importlib.import_module("conveyor.cli.known_names"), kind)(url or ""))

    thread = threading.Thread(target=look, daemon=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        thread.start()
        thread.join(TIME_LIMIT)
    return [name for name in found if name.startswith(incomplete)]
