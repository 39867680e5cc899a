"""`conveyor consume`: become the supervisor of a consumer."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from msgspec import structs

from conveyor import task_loading
from conveyor.cli import options
from conveyor.cli.connection import open_inspector, open_store
from conveyor.cli.exit_codes import Usage
from conveyor.cli.options import TaskModules, arguments, flag, option
from conveyor.cli.output import note
from conveyor.cli.prompts import BUILTIN_TASKS, Choice, open_prompt, require_terminal
from conveyor.cli.status import queue_labels
from conveyor.consumer import command_line, known_tasks, search_here
from conveyor.consumer.settings import MAX_GRACE, ConsumerSettings, Kind, LogLevel, read_queues, read_size
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.cli.prompts import Prompt

#: The options with a value, and their settings.
_OPTIONS = {
    "-n": "workers",
    "--kind": "kind",
    "--processes": "processes",
    "--min": "min_workers",
    "--max": "max_workers",
    "--max-jobs": "max_jobs",
    "--max-memory": "max_memory",
    "--grace": "leave_grace",
    "--log-level": "log_level",
}
#: The options without one, likewise.
_FLAGS = {"--prints": "prints", "--until-empty": "until_empty"}
#: Workers that a user who is asked can choose; more with -n.
MAX_WORKERS = 10


def consume(
    queues: Annotated[
        list[str],
        arguments("QUEUE", "Queues in order of precedence, or with weights: fast:5 slow:1.", options.queues),
    ],
    *,
    workers: Annotated[
        int | None,
        option(
            "N",
            "Number of workers, and so of jobs that run at a time; without it, one process per core, 10 threads or "
            "100 coroutines.",
            *("--workers", "-n"),
            min=1,
        ),
    ] = None,
    kind: Annotated[
        Kind,
        typer.Option(help="How workers run their jobs: as processes, threads or coroutines."),
    ] = "process",
    processes: Annotated[
        int | None,
        option(
            "N", "Processes over which threads or coroutines are spread; 1 without it.", "--processes", min=1
        ),
    ] = None,
    least: Annotated[
        int | None,
        option("N", "Number of workers while nothing waits; 1 without it.", "--min", min=1),
    ] = None,
    most: Annotated[
        int | None,
        option(
            "N", "Number of workers up to which waiting jobs add some, instead of --workers.", "--max", min=1
        ),
    ] = None,
    max_jobs: Annotated[
        int | None,
        option("N", "Number of jobs after which a worker process is replaced.", "--max-jobs", min=1),
    ] = None,
    max_memory: Annotated[
        str | None,
        option(
            "SIZE",
            "Memory, such as 512M or 2G, or in bytes, above which a worker process is replaced between jobs.",
            "--max-memory",
        ),
    ] = None,
    modules: TaskModules,
    grace: Annotated[
        float | None,
        option(
            "SECONDS",
            "Seconds from a request to exit until current jobs are interrupted and return to the queue.",
            min=0,
            max=MAX_GRACE,
        ),
    ] = None,
    log_level: Annotated[
        LogLevel,
        typer.Option(help="Lowest level of what tasks log through `logging` that is kept with their jobs."),
    ] = "info",
    prints: Annotated[bool, flag("Keep what tasks print with their jobs as well.", "--prints")] = False,
    until_empty: Annotated[bool, flag("Exit once the queues have no more jobs.", "--until-empty")] = False,
    reload: Annotated[
        bool, flag("Restart the workers when a Python file changes; for development.", "--reload")
    ] = False,
) -> int:
    """Run the jobs of queues. Without QUEUE, prompt for it.

    The first queue with a job is served first. Ctrl-C once: exit after the current jobs; twice: return them to the
    queue; three times: kill them.
    """
    if reload:
        from conveyor.cli.reload import Reloader  # noqa: PLC0415 - it needs an extra
    check_numbers(workers, kind, processes, least, most)
    settings = settings_for(
        queues,
        modules,
        check=not reload,
        workers=workers,
        kind=kind,
        processes=processes,
        min_workers=least,
        max_workers=most,
        max_jobs=max_jobs,
        max_memory=read_size(max_memory),
        leave_grace=grace,
        log_level=log_level,
        prints=prints,
        until_empty=until_empty,
    )
    if queues:
        open_store()
    else:
        require_terminal("QUEUE is missing", "conveyor consume QUEUE -n WORKERS")
        settings = prompt_consume(open_prompt(), settings, reload=reload)
    if not reload:
        become_supervisor(settings)
    return Reloader(settings, tuple(modules)).run()


def check_numbers(
    workers: int | None, kind: Kind, processes: int | None, least: int | None, most: int | None
) -> None:
    """Raise Usage for options that exclude each other. `ConsumerSettings` would name the parameters of Python."""
    if most is None and least is not None:
        raise Usage("--min needs --max", hint="add it, or use -n for a fixed number")
    if most is not None and workers is not None:
        message = "-n is a fixed number of workers; --min and --max let it follow what waits"
        raise Usage(message, hint="leave out -n, or the two others")
    if least is not None and most is not None and least > most:
        raise Usage(f"--min must be at most --max, got {least} and {most}")
    if processes is not None and kind == "process":
        message = "--processes is for threads and coroutines: every worker of kind process has its own"
        raise Usage(message, hint="use -n, or add --kind thread or --kind coroutine")
    if processes is not None and workers is not None and processes > workers:
        message = f"--processes must be at most the number of workers, got {processes} for {workers}"
        raise Usage(message, hint="leave it out for one process")


def settings_for(
    queues: Sequence[str] = (), modules: Sequence[str] = (), *, check: bool = True, **options: Any
) -> ConsumerSettings:
    """Return the settings of a consumer. Raises BadCall if they are invalid, ConveyorError if its tasks are.

    Without `check`, the tasks are not imported.
    """
    if check:
        known_tasks(modules)  # reports an import error here instead of in every worker
    else:
        search_here()
    modules = tuple(modules) or tuple(task_loading.found_modules())
    names, weights = read_queues(queues or "default")
    return ConsumerSettings(queues=names, weights=weights, modules=modules, path=tuple(sys.path), **options)


def become_supervisor(settings: ConsumerSettings) -> NoReturn:
    """Replace this process by the supervisor, which then owns its signals, exit code and process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = command_line(settings)
    # Blocked signals stay blocked: a Ctrl-C from here on waits until the supervisor can handle it.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    os.execv(command[0], command)  # noqa: S606 - our own interpreter and module


def prompt_consume(prompt: Prompt, settings: ConsumerSettings, *, reload: bool = False) -> ConsumerSettings:
    """Ask for the number of workers, unless it is set, and for the queue, and return the settings with them."""
    inspector = open_inspector()
    workers = settings.workers
    if not workers and settings.max_workers is None:
        default = str(min(MAX_WORKERS, settings.worker_count))
        workers = prompt.line(f"How many workers? 1 to {MAX_WORKERS}", default, read_workers)
    labels = queue_labels(inspector)
    tasks = {one.queue: one.name for one in BUILTIN_TASKS}
    choices = [
        Choice(name, f"{tasks.get(name, ''):<13}{labels.get(name, '0 waiting, 0 workers')}")
        for name in dict.fromkeys((*tasks, *labels))
    ]
    queue = prompt.choose("Which queue?", choices, ids.checked_queue, others=True)
    if queue not in labels:
        note(f"No jobs were ever put on {queue}: the workers wait for the first.")
    chosen = structs.replace(settings, queues=(queue,), workers=workers)
    note(f"To repeat: {shlex.join(command_of(chosen, *(['--reload'] if reload else [])))}")
    return chosen


def command_of(settings: ConsumerSettings, *more: str) -> list[str]:
    """Return the command line with these settings, without what is the default anyway."""
    default = ConsumerSettings()
    weights = [f":{weight}" for weight in settings.weights] or [""] * len(settings.queues)
    command = ["conveyor", "consume", *map("".join, zip(settings.queues, weights, strict=True))]
    for name, setting in _OPTIONS.items():
        if (value := getattr(settings, setting)) != getattr(default, setting):
            command += [name, f"{value:g}" if isinstance(value, float) else str(value)]
    command += [name for name, setting in _FLAGS.items() if getattr(settings, setting)]
    if list(settings.modules) != task_loading.found_modules():
        command += [word for module in settings.modules for word in ("--tasks", module)]
    return [*command, *more]


def read_workers(text: str) -> int:
    """Return the number of workers that a user typed. Raises Usage for an invalid one."""
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise Usage(f"{text!r} is not a whole number", hint=f"type a number from 1 to {MAX_WORKERS}")
    number = int(text)
    if not 1 <= number <= MAX_WORKERS:
        hint = f"for more, use `conveyor consume QUEUE -n {number}`" if number > 0 else ""
        raise Usage(f"the number of workers must be between 1 and {MAX_WORKERS}, got {number}", hint=hint)
    return number
