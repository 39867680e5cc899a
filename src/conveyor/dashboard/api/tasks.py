"""Endpoints about the tasks that this process knows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from conveyor.dashboard import known_tasks
from conveyor.dashboard.api import enqueue as requests
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.enqueue import Preview
from conveyor.dashboard.api.models import RowsQuery
from conveyor.dashboard.rendering import sentences
from conveyor.errors import BadCall, BadInput, ConveyorError, TooLarge
from conveyor.monitor.job_list import decode_cursor, encode_cursor
from conveyor.monitor.typed_input import parameters_of

if TYPE_CHECKING:
    from conveyor import tasks
    from conveyor.dashboard.api.endpoint import ApiRequest


class Parameter(Struct, frozen=True):
    """A parameter of a task."""

    name: str
    type: str
    """In words."""
    required: bool
    default: Any
    """As a person would type it; null without one."""
    help: str
    json_schema: dict[str, Any]


class TaskLine(Struct, frozen=True):
    """A task that this process knows. `broken` says why it cannot be enqueued."""

    name: str
    queue: str = ""
    summary: str = ""
    splits: bool = False
    broken: str = ""


class Tasks(Struct, frozen=True):
    """The tasks that this process knows, by name."""

    tasks: list[TaskLine]
    next: str


class Task(Struct, frozen=True):
    """One task. `order` are the parameters with `split`, `parameters` those without."""

    name: str
    queue: str
    summary: str
    documentation: str
    splits: bool
    parameters: list[Parameter]
    order: list[Parameter]


class PreviewAnswer(Struct, frozen=True):
    """What would be put, as it would be typed elsewhere; or, if `ok` is false, what does not fit."""

    ok: bool
    command: str = ""
    """For a shell; empty if the command line has nothing like it."""
    python: str = ""
    partial: str = ""
    """If something does not fit, the command with what does, and `…` for the rest."""
    errors: dict[str, str] = {}
    """What is wrong with single arguments, by name; the empty name means all of them together, or an option."""


@endpoint("GET", "/tasks", "look", Tasks, query=RowsQuery, rows="tasks")
def list_tasks(request: ApiRequest) -> Tasks:
    """List tasks."""
    last, count = decode_cursor(request.query.cursor), request.query.count
    names = [name for name in known_tasks.registry().names() if name > last]
    more = encode_cursor(names[count - 1]) if len(names) > count else ""
    return Tasks([line_of(name) for name in names[:count]], more)


@endpoint("GET", "/tasks/{name}", "look", Task)
def show_task(request: ApiRequest) -> Task:
    """Show what a task takes."""
    task = known_tasks.task_named(request.parts["name"])
    return Task(
        name=task.name,
        queue=task.put.queue,
        summary=task.summary,
        documentation=inspect.getdoc(task.function) or "",
        splits=task.split is not None,
        parameters=_parameters(known_tasks.one_job_of(task)),
        order=_parameters(task),
    )


@endpoint("POST", "/tasks/{name}/preview", "act", PreviewAnswer, body=Preview, typed=True)
def preview_task(request: ApiRequest) -> PreviewAnswer:
    """Check arguments without enqueuing."""
    name, partial = request.parts["name"], ""
    known_tasks.task_named(name)
    try:
        given = requests.request_of(name, request.body)
        task = requests.task_of(given)
        arguments, errors = requests.sort(task, given.arguments)
        partial = requests.command(task, arguments, given, errors)
        if errors:
            return PreviewAnswer(ok=False, partial=partial, errors=errors)
        requests.check(task, arguments)
    except (BadCall, BadInput, TooLarge) as error:
        return PreviewAnswer(ok=False, partial=partial, errors={"": sentences(str(error), error.hint)})
    return PreviewAnswer(ok=True, command=partial, python=requests.python(task, arguments, given))


def line_of(name: str) -> TaskLine:
    """Return a task in a list, also one that cannot be imported."""
    try:
        task = known_tasks.task_named(name)
    except ConveyorError as error:
        return TaskLine(name, broken=sentences(str(error), error.hint))
    return TaskLine(task.name, task.put.queue, task.summary, task.split is not None)


def _parameters(task: tasks.Task[..., Any]) -> list[Parameter]:
    return [
        Parameter(
            name=one.name,
            type=one.type_text,
            required=one.required,
            default=None if one.required else one.default_text,
            help=one.words,
            json_schema=requests.schema_of(one),
        )
        for one in parameters_of(task)
    ]
