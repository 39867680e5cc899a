"""Enqueuing jobs by hand: a form with a control for each type hint of a task, and the equivalent command line."""

from __future__ import annotations

import datetime as dt
import enum
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from conveyor.dashboard import known_tasks
from conveyor.dashboard.api.tasks import line_of
from conveyor.dashboard.page import Page
from conveyor.dashboard.rendering import sentences
from conveyor.errors import BadCall, ConveyorError, JobCancelled
from conveyor.monitor.job_data import read_call
from conveyor.monitor.typed_input import as_words, item_of, parameters_of
from conveyor.store import commands
from conveyor.store.query import Query, known
from conveyor.wire import ids
from conveyor.wire.redaction import MASK, redacted_arguments
from conveyor.wire.signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.dashboard.api.tasks import TaskLine
    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.monitor.typed_input import Parameter
    from conveyor.tasks import Task
    from conveyor.wire.call import Call


#: An argument whose name its producer did not know.
RESULT = "result of another job"
#: Characters of a default from which on a field has several lines.
LONG = 60
_MOMENTS = {dt.date: "date", dt.time: "time", dt.datetime: "datetime-local"}


class Field(NamedTuple):
    """One field of the form."""

    name: str
    kind: str
    """number, checkbox, select, lines, long, date, time, datetime-local, secret or text."""
    takes: str
    """In words."""
    help: str
    required: bool
    default: str
    """As it would be typed; what is left so is not sent."""
    value: str
    """What the job that is taken as a model has; the default without one."""
    step: str
    """Of numbers: 1, or any; of times: 1, a second."""
    choices: tuple[str, ...]

    @property
    def lines(self) -> str:
        """The value of a list, one item a line."""
        return in_lines(self.value) or ""

    @property
    def default_lines(self) -> str:
        """The default likewise."""
        return in_lines(self.default) or ""


def field_of(one: Parameter, typed: Mapping[str, str]) -> Field:
    """Return the field of a parameter; `typed` are initial values, by name."""
    otherwise = "" if one.hidden else one.default_text  # a secret that is left empty is not sent
    value = typed.get(one.name, otherwise)
    kind, step, choices = ("secret", "", ()) if one.hidden else _kind(one, value)
    return Field(
        name=one.name,
        kind=kind,
        takes=one.type_text,
        help=one.words,
        required=one.required,
        default=otherwise,
        value=value,
        step=step,
        choices=choices,
    )


def in_lines(value: str) -> str | None:
    """Return a list in JSON with one item a line, or None if it is not a list, or an item has several lines."""
    if not value:
        return ""
    try:
        items = msgspec.json.decode(value, type=list[str | int | float])
    except msgspec.MsgspecError:
        return None
    lines = list(map(str, items))
    return "\n".join(lines) if all(line.strip() and len(line.splitlines()) == 1 for line in lines) else None


def _kind(one: Parameter, value: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the kind of field for a type, the step of its numbers, and its choices."""
    hint = _plain(one.hint)
    if hint is bool and hint is one.hint:
        return "checkbox", "", ()
    if hint in {int, float}:
        return "number", "1" if hint is int else "any", ()
    choices = _choices(hint)
    if choices:
        nothing = ("null",) if hint is not one.hint and one.default_text else ()
        return "select", "", choices + nothing
    if hint in _MOMENTS and getattr(one.default, "tzinfo", None) is None and "+" not in value:
        return _MOMENTS[hint], "" if hint is dt.date else "1", ()
    if item_of(hint) in {str, int, float} and in_lines(value) is not None:
        return "lines", "", ()
    is_long = hint is not str and not (isinstance(hint, type) and issubclass(hint, str))
    return "long" if is_long or len(one.default_text) > LONG else "text", "", ()


def _choices(hint: Any) -> tuple[str, ...]:
    if hint is bool:
        return ("yes", "no")
    if typing.get_origin(hint) is Literal:
        return tuple("null" if one is None else str(one) for one in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(str(member.value) for member in hint)
    return ()


def _plain(hint: Any) -> Any:
    """Return the type itself, of one that may also be None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


#: Queues that are searched for a job that is named without its queue, and that are suggested.
MAX_OFFERED = 100
#: Tasks that can be chosen.
MAX_TASKS = 500


class Form(NamedTuple):
    """The form of a task."""

    task: TaskLine
    split: bool
    """True if one order is split into several jobs, as `conveyor produce` does."""
    fields: list[Field]
    left_out: list[str]
    """Parameters whose values in the model are secret, results of other jobs, or cannot be typed."""


class EnqueueView(NamedTuple):
    """What the page shows."""

    tasks: list[str]
    form: Form | None
    queues: list[str]
    model: str
    """The job that the values are taken from, or ""."""
    queue: str
    """The queue to put on, unless it is the task's own."""
    trouble: str


def _question(request: PageRequest, snapshot: Snapshot) -> Query[Call | None]:
    """Query the call of the job that is the model: in its queue or, without one, in the first that has it."""
    job, queue = request.filters.get("from", ""), request.filters.get("queue", "")
    try:
        ids.checked_id(job)
        queues = [ids.checked_queue(queue)] if queue else sorted(snapshot.queues)[:MAX_OFFERED]
    except BadCall:
        return known(None)

    def read(replies: Sequence[Any]) -> Call | None:
        calls = (read_call(state.data) for state in replies)
        return next((call for call in calls if call is not None and call.task), None)

    return Query(tuple(commands.state(queue, job) for queue in queues), read)


def _view(request: PageRequest, snapshot: Snapshot, model: Call | None) -> EnqueueView:
    tasks: list[str] = []
    form, trouble = None, ""
    wanted = request.filters.get("task", "") or (model.task if model else "")
    if request.filters.get("from") and model is None:
        trouble = "The arguments of that job are no longer known."
    try:
        tasks = known_tasks.registry().names()[:MAX_TASKS]
        if wanted:
            form = _form(wanted, model, split=request.filters.get("split", "") != "0" and model is None)
    except ConveyorError as error:
        trouble = sentences(str(error), error.hint)
    fits = model is not None and form is not None and form.task.name == model.task
    return EnqueueView(
        tasks=tasks,
        form=form,
        queues=sorted(snapshot.queues)[:MAX_OFFERED],
        model=request.filters.get("from", "") if fits else "",
        queue=_queue(request, form),
        trouble=trouble,
    )


def _queue(request: PageRequest, form: Form | None) -> str:
    """Return the queue that was named if it is valid and not the task's own, or ""."""
    queue = request.filters.get("queue", "")
    return queue if ids.is_queue_name(queue) and not (form is not None and queue == form.task.queue) else ""


def _form(name: str, model: Call | None, *, split: bool) -> Form:
    own = known_tasks.task_named(name)
    split = split and own.split is not None
    task = own if split else known_tasks.one_job_of(own)
    parameters = parameters_of(task)
    typed: Mapping[str, str] = {}
    left_out: list[str] = []
    if model is not None and model.task == name:
        typed, left_out = _typed(task, model, parameters)
    return Form(line_of(name), split, [field_of(one, typed) for one in parameters], left_out)


def _typed(task: Task[..., Any], call: Call, parameters: list[Parameter]) -> tuple[dict[str, str], list[str]]:
    """Return a job's arguments as a person would type them, and the names of those that cannot be shown.

    With the name of one that is the result of another job comes which job that is.
    """
    signature = signature_of(task.function)
    elsewhere = JobCancelled()  # this fits any type
    inputs = dict.fromkeys((place for place, _, _ in call.inputs), elsewhere)
    try:
        args, kwargs = signature.decode(call.args, call.kwargs, inputs=inputs)
    except (ConveyorError, msgspec.MsgspecError, ValueError, IndexError):
        return {}, [one.name for one in parameters]
    given = dict(zip(signature.names, args, strict=False)) | kwargs
    shown = dict(redacted_arguments(call, signature.labels(task.redact)))
    typed, left_out = {}, []
    for one in parameters:
        if one.name not in given:
            continue
        value = given[one.name]
        if value is elsewhere:
            left_out.append(f"{one.name} ({shown.get(one.name, RESULT)})")
        elif one.hidden or MASK in str(shown.get(one.name, MASK)):
            left_out.append(one.name)
        else:
            typed[one.name] = "".join(as_words({one.name: value}, [])).partition("=")[2]
    return typed, left_out


ENQUEUE = Page("enqueue", "/enqueue", "Enqueue", _view, _question, right="act", menu="Enqueue", key="e")
