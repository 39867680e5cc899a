"""Endpoints about the tasks that this process knows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from conveyor.dashboard import known_tasks
from conveyor.dashboard.api import inputs, job_answers, ordering
from conveyor.dashboard.api.cursors import after, cursor_of
from conveyor.dashboard.api.endpoint import Endpoint
from conveyor.dashboard.api.problems import Faults
from conveyor.dashboard.rendering import sentences
from conveyor.errors import BadCall, BadInput, ConveyorError, TooLarge
from conveyor.monitor.typed_input import parameters_of

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import Asked
    from conveyor.tasks import Task


def line_of(name: str) -> job_answers.TaskLine:
    """Give a task in a list, one that cannot be imported too."""
    try:
        task = known_tasks.task_named(name)
    except ConveyorError as error:
        return job_answers.TaskLine(name, broken=sentences(str(error), error.hint))
    return job_answers.TaskLine(task.name, task.put.queue, task.summary, task.split is not None)


def _list(asked: Asked) -> job_answers.Tasks:
    last, count = after(asked.query.cursor), asked.query.count
    names = [name for name in known_tasks.registry().names() if name > last]
    more = cursor_of(names[count - 1]) if len(names) > count else ""
    return job_answers.Tasks([line_of(name) for name in names[:count]], more)


def _one(asked: Asked) -> job_answers.Task:
    task = known_tasks.task_named(asked.parts["name"])
    return job_answers.Task(
        name=task.name,
        queue=task.put.queue,
        summary=task.summary,
        documentation=inspect.getdoc(task.function) or "",
        splits=task.split is not None,
        parameters=_parameters(known_tasks.one_job_of(task)),
        order=_parameters(task),
    )


def _parameters(task: Task[..., Any]) -> list[job_answers.Parameter]:
    return [
        job_answers.Parameter(
            name=one.name,
            type=one.type_text,
            required=one.required,
            default=None if one.required else one.default_text,
            help=one.words,
            json_schema=ordering.schema_of(one),
        )
        for one in parameters_of(task)
    ]


def _preview(asked: Asked) -> job_answers.PreviewAnswer:
    name = asked.parts["name"]
    known_tasks.task_named(name)
    partial = ""
    try:
        options = ordering.options(asked.body)
        task = ordering.task_for(name, asked.body, options)
        arguments, faults = ordering.sort(task, asked.body.arguments)
        partial = ordering.command(task, arguments, options, faults)
        if faults:
            raise ordering.faults_of(task, faults)
        ordering.check(task, arguments)
    except Faults as error:
        return job_answers.PreviewAnswer(ok=False, partial=partial, errors=error.by_name)
    except (BadCall, BadInput, TooLarge) as error:
        told = {"": sentences(str(error), error.hint)}
        return job_answers.PreviewAnswer(ok=False, partial=partial, errors=told)
    command, python = (write(task, arguments, options) for write in (ordering.command, ordering.python))
    return job_answers.PreviewAnswer(ok=True, command=command, python=python)


ENDPOINTS = (
    Endpoint("GET", "/tasks", "List tasks", "look", _list, job_answers.Tasks, inputs.RowsQuery, rows="tasks"),
    Endpoint("GET", "/tasks/{name}", "Show what a task takes", "look", _one, job_answers.Task),
    Endpoint(
        *("POST", "/tasks/{name}/preview", "Check arguments, put nothing", "act", _preview),
        job_answers.PreviewAnswer,
        body=inputs.Preview,
        typed=True,
    ),
)
