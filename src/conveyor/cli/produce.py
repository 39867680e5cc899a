"""`conveyor produce`: place an order, and follow it if asked to."""

from __future__ import annotations

import datetime as dt
import shlex
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

from conveyor.cli import exit_codes, options
from conveyor.cli.connection import open_inspector, open_store
from conveyor.cli.exit_codes import Usage
from conveyor.cli.follow import follow
from conveyor.cli.options import Json, TaskModules, argument, arguments, flag, option, queue_option
from conveyor.cli.output import document, is_lively, margin, note, progress_bar
from conveyor.cli.prompts import BUILTIN_TASKS, Choice, open_prompt, require_terminal
from conveyor.cli.status import queue_labels
from conveyor.cli.tasks import find_task
from conveyor.consumer import known_tasks
from conveyor.errors import BadCall, BadInput, ConveyorError
from conveyor.inbox import inbox_of
from conveyor.monitor import workers
from conveyor.monitor.format import count_of
from conveyor.monitor.typed_input import as_words, bind, convert, parameters_of
from conveyor.order import Order
from conveyor.wire import ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.cli.prompts import Prompt
    from conveyor.monitor import Inspector
    from conveyor.monitor.typed_input import Parameter
    from conveyor.store import Client
    from conveyor.tasks import Registry, Task

#: Consumers listed one by one.
MAX_NAMES = 5
#: Characters of a task's description in the menu.
_MAX_DESCRIPTION = 34


def produce(
    *,
    task: Annotated[str, argument("TASK", "Name of the task.", options.tasks)] = "",
    arguments: Annotated[
        list[str],
        arguments("ARG | name=value", "Arguments of the task."),
    ],
    queue: Annotated[str, queue_option("Queue instead of the task's own.")] = "",
    count: Annotated[int, option("N", "Number of times to enqueue it.", min=1)] = 1,
    wait: Annotated[bool, flag("Follow the jobs and print the time and the result.")] = False,
    delay: Annotated[float | None, option("SECONDS", "Delay in seconds.")] = None,
    eta: Annotated[
        str,
        option("TIME", "Time from which it may run, such as 2030-12-31T08:00; local without a time zone."),
    ] = "",
    expires: Annotated[
        float | None,
        option("SECONDS", "Seconds after which it is not started any more, from when it may run."),
    ] = None,
    priority: Annotated[
        int | None, option("0..255", "Priority, higher first, instead of the task's own.")
    ] = None,
    retries: Annotated[int | None, option("N", "Number of retries after errors.")] = None,
    timeout: Annotated[float | None, option("SECONDS", "Time limit of a run in seconds.")] = None,
    soft_timeout: Annotated[
        float | None, option("SECONDS", "Seconds of a run after which SoftTimeout is raised in the task.")
    ] = None,
    durability: Annotated[
        str,
        option(
            "LEVEL",
            "Durability: memory, written, fsync or replicated:N, instead of the task's own.",
        ),
    ] = "",
    modules: TaskModules,
    as_json: Json = False,
) -> int:
    """Enqueue a task. Without TASK, prompt for it and follow it.

    Arguments are positional or name=value, and are checked before anything is enqueued: `conveyor tasks TASK` lists
    them. Write `--` before arguments that begin with a dash.
    """
    registry = known_tasks(modules)
    if not task:
        hint = f"conveyor produce TASK [ARG…] [name=value…], where TASK is {', '.join(registry.names())}"
        require_terminal("TASK is missing", hint)
        return prompt_produce(open_prompt(), registry)
    changes: dict[str, Any] = {
        "queue": queue or None,
        "delay": delay,
        "eta": _time(eta) if eta else None,
        "expires": expires,
        "priority": priority,
        "retries": retries,
        "timeout": timeout,
        "soft_timeout": soft_timeout,
        "durability": durability or None,
    }
    found = find_task(registry, task)
    found = found.options(**{name: value for name, value in changes.items() if value is not None})
    ids.checked_queue(found.put.queue)
    bound = bind(found, arguments)
    client = open_store(quiet=as_json)
    order = place_order(client, found, bound, count, quiet=as_json)
    if wait:
        return follow(order, found.put.queue, as_json=as_json)
    if as_json:
        document("placed/v1", task=found.name, queue=found.put.queue, jobs=[job.id for job in order.jobs])
        return exit_codes.OK
    inbox = inbox_of(client).name
    new = len({job.id for job in order.jobs if ids.producer_of(job.id) == inbox})
    same = len(order.jobs) - new  # as the task is unique
    already = f", {same:,} {'was' if same == 1 else 'were'} there already" if same else ""
    note(f"{count_of(new, 'job')} enqueued on {found.put.queue}{already}:")
    for job in order.jobs:
        print(job.id)
    return exit_codes.OK


def _time(text: str) -> dt.datetime:
    """Return a time that was typed, in the local time zone unless it names one. Raises Usage."""
    try:
        return dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise Usage(f"--eta {text!r:.80} is not a time: {error}", hint="such as 2030-12-31T08:00") from None


def place_order(
    client: Client, task: Task[..., Any], arguments: Mapping[str, Any], count: int = 1, *, quiet: bool = False
) -> Order:
    """Place an order and show that it takes time. Raises BadInput or BadCall before anything is enqueued.

    After Ctrl-C or an error, the jobs enqueued so far stay, and a note has their number, unless `quiet`.
    """
    placed = 0
    splits = task.split is not None and count == 1 and is_lively() and not quiet
    reading = margin().status(f"{task.name}: reading the order") if splits else nullcontext()
    try:
        with progress_bar(f"enqueuing on {task.put.queue}", 0 if quiet else count) as advance, reading:

            def on_put(number: int) -> None:
                nonlocal placed
                placed += number
                advance(number)

            return Order.place(task, arguments, store=client, count=count, on_put=on_put)
    except (KeyboardInterrupt, ConveyorError) as error:
        placed = max(placed, getattr(error, "accepted", 0))
        if placed and not quiet:
            note(f"\n{count_of(placed, 'job')} on {task.put.queue} already, the others were not enqueued.")
        raise


def prompt_produce(prompt: Prompt, registry: Registry) -> int:
    """Ask for an order, place it, follow it and return the exit code."""
    inspector = open_inspector()
    task = _choose_task(prompt, registry, inspector)
    parameters = parameters_of(task)
    while True:
        if parameters:
            note("Press Enter for the value in brackets.")
        arguments = {one.name: _ask_argument(prompt, task, one) for one in parameters}
        has_workers = _show_workers(inspector, task.put.queue)
        if not has_workers and not prompt.confirm("Enqueue the jobs anyway?", default=True):
            note("Nothing was enqueued.")
            return exit_codes.OK
        try:
            order = place_order(inspector.client, task, arguments)
        except (BadInput, BadCall) as error:
            note(f"\nInvalid order: {error}")
            if error.hint:
                note(f"  Hint: {error.hint}")
            note("Nothing was enqueued. Try again:")
            continue
        command = ["conveyor", "produce", task.name, *as_words(arguments, parameters), "--wait"]
        jobs = count_of(len(order.jobs), "job")
        note(f"{jobs} enqueued on {task.put.queue}. To repeat: {shlex.join(command)}")
        return follow(order, task.put.queue, as_json=False)


def _choose_task(prompt: Prompt, registry: Registry, inspector: Inspector) -> Task[..., Any]:
    labels = queue_labels(inspector)
    descriptions = {one.name: one.description for one in BUILTIN_TASKS}
    choices = []
    for name in dict.fromkeys((*descriptions, *registry.tasks)):
        task = find_task(registry, name)
        if name in descriptions or not task.__module__.startswith("conveyor."):
            text = descriptions.get(name) or task.summary
            label = labels.get(task.put.queue, "0 waiting, 0 workers")
            choices.append(Choice(name, f"{text[:_MAX_DESCRIPTION]:<{_MAX_DESCRIPTION}}{label}"))
    return prompt.choose("Choose a task", choices, lambda name: find_task(registry, name))


def _ask_argument(prompt: Prompt, task: Task[..., Any], parameter: Parameter) -> Any:
    def check(text: str) -> Any:
        if text == parameter.default_text and not parameter.required:
            return parameter.default
        if text == "" and parameter.required:
            raise BadCall(f"{parameter.name} is required: it takes {parameter.type_text}")
        return convert(task, parameter, text)

    label = f"  {parameter.name} ({parameter.words or parameter.type_text})"
    return prompt.line(label, parameter.default_text, check)


def _show_workers(inspector: Inspector, queue: str) -> bool:
    """Print the workers of a queue; return True if there are any."""
    consumers = [one for one in inspector.consumers() if queue in one.queues and one.workers]
    if not consumers:
        note(f"No workers on {queue}: the jobs will wait until there are.")
        note(f"  Hint: conveyor consume {queue}, or python3 consumer_main.py")
        return False
    counts = workers.counts(consumers)
    names = [f"{one.name} ({len(one.workers):,})" for one in consumers[:MAX_NAMES]]
    rest = f" and {len(consumers) - MAX_NAMES:,} more" if len(consumers) > MAX_NAMES else ""
    note(f"{count_of(counts.all, 'worker')} on {queue}, {counts.busy:,} busy: {', '.join(names)}{rest}")
    return True
