"""The commands that put jobs and work them off."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import typer

from conveyor.cli import completion
from conveyor.cli.commands.parameters import Json, TaskModules


@dataclass(frozen=True)
class Demo:
    """Show it all at work: a server, workers and a mixed batch of real jobs, with their results and the speedup."""


@dataclass(frozen=True)
class Produce:
    """Put jobs on a queue; without TASK, ask what to put, follow it and print the exact time it took.

    Arguments are given in order or as name=value, and are checked before anything is put: `conveyor tasks TASK`
    lists them. Write `--` before arguments that begin with a dash.
    """

    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="Name of the task.", autocompletion=completion.tasks, show_default=False
        ),
    ] = ""
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="ARG | name=value", help="What it is to work on.", show_default=False),
    ] = field(default_factory=list)
    queue: Annotated[
        str,
        typer.Option(
            "--queue",
            "-q",
            metavar="QUEUE",
            help="Queue; default: the task's.",
            autocompletion=completion.queues,
        ),
    ] = ""
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Put the same N times.")] = 1
    wait: Annotated[
        bool, typer.Option(metavar="", help="Follow the jobs, then print the time and the result.")
    ] = False
    delay: Annotated[float | None, typer.Option(metavar="SECONDS", help="Not before so many seconds.")] = None
    priority: Annotated[
        int | None, typer.Option(metavar="0..255", help="Higher first; default: the task's.")
    ] = None
    retries: Annotated[int | None, typer.Option(metavar="N", help="Try again N times after an error.")] = None
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="End a run that takes longer.")] = (
        None
    )
    tasks: TaskModules = field(default_factory=list)
    json: Json = False


@dataclass(frozen=True)
class Consume:
    """Take jobs off queues and run them; without QUEUE, ask how many workers and which queue.

    With several queues, the first that has a job gives it. Ctrl-C once: leave after the current jobs; twice: cancel
    them and give them back; three times: kill.
    """

    queues: Annotated[
        list[str],
        typer.Argument(
            metavar="QUEUE",
            help="Queues, in order of precedence.",
            autocompletion=completion.queues,
            show_default=False,
        ),
    ] = field(default_factory=list)
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-n", metavar="N", min=1, help="How many; default: one per core."),
    ] = None
    kind: Annotated[
        Literal["process", "thread", "coroutine"],
        typer.Option(help="What a worker is; only `process` is there yet."),
    ] = "process"
    tasks: TaskModules = field(default_factory=list)
    until_empty: Annotated[
        bool, typer.Option("--until-empty", metavar="", help="Leave when nothing is left to do.")
    ] = False
