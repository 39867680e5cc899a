"""The commands, each a function that is imported when it is used, and the options of `conveyor` itself."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

import conveyor
from conveyor import logs
from conveyor.cli.exit_codes import Usage
from conveyor.errors import MissingExtra

#: The commands by panel of the help: the module of each one's function, which has its name, and the first line of the
#: function's docstring, so that `--help` imports no command.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Work": {
        "demo": ("demo", "Run real jobs of five kinds and show their results and the speedup."),
        "produce": ("produce", "Enqueue a task. Without TASK, prompt for it and follow it."),
        "consume": ("consume", "Run the jobs of queues. Without QUEUE, prompt for it."),
        "speedup": ("speedup", "Run the same work with 1, 2, … workers and show the speedup."),
    },
    "Look": {
        "dashboard": ("dashboard", "Serve the dashboard: everything live, with controls to stop any of it."),
        "top": ("top", "Show queues, jobs, workers and failures live in the terminal, with controls."),
        "status": ("status", "Show queues and workers on one screen."),
        "queues": ("status", "List all queues with their jobs, workers and state."),
        "workers": ("status", "List all workers with their current job and its progress."),
        "jobs": ("jobs", "List a queue's unfinished or dead jobs."),
        "job": ("jobs", "Show all about a job: state, arguments, progress, result or error, log."),
        "flow": ("flow", "Show the jobs before and after a job, and which waits for which."),
        "tasks": ("tasks", "List the tasks that can be enqueued. With TASK, show its parameters."),
        "audit": ("audit", "List actions on queues, jobs and workers, newest first."),
    },
    "Control": {
        "pause": ("control", "Pause a queue or workers until resumed. Running jobs continue."),
        "resume": ("control", "Resume paused workers, or a queue that was paused or shut down."),
        "limit": ("limit", "Show or set how many jobs of a queue run at a time, and start within a period."),
        "purge": ("control", "Cancel all queued jobs of a queue. Running jobs continue."),
        "delete": ("control", "Delete an empty queue with its settings, histories and outcomes."),
        "cancel": ("control", "Cancel jobs: queued ones immediately, running ones through their worker."),
        "signal": ("control", "Send a signal to a job that waits for it, or will."),
        "retry": ("control", "Return dead jobs to their queue as if they had never run."),
        "schedule": ("schedule", "Control recurring jobs: list, add, pause, resume, run and remove them."),
        "scale": ("scale", "Add workers to a running consumer, or stop some after their current jobs."),
        "kill": ("kill", "Stop workers after their current job, or immediately with --now."),
    },
    "Server": {
        "server": ("server", "Control the embedded server, used without --url and CONVEYOR_URL."),
        "torture": ("torture", "Test the queues of a server with load and random faults."),
        "doctor": ("doctor", "Check the server and the queues and suggest fixes."),
    },
}
#: Commands with arguments that may begin with a dash.
WITH_NEGATIVE_NUMBERS = {"scale"}
#: How lines on standard error are written.
LogFormat = Literal["text", "json"]
#: How the URL of a server may begin.
SCHEMES = ("redis://", "rediss://", "unix://", "sentinel://", "sentinels://")
_EPILOG = (
    "Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 ran and failed, 2 usage, "
    "3 not found, 4 timed out, 5 wrong state, 69 server unreachable, 130 interrupted."
)


class LazyGroup(TyperGroup):
    """The group of all commands. It lists them from the table and imports one when it is used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for panel, commands in COMMANDS.items():
            for name, (_, summary) in commands.items():
                self.add_command(TyperCommand(name, help=summary, rich_help_panel=panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name of the called command, the command itself, imported, and its arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest


def load(name: str) -> Any:
    """Import a command or a group of commands. Raises MissingExtra if a library is not installed."""
    module = next(commands[name][0] for commands in COMMANDS.values() if name in commands)
    try:
        function = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    except ModuleNotFoundError as error:
        raise MissingExtra("the command line", "cli", error.name) from error
    if isinstance(function, typer.Typer):
        return typer.main.get_command(function)
    # A paragraph of help is one line, which typer folds to the width of the terminal.
    paragraphs = [" ".join(one.split()) for one in (inspect.getdoc(function) or "").split("\n\n")]
    app = typer.Typer(add_completion=False)
    app.command(
        name,
        help="\n\n".join(paragraphs),
        context_settings={"ignore_unknown_options": name in WITH_NEGATIVE_NUMBERS},
    )(function)
    return typer.main.get_command(app)


def parser() -> typer.Typer:
    """Return the parser of the command line; calling it runs a command."""
    app = typer.Typer(
        name="conveyor",
        cls=LazyGroup,
        help="A bounded, blocking queue on Redis or Valkey, with producers, consumers and workers.",
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    return app


def _use_format(name: str) -> str:
    """Set the format at once, since errors in further arguments have it as well, and so do child processes."""
    os.environ[logs.FORMAT] = name
    logs.format_others()
    return name


def _root(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            "-u",
            metavar="ADDRESS",
            help="Server: redis://…, rediss://…, unix://…, sentinel://… or sentinels://…, instead of CONVEYOR_URL or "
            "the embedded server. Also valid after the command.",
        ),
    ] = "",
    *,
    log_format: Annotated[  # noqa: ARG001 - its callback has used it
        LogFormat,
        typer.Option(
            "--log-format",
            help="Lines on standard error: text, or one JSON object each. Also valid after the command.",
            envvar=logs.FORMAT,
            case_sensitive=False,
            is_eager=True,
            callback=_use_format,
        ),
    ] = "text",
    version: Annotated[
        bool, typer.Option("--version", "-V", metavar="", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if url:
        address = importlib.import_module("conveyor.store.address")
        if not address.normal(url).startswith(SCHEMES):
            message = f"invalid server URL {address.shown(url)!r}"
            raise Usage(message, hint=f"use a URL that begins with {', '.join(SCHEMES)}")
        os.environ["CONVEYOR_URL"] = url  # child processes read it as well
    if version:
        print(f"conveyor {conveyor.__version__} (Python {sys.version.split()[0]})")
        raise typer.Exit
    print_help(context)


def print_help(context: typer.Context) -> None:
    """Print the help of a group unless a command follows."""
    if context.invoked_subcommand is None:
        print(context.get_help())
