"""From what somebody filled in to jobs: arguments by the task's type hints, and the same as a command line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.dashboard import known_tasks
from conveyor.dashboard.api.inputs import Options
from conveyor.dashboard.api.problems import Faults
from conveyor.errors import BadCall, BadInput, ConveyorError
from conveyor.monitor.typed_input import as_words, convert_value, parameters_of
from conveyor.wire.redaction import MORE, redacted
from conveyor.wire.signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from conveyor.dashboard.api.inputs import Enqueue, Preview
    from conveyor.monitor.typed_input import Parameter
    from conveyor.tasks import Task

#: Jobs that one request puts at most, after splitting.
MOST_PUT = 10_000


def options(asked: Enqueue | Preview) -> Options:
    """Give the options of an order; raises Faults for those out of bounds."""
    faults, found = [], {}
    for one in msgspec.structs.fields(Options):
        try:
            found[one.name] = msgspec.convert(getattr(asked, one.name), one.type, strict=False)
        except msgspec.ValidationError as error:
            faults.append(f"{one.name}: {error}")
    if faults:
        raise Faults(", ".join(faults), {"": ", ".join(faults)})
    return Options(**found)


def task_for(name: str, asked: Enqueue | Preview, chosen: Options) -> Task[..., Any]:
    """Give the task, with the options asked for; without its split unless that is asked for."""
    task = known_tasks.task_named(name)
    if not asked.split:
        task = known_tasks.one_job_of(task)
    changes = _given(chosen)
    return task.options(**changes) if changes else task


def read(task: Task[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments; raises Faults that say what is wrong with which."""
    arguments, faults = sort(task, given)
    if faults:
        raise faults_of(task, faults)
    return arguments


def faults_of(task: Task[..., Any], faults: Mapping[str, str]) -> Faults:
    """Give the error that says what is wrong with which."""
    return Faults(f"{task.name}: {', '.join(faults)} cannot be so", faults)


def sort(task: Task[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the arguments that fit, and what is wrong with the others, by name."""
    parameters = {one.name: one for one in parameters_of(task)}
    faults = {name: "there is no such parameter" for name in given if name not in parameters}
    faults |= {
        one.name: f"is missing, it takes {one.type_text}"
        for one in parameters.values()
        if one.required and one.name not in given
    }
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if name not in parameters:
            continue
        try:
            arguments[name] = convert_value(task, parameters[name], value)
        except (BadCall, BadInput) as error:
            faults[name] = str(error).removeprefix(f"{task.name}: ")
    return arguments, faults


def check(task: Task[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that cannot travel, or that the task itself refuses; raises BadCall, BadInput or TooLarge."""
    signature_of(task.order_function).encode((), dict(arguments))
    refuse = task.check
    if refuse is not None and task.split is None:
        _own(task, refuse, arguments)


def parts_of(task: Task[..., Any], arguments: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Give the arguments of each job; raises BadInput where the task refuses the order, BadCall for too many jobs."""
    parts = _own(task, task.split, arguments) if task.split is not None else [dict(arguments)]
    if len(parts) * count > MOST_PUT:
        message = f"{len(parts) * count:,} jobs: one request puts {MOST_PUT:,} at most"
        raise BadCall(message, hint="conveyor produce has no such bound")
    return list(parts) * count


def _own(task: Task[..., Any], do: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function of the task's author; whatever it raises is an answer, no fault of this process."""
    try:
        return do(**arguments)
    except ConveyorError:
        raise
    except Exception as error:
        message = f"{task.name} cannot check this: {type(error).__name__}: {error}"
        raise BadInput(message[:500]) from error


def command(
    task: Task[..., Any], arguments: Mapping[str, Any], chosen: Options, missing: Collection[str] = ()
) -> str:
    """Give the line for a shell that puts the same; empty where the command line would split it.

    Secrets are hidden. For arguments that are `missing` there stands a sign.
    """
    own = known_tasks.task_named(task.name)
    if own.split is not None and task.split is None:
        return ""
    parameters = parameters_of(task)
    words = ["conveyor", "produce", task.name, *as_words(_shown(task, arguments), parameters)]
    rest: list[str] = []
    repeated = {"count": chosen.count} if chosen.count != 1 else {}
    for option, value in {**_given(chosen), **repeated}.items():
        rest += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    for module in known_tasks.modules():
        rest += ["--tasks", module]
    signs = [f"{one.name}={MORE}" for one in parameters if one.name in missing]
    return " ".join(filter(None, (shlex.join(words), *signs, shlex.join(rest))))


def python(task: Task[..., Any], arguments: Mapping[str, Any], chosen: Options) -> str:
    """Give the same as Python. Secrets are hidden."""
    name = task.function.__name__
    shown = _shown(task, arguments)
    changes = ", ".join(f"{option}={value!r}" for option, value in _given(chosen).items())
    call = f"{name}.options({changes})" if changes else name
    line = f"{call}.submit({', '.join(f'{one}={value!r}' for one, value in shown.items())})"
    start = f"from {task.function.__module__} import {name}\n"
    if task.split is not None:
        start, line = f"from conveyor.order import Order\n{start}", f"Order.place({call}, {shown!r})"
    return start + (f"for _ in range({chosen.count}):\n    {line}" if chosen.count > 1 else line)


def _given(chosen: Options) -> dict[str, Any]:
    """Give the options that change the task's own."""
    given = {"queue": chosen.queue or None, "priority": chosen.priority, "delay": chosen.delay}
    return {option: value for option, value in given.items() if value is not None}


def schema_of(parameter: Parameter) -> dict[str, Any]:
    """Give the JSON Schema of a parameter; only words where its type has none."""
    try:
        return msgspec.json.schema(parameter.hint)
    except (TypeError, ValueError, RecursionError):
        return {"description": parameter.type_text}


def _shown(task: Task[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return dict(redacted(dict(arguments), signature_of(task).labels(task.redact)))
