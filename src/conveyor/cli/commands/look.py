"""The commands that look and change nothing."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import typer

from conveyor.cli import completion
from conveyor.cli.commands.parameters import InQueue, JobId, Json, QueueName, TaskModules


@dataclass(frozen=True)
class Status:
    """Show queues and workers on one screen."""

    json: Json = False


@dataclass(frozen=True)
class Top:
    """Show queues, jobs, workers and failures live in the terminal, and stop, cancel or retry them."""

    read_only: Annotated[bool, typer.Option("--read-only", metavar="", help="Show, and change nothing.")] = (
        False
    )
    tasks: TaskModules = field(default_factory=list)


@dataclass(frozen=True)
class Queues:
    """List all queues: what waits, runs and failed, and who listens."""

    json: Json = False


@dataclass(frozen=True)
class Workers:
    """List all workers: where they are, what they run, for how long, and how far it is."""

    queue: Annotated[
        str,
        typer.Option(
            "--queue",
            "-q",
            metavar="QUEUE",
            help="Only those that take from it.",
            autocompletion=completion.queues,
        ),
    ] = ""
    json: Json = False


@dataclass(frozen=True)
class Jobs:
    """List jobs of a queue that are not over, or are dead."""

    queue: QueueName
    state: Annotated[Literal["waiting", "delayed", "running", "dead"], typer.Option(help="Which jobs.")] = (
        "waiting"
    )
    first: Annotated[int, typer.Option(metavar="PLACE", min=0, help="Leave out so many.")] = 0
    count: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Show so many at most.")] = 50
    tasks: TaskModules = field(default_factory=list)
    json: Json = False


@dataclass(frozen=True)
class JobShown:
    """Show all that is known of a job: state, arguments, progress, result or error, log."""

    id: JobId
    queue: InQueue = ""
    stack: Annotated[
        bool, typer.Option("--stack", metavar="", help="Where the code is that runs it: its Python stacks.")
    ] = False
    tasks: TaskModules = field(default_factory=list)
    json: Json = False


@dataclass(frozen=True)
class Tasks:
    """List the tasks that can be put from here; with TASK, what it takes."""

    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="Tell more about this one.",
            autocompletion=completion.tasks,
            show_default=False,
        ),
    ] = ""
    tasks: TaskModules = field(default_factory=list)
    json: Json = False


@dataclass(frozen=True)
class Audit:
    """List what people did to queues, jobs and workers, newest first: who, when, why, and what came of it."""

    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, max=200, help="Show so many at most.")
    ] = 50
    before: Annotated[
        str, typer.Option(metavar="ID", help="Only what was done before this record.", show_default=False)
    ] = ""
    json: Json = False


@dataclass(frozen=True)
class Doctor:
    """Look at the server and the queues: what is wrong, and what to do. Exit code 1 if something is bad."""

    json: Json = False
