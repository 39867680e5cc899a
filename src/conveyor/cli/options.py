"""Arguments and options of commands, and those that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from conveyor.cli import completion


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
    return option("QUEUE", about, "--queue", "-q", autocompletion=completion.queues)


QueueName = Annotated[str, argument("QUEUE", "Name of the queue.", completion.queues)]
QueueOrWorker = Annotated[
    str,
    argument(
        "QUEUE | WORKER | CONSUMER",
        "Name of a queue, or as in `conveyor workers`.",
        completion.queues_and_workers,
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
