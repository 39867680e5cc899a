"""Arguments and options that several commands share, and the shell completion of names.

Completion asks the server for half a second at most and is silent on any error.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conveyor.cli.connection import queue_counts
from conveyor.consumer import known_tasks
from conveyor.monitor import Inspector
from conveyor.monitor.schedules import all_schedules
from conveyor.store import Client, embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


#: Seconds that the shell waits at most.
TIME_LIMIT = 0.5
#: Jobs offered per queue and state.
MAX_JOBS = 50


def _completion(names: Callable[[str], Iterable[str]]) -> Callable[[typer.Context, str], list[str]]:
    """Return a completion of the names that a function returns for the URL of the command line."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        url: Any = context.find_root().params.get("url")
        found: list[str] = []

        def ask() -> None:
            with contextlib.suppress(Exception):
                found.extend(names(url or ""))

        thread = threading.Thread(target=ask, daemon=True)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            thread.start()
            thread.join(TIME_LIMIT)
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _inspector(url: str) -> Inspector:
    """Return an inspector that connects once. Raises StoreUnavailable if the embedded server is not running."""
    return Inspector(Client(url or os.environ.get("CONVEYOR_URL") or embedded.status().url, patience=0.0))


def _workers(url: str) -> list[str]:
    consumers = _inspector(url).consumers()
    return [*(one.name for one in consumers), *(worker.name for one in consumers for worker in one.workers)]


def _jobs(url: str, *states: str) -> list[str]:
    inspector = _inspector(url)
    return [
        job.id
        for queue in inspector.queues()
        for state in states
        for job in inspector.jobs(queue, state, 0, MAX_JOBS)
    ]


def _tasks(_: str) -> list[str]:
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the path holds strings
    return known_tasks().names()


schedules = _completion(lambda url: [one.name for one in all_schedules().ask(_inspector(url).client)])
queues = _completion(lambda url: sorted(queue_counts(_inspector(url))))
workers = _completion(_workers)
queues_and_workers = _completion(lambda url: [*sorted(queue_counts(_inspector(url))), *_workers(url)])
jobs = _completion(lambda url: _jobs(url, "running", "waiting", "deferred", "delayed"))
dead_jobs = _completion(lambda url: _jobs(url, "dead"))
tasks = _completion(_tasks)


def argument(metavar: str, about: str, names: Any = None, **attributes: Any) -> Any:
    """Return a positional argument; `names` completes it."""
    return typer.Argument(metavar=metavar, help=about, show_default=False, autocompletion=names, **attributes)


def arguments(metavar: str, about: str, names: Any = None) -> Any:
    """Return any number of positional arguments, or none."""
    return argument(metavar, about, names, default_factory=list)


def option(metavar: str, about: str, *names: str, **attributes: Any) -> Any:
    """Return an option with a value; without names, it has the name of its parameter."""
    return typer.Option(*names, metavar=metavar, help=about, **attributes)


def options(metavar: str, about: str, *names: str) -> Any:
    """Return an option that may be repeated."""
    return option(metavar, about, *names, default_factory=list, show_default=False)


def flag(about: str, *names: str) -> Any:
    """Return an option without a value; without names, it also has a `--no-` form."""
    return option("", about, *names)


def queue_option(about: str) -> Any:
    """Return the option `--queue QUEUE`."""
    return option("QUEUE", about, "--queue", "-q", autocompletion=queues)


QueueName = Annotated[str, argument("QUEUE", "Name of the queue.", queues)]
QueueOrWorker = Annotated[
    str,
    argument(
        "QUEUE | WORKER | CONSUMER",
        "Name of a queue, or as in `conveyor workers`.",
        queues_and_workers,
    ),
]
OnlyQueue = Annotated[str, queue_option("Search only this queue.")]
TaskModules = Annotated[
    list[str],
    options(
        "MODULE",
        "Module with tasks; repeatable. Without it: `tasks.py` and `task_def` in this folder.",
        "--tasks",
    ),
]
Json = Annotated[bool, flag("Print one JSON document only.", "--json")]
Reason = Annotated[str, option("TEXT", "Reason for the log and the audit trail.")]
Yes = Annotated[bool, flag("Do not ask for confirmation.", "--yes", "-y")]
ReadOnly = Annotated[bool, flag("Show only, without controls.", "--read-only")]
ReplyTimeout = Annotated[
    float, option("SECONDS", "Seconds to wait for workers' replies.", "--timeout", min=0)
]
