"""`conveyor tasks`: what can be put from here, and what a task takes. Also how the other commands find a task."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from conveyor import consumer
from conveyor.cli import exits
from conveyor.cli.exits import NotFound, closest
from conveyor.cli.output import Column, document, note, screen, table
from conveyor.errors import ConveyorError, UnknownTask
from conveyor.monitor.typed_input import parameters_of, usage
from conveyor.wire.redaction import no_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.cli.commands.look import Tasks
    from conveyor.monitor.typed_input import Parameter
    from conveyor.tasks import Registry, Task
    from conveyor.wire.redaction import LabelsOf

_COLUMNS = (
    Column("TASK"),
    Column("QUEUE"),
    Column("DOES", may_shrink=True),
    Column("TAKES", may_shrink=True),
)
_TAKES = (
    Column("PARAMETER"),
    Column("DEFAULT", may_shrink=True),
    Column("TAKES"),
    Column("MEANS", may_shrink=True),
)


def show(asked: Tasks) -> int:
    """List the tasks, or tell about one."""
    registry = known_tasks(asked.tasks)
    if asked.task:
        return _show_one(find_task(registry, asked.task), as_json=asked.json)
    tasks, broken = [], []
    for name in registry.names():
        try:
            tasks.append(find_task(registry, name))
        except ConveyorError as error:
            broken.append(error)
    if asked.json:
        document("tasks/v1", tasks=[_document(task) for task in tasks])
        return exits.OK
    table(_COLUMNS, [(task.name, task.put.queue, task.summary, usage(task)) for task in tasks])
    for line in dict.fromkeys(f"conveyor: {error}\n  Hint: {error.hint}" for error in broken):
        note(line)
    note("\n`conveyor tasks TASK` tells more. Tasks of your own: a `tasks.py` here, or --tasks MODULE.")
    return exits.OK


def known_tasks(modules: Sequence[str] = ()) -> Registry:
    """Give the tasks that are known in the working folder; raises ConveyorError where a module cannot be imported."""
    return consumer.known_tasks(tuple(modules))


def labels_of(modules: Sequence[str] = ()) -> LabelsOf:
    """Give what says of tasks which of their arguments are secret; raises ConveyorError as `known_tasks` does.

    Where no module is named, those in the working folder that cannot be imported are passed over with a note.
    """
    with contextlib.redirect_stdout(sys.stderr):  # what modules print is no part of a document
        try:
            return known_tasks(modules).labels
        except ConveyorError as error:
            if modules:
                raise
            note(f"conveyor: {error}; so secrets among arguments cannot all be told")
            return no_labels


def find_task(registry: Registry, name: str) -> Task[..., Any]:
    """Give a task by its name; raises NotFound with the names that are close."""
    try:
        return registry.find(name)
    except UnknownTask:
        message = f"no task is called {name!r} here"
        hint = closest(name, registry.names()) or "`conveyor tasks` lists them; --tasks MODULE brings more"
        raise NotFound(message, hint=hint) from None


def _show_one(task: Task[..., Any], *, as_json: bool) -> int:
    if as_json:
        document("task/v1", **_document(task))
        return exits.OK
    show = screen()
    show.print(f"{task.name} on {task.put.queue}: {task.summary}")
    if task.split is not None:
        show.print("One order is split into several jobs, and what they give is joined to one result.")
    show.print()
    parameters = parameters_of(task)
    if parameters:
        table(_TAKES, [(one.name, _default_words(one), one.type_text, one.words) for one in parameters])
    else:
        show.print("It takes nothing.")
    return exits.OK


def _default_words(parameter: Parameter) -> str:
    return "required" if parameter.required else parameter.default_text


def _document(task: Task[..., Any]) -> dict[str, Any]:
    return {
        "name": task.name,
        "queue": task.put.queue,
        "summary": task.summary,
        "splits": task.split is not None,
        "parameters": [
            {
                "name": one.name,
                "type": one.type_text,
                "required": one.required,
                "default": one.default_shown,
                "help": one.words,
            }
            for one in parameters_of(task)
        ],
    }
