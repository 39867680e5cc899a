"""`conveyor tasks`, and how the other commands find a task."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

from conveyor.cli import options
from conveyor.cli.exit_codes import NotFound, closest
from conveyor.cli.options import Json, TaskModules, argument
from conveyor.cli.output import document, note, screen, table
from conveyor.consumer import known_tasks
from conveyor.errors import ConveyorError, UnknownTask
from conveyor.monitor.typed_input import parameters_of, usage
from conveyor.wire.redaction import no_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.tasks import Registry, Task
    from conveyor.wire.redaction import LabelsOf


def tasks(
    task: Annotated[str, argument("TASK", "Name of one task.", options.tasks)] = "",
    *,
    modules: TaskModules,
    as_json: Json = False,
) -> None:
    """List the tasks that can be enqueued. With TASK, show its parameters."""
    registry = known_tasks(modules)
    if task:
        _show_one(find_task(registry, task), as_json=as_json)
        return
    found, errors = [], []
    for name in registry.names():
        try:
            found.append(find_task(registry, name))
        except ConveyorError as error:
            errors.append(error)
    if as_json:
        document("tasks/v1", tasks=[_document(one) for one in found])
        return
    rows = [
        {"TASK": one.name, "QUEUE": one.put.queue, "DESCRIPTION": one.summary, "PARAMETERS": usage(one)}
        for one in found
    ]
    table(rows, may_shrink=("DESCRIPTION", "PARAMETERS"))
    for line in dict.fromkeys(f"conveyor: {error}\n  Hint: {error.hint}" for error in errors):
        note(line)
    note("\nFor details: conveyor tasks TASK. For your own tasks: a `tasks.py` here, or --tasks MODULE.")


def labels_of(modules: Sequence[str] = ()) -> LabelsOf:
    """Return the function that finds the labels of a task's arguments, secrets among them.

    Without named modules, those in the working folder that cannot be imported are skipped with a note; otherwise, as
    with `known_tasks`, ConveyorError is raised.
    """
    with contextlib.redirect_stdout(sys.stderr):  # output of the modules is not part of a document
        try:
            return known_tasks(modules).labels
        except ConveyorError as error:
            if modules:
                raise
            note(f"conveyor: {error}; some secret arguments may be unknown")
            return no_labels


def find_task(registry: Registry, name: str) -> Task[..., Any]:
    """Return a task by its name. Raises NotFound with the most similar names."""
    try:
        return registry.find(name)
    except UnknownTask:
        hint = (
            closest(name, registry.names()) or "list the tasks with `conveyor tasks`, or add --tasks MODULE"
        )
        raise NotFound(f"no task named {name!r} here", hint=hint) from None


def _show_one(task: Task[..., Any], *, as_json: bool) -> None:
    if as_json:
        document("task/v1", **_document(task))
        return
    show = screen()
    show.print(f"{task.name} on {task.put.queue}: {task.summary}")
    if task.split is not None:
        show.print("One order is split into several jobs, and their results are joined to one.")
    show.print()
    rows = [
        {
            "PARAMETER": one.name,
            "DEFAULT": "required" if one.required else one.default_text,
            "TYPE": one.type_text,
            "DESCRIPTION": one.words,
        }
        for one in parameters_of(task)
    ]
    if rows:
        table(rows, may_shrink=("DEFAULT", "DESCRIPTION"))
    else:
        show.print("It has no parameters.")


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
