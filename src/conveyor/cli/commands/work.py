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
    durability: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="What the server confirms first: memory, written, fsync or replicated:N; default: the task's.",
            show_default=False,
        ),
    ] = ""
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
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=30 * 86_400,  # `MAX_GRACE`; its package takes long to import
            help="Seconds that current jobs may take after a request to exit. Then they are cancelled and return to "
            "the queue.",
        ),
    ] = None
    until_empty: Annotated[
        bool, typer.Option("--until-empty", metavar="", help="Leave when nothing is left to do.")
    ] = False


@dataclass(frozen=True)
class Dashboard:
    """Serve the live page: every queue, worker and job, and the means to stop any of them.

    Only this machine can reach it unless --host says otherwise, and that needs a login:
    --users FILE, or the environment variables of docs/dashboard-security.md.
    """

    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, metavar="N", help="Port; 0 takes any free one.")
    ] = 9181
    read_only: Annotated[bool, typer.Option("--read-only", metavar="", help="Show, and change nothing.")] = (
        False
    )
    no_kill: Annotated[bool, typer.Option("--no-kill", metavar="", help="Let nobody kill workers.")] = False
    users: Annotated[
        str, typer.Option(metavar="FILE", help="File of those who may log in.", show_default=False)
    ] = ""
    add_user: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Write a user to --users and end. The password is asked for, or is a line of standard input.",
            show_default=False,
        ),
    ] = ""
    tokens: Annotated[
        str, typer.Option(metavar="FILE", help="File of the tokens of programs.", show_default=False)
    ] = ""
    add_token: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Make a token for a program, print it, write its hash to --tokens, and end.",
            show_default=False,
        ),
    ] = ""
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="Of --add-user and --add-token: viewer, operator or admin.")
    ] = "operator"
    until: Annotated[
        str,
        typer.Option(
            metavar="DATE",
            help="Of --add-token: the day (2030-12-31) from which it is good no more.",
            show_default="never",
        ),
    ] = ""
    allow_host: Annotated[
        list[str],
        typer.Option(
            metavar="NAME", help="Name that the page is reached by; may be repeated.", show_default=False
        ),
    ] = field(default_factory=list)
    root_path: Annotated[
        str,
        typer.Option(metavar="PATH", help="Path before all addresses, behind a proxy.", show_default=False),
    ] = ""
    tasks: TaskModules = field(default_factory=list)
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", metavar="", help="Listen elsewhere without any login.")
    ] = False
    open: Annotated[bool, typer.Option("--open", metavar="", help="Open it in a browser.")] = False


@dataclass(frozen=True)
class Torture:
    """Try the server in use: real load, faults at random moments, and a verdict on every promise.

    It uses queues of its own, which it removes at the end, and starts its own producers and consumers. The faults are
    those of processes, operators and the network; the server itself is left alone. Exit with code 1 if a promise is
    broken. The last line that it prints repeats the run.
    """

    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Seconds of faults.")] = 60.0
    seed: Annotated[
        str,
        typer.Option(
            metavar="SEED", help="What all chance comes from; default: a new one.", show_default=False
        ),
    ] = ""
    durability: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="Level of durability at which jobs are put: memory, written, fsync or replicated:N.",
        ),
    ] = "memory"
    keep: Annotated[
        str,
        typer.Option(
            metavar="FOLDER", help="Folder for a copy of the history and all logs.", show_default=False
        ),
    ] = ""
