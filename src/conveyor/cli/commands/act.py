"""The commands that change something: queues, jobs, workers, the embedded server."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from conveyor.cli import completion
from conveyor.cli.commands.parameters import InQueue, Json, QueueName, QueueOrWorker, Reason, Yes

_Watch = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Watch for workers' answers for so long.")
]


@dataclass(frozen=True)
class Pause:
    """Let a queue give out nothing, or workers take nothing, until resumed; what runs goes on, puts are accepted.

    A worker's or consumer's name may be cut short as long as it is clear. Each paused worker acknowledges, finishes
    its current job and stays.
    """

    queue: QueueOrWorker
    reason: Reason = ""
    timeout: _Watch = 10.0
    json: Json = False


@dataclass(frozen=True)
class Resume:
    """Let a queue that was paused or shut down work again, or workers that were paused."""

    queue: QueueOrWorker
    reason: Reason = ""
    timeout: _Watch = 10.0
    json: Json = False


@dataclass(frozen=True)
class Purge:
    """Cancel everything that waits in a queue; what runs goes on."""

    queue: QueueName
    yes: Yes = False
    reason: Reason = ""
    json: Json = False


@dataclass(frozen=True)
class Delete:
    """Delete an empty queue with its settings, histories and outcomes."""

    queue: QueueName
    purge: Annotated[
        bool, typer.Option("--purge", help="Cancel waiting jobs and discard dead ones first.")
    ] = False
    yes: Yes = False
    reason: Reason = ""
    json: Json = False


@dataclass(frozen=True)
class Cancel:
    """Cancel jobs: at once while they wait; a running one is told to stop."""

    ids: Annotated[
        list[str], typer.Argument(metavar="JOB", help="Ids of the jobs.", autocompletion=completion.jobs)
    ]
    queue: InQueue = ""
    reason: Reason = ""
    json: Json = False


@dataclass(frozen=True)
class Retry:
    """Put dead jobs back on their queue, as if never tried."""

    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB", help="Ids of the jobs.", autocompletion=completion.dead_jobs, show_default=False
        ),
    ] = field(default_factory=list)
    every: Annotated[
        str,
        typer.Option(
            "--all", metavar="QUEUE", help="All dead jobs of a queue.", autocompletion=completion.queues
        ),
    ] = ""
    queue: InQueue = ""
    reason: Reason = ""
    json: Json = False


@dataclass(frozen=True)
class Kill:
    """Stop workers: after their current job, or at once with --now; each target acknowledges.

    A name may be cut short as long as it is clear. A consumer's name stops all of its workers. On a
    terminal, --all and -q ask first. A worker that is stopped stays away; what it ran with --now goes back to its
    place.
    """

    names: Annotated[
        list[str],
        typer.Argument(
            metavar="WORKER | CONSUMER",
            help="Names as in `conveyor workers`.",
            autocompletion=completion.workers,
            show_default=False,
        ),
    ] = field(default_factory=list)
    every: Annotated[bool, typer.Option("--all", metavar="", help="All workers, everywhere.")] = False
    queue: Annotated[
        str,
        typer.Option(
            "--queue", "-q", metavar="QUEUE", help="All that take from it.", autocompletion=completion.queues
        ),
    ] = ""
    yes: Yes = False
    now: Annotated[bool, typer.Option("--now", metavar="", help="Do not wait for the current job.")] = False
    reason: Reason = ""
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Watch for so long.")] = 10.0
    json: Json = False


@dataclass(frozen=True)
class ServerStart:
    """Start the embedded server, if it does not run."""

    json: Json = False


@dataclass(frozen=True)
class ServerStop:
    """Stop the embedded server; what waits in it is kept on the disk."""

    json: Json = False


@dataclass(frozen=True)
class ServerStatus:
    """Tell whether the embedded server runs, and where it keeps its data."""

    json: Json = False
