"""The producer's conversation: which task, with what; who listens; then the order is placed and followed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from conveyor.cli import exits
from conveyor.cli.ask import Choice
from conveyor.cli.desk import open_inspector
from conveyor.cli.follow import follow
from conveyor.cli.menu import FAMILIES, crowds, listeners
from conveyor.cli.output import count_of, note
from conveyor.cli.placing import place
from conveyor.cli.tasks import find_task
from conveyor.errors import BadCall, BadInput
from conveyor.monitor import workers
from conveyor.monitor.typed_input import as_words, convert, parameters_of

if TYPE_CHECKING:
    from conveyor.cli.ask import Asker
    from conveyor.monitor import Inspector
    from conveyor.monitor.typed_input import Parameter
    from conveyor.order import Order
    from conveyor.tasks import Registry, Task

#: Consumers that are named one by one.
MOST_NAMES = 5


def talk(ask: Asker, registry: Registry) -> int:
    """Ask for an order, place it, follow it to its end; gives the exit code."""
    inspector = open_inspector()
    task = _chosen_task(ask, registry, inspector)
    while True:
        arguments = _asked_arguments(ask, task)
        if not _somebody_listens(inspector, task.put.queue) and not ask.agree(
            "Put the jobs anyway?", default=True
        ):
            note("Nothing was put.")
            return exits.OK
        try:
            order = place(inspector.client, task, arguments)
        except (BadInput, BadCall) as error:
            note(f"\nThat cannot be done: {error}")
            if error.hint:
                note(f"  Hint: {error.hint}")
            note("Nothing was put. Once more:")
            continue
        _tell_placed(order, task, arguments)
        return follow(order, task.put.queue, as_json=False)


def _chosen_task(ask: Asker, registry: Registry, inspector: Inspector) -> Task[..., Any]:
    crowd = crowds(inspector)
    known = {one.task: one.words for one in FAMILIES}
    choices = []
    for name in dict.fromkeys((*known, *registry.tasks)):
        task = find_task(registry, name)
        if name in known or not task.__module__.startswith("conveyor."):
            queue = task.put.queue
            words = known.get(name) or task.summary
            choices.append(Choice(name, f"{words[:34]:<34}{crowd.get(queue) or listeners(inspector, queue)}"))
    return ask.choose("What task do you want to enqueue?", choices, lambda name: find_task(registry, name))


def _asked_arguments(ask: Asker, task: Task[..., Any]) -> dict[str, Any]:
    parameters = parameters_of(task)
    if parameters:
        note("Enter alone takes what stands in brackets.")
    return {one.name: _asked(ask, task, one) for one in parameters}


def _asked(ask: Asker, task: Task[..., Any], parameter: Parameter) -> Any:
    def check(text: str) -> Any:
        if text == parameter.default_text and not parameter.required:
            return parameter.default
        if text == "" and parameter.required:
            raise BadCall(f"{parameter.name} has no default: it takes {parameter.type_text}")
        return convert(task, parameter, text)

    words = f" ({parameter.words or parameter.type_text})"
    return ask.line(f"  {parameter.name}{words}", parameter.default_text, check)


def _somebody_listens(inspector: Inspector, queue: str) -> bool:
    consumers = [one for one in inspector.consumers() if queue in one.queues and one.workers]
    if not consumers:
        note(f"No worker listens on {queue}: the jobs would wait there until one does.")
        note(f"  Hint: conveyor consume {queue}, or python3 consumer_main.py")
        return False
    crew = workers.counts(consumers)
    listen = "worker listens" if crew.all == 1 else "workers listen"
    names = [f"{one.name} ({len(one.workers):,})" for one in consumers]
    rest = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    note(f"{crew.all:,} {listen} on {queue}, {crew.busy:,} busy: {', '.join(names[:MOST_NAMES])}{rest}")
    return True


def _tell_placed(order: Order, task: Task[..., Any], arguments: dict[str, Any]) -> None:
    words = ["conveyor", "produce", task.name, *as_words(arguments, parameters_of(task)), "--wait"]
    note(f"{count_of(len(order.jobs), 'job')} put on {task.put.queue}. Same again: {shlex.join(words)}")
