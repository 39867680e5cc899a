"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from conveyor.cli import completion

QueueName = Annotated[
    str, typer.Argument(metavar="QUEUE", help="Name of the queue.", autocompletion=completion.queues)
]
QueueOrWorker = Annotated[
    str,
    typer.Argument(
        metavar="QUEUE | WORKER | CONSUMER",
        help="Name of a queue, or as in `conveyor workers`.",
        autocompletion=completion.queues_and_workers,
        show_default=False,
    ),
]
JobId = Annotated[
    str,
    typer.Argument(metavar="JOB", help="Id of the job.", autocompletion=completion.jobs, show_default=False),
]
InQueue = Annotated[
    str,
    typer.Option(
        "--queue",
        "-q",
        metavar="QUEUE",
        help="Look in this queue only.",
        autocompletion=completion.queues,
        show_default=False,
    ),
]
TaskModules = Annotated[
    list[str],
    typer.Option(
        "--tasks",
        metavar="MODULE",
        help="Module whose tasks are known; may be given several times. Without it: `tasks.py` and `task_def` here.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document and nothing else.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the log and the audit trail.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")]
