"""The endpoint that enqueues jobs: arguments by the task's type hints, and the same as a command line."""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from conveyor.dashboard import known_tasks
from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.api.endpoint import Reply, endpoint
from conveyor.dashboard.api.models import JobId, MaybeQueue, Short, Why
from conveyor.dashboard.api.problems import PartlyPut, ValidationErrors
from conveyor.errors import BadCall, BadInput, ConveyorError, DuplicateJob
from conveyor.monitor import job_record
from conveyor.monitor.typed_input import as_words, convert_value, parameters_of
from conveyor.queue import Queue
from conveyor.store import records
from conveyor.wire.audit_entry import AuditEntry, Facts
from conveyor.wire.call import MAX_PRIORITY
from conveyor.wire.redaction import MORE, redacted
from conveyor.wire.signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from conveyor.dashboard.api.endpoint import ApiRequest
    from conveyor.monitor.typed_input import Parameter
    from conveyor.tasks import Task


#: Jobs that one request puts at most, before and after splitting.
MAX_COUNT, MAX_PUT = 1000, 10_000

Text = Annotated[str, Meta(max_length=200_000)]
Times = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Priority = Annotated[int, Meta(ge=0, le=MAX_PRIORITY)]
Delay = Annotated[float, Meta(ge=0, le=366 * 86400.0)]
Expiry = Annotated[float, Meta(gt=0, le=366 * 86400.0)]


class Preview(Struct, frozen=True, forbid_unknown_fields=True):
    """An order that is being typed: the text of each argument that is given. Its bounds are checked later."""

    arguments: Annotated[dict[Short, Text], Meta(max_length=100)] = {}
    queue: Short = ""
    priority: float | None = None
    delay: float | None = None
    expires: float | None = None
    count: float = 1
    split: bool = False


class Enqueue(Why, frozen=True, kw_only=True):
    """Jobs to put: `count` times the same. A string for an argument of another type is parsed as if typed."""

    task: Annotated[str, Meta(min_length=1, max_length=200)]
    arguments: Annotated[dict[Short, Any], Meta(max_length=100)] = {}  # noqa: RUF012 - msgspec copies it
    queue: MaybeQueue = ""
    """Empty: the task's own."""
    priority: Priority | None = None
    delay: Delay | None = None
    """Seconds before it may run."""
    expires: Expiry | None = None
    """Seconds from then after which it is not started any more."""
    count: Times = 1
    id: JobId | None = None
    """The job's own id; 409 if it is known already."""
    split: bool = False
    """Split each into the jobs that `conveyor produce` would make of it; the arguments are those of the order."""


#: Fields of a Preview whose bounds are checked.
_OPTIONS = ("queue", "priority", "delay", "expires", "count")


def request_of(task: str, typed: Preview) -> Enqueue:
    """Return the request that is being typed. Raises BadCall for options out of bounds."""
    types = {one.name: one.type for one in msgspec.structs.fields(Enqueue)}
    errors, found = [], {}
    for name in _OPTIONS:
        try:
            found[name] = msgspec.convert(getattr(typed, name), types[name], strict=False)
        except msgspec.ValidationError as error:
            errors.append(f"{name}: {error}")
    if errors:
        raise BadCall(", ".join(errors))
    return Enqueue(task=task, arguments=typed.arguments, split=typed.split, **found)


def task_of(request: Enqueue) -> Task[..., Any]:
    """Return the task with the requested options, and without its split unless that is requested."""
    task = known_tasks.task_named(request.task)
    if not request.split:
        task = known_tasks.one_job_of(task)
    changes = _options(request)
    return task.options(**changes) if changes else task


def read(task: Task[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments. Raises ValidationErrors that say what is wrong with which."""
    arguments, errors = sort(task, given)
    if errors:
        raise ValidationErrors(f"{task.name}: {', '.join(errors)} cannot be so", errors)
    return arguments


def sort(task: Task[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arguments that fit, and what is wrong with the others, by name."""
    parameters = {one.name: one for one in parameters_of(task)}
    errors = {name: "there is no such parameter" for name in given if name not in parameters}
    errors |= {
        one.name: f"is missing, it takes {one.type_text}"
        for one in parameters.values()
        if one.required and one.name not in given
    }
    arguments: dict[str, Any] = {}
    for name in given.keys() & parameters.keys():
        try:
            arguments[name] = convert_value(task, parameters[name], given[name])
        except (BadCall, BadInput) as error:
            errors[name] = str(error).removeprefix(f"{task.name}: ")
    return {name: arguments[name] for name in given if name in arguments}, errors


def check(task: Task[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that cannot travel, or that the task itself refuses. Raises BadCall, BadInput or TooLarge."""
    signature_of(task.order_function).encode((), dict(arguments))
    refuse = task.check
    if refuse is not None and task.split is None:
        _call(task, refuse, arguments)


def parts_of(task: Task[..., Any], arguments: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the arguments of each job. Raises BadInput if the task refuses the order, BadCall for too many jobs."""
    parts = _call(task, task.split, arguments) if task.split is not None else [dict(arguments)]
    if len(parts) * count > MAX_PUT:
        message = f"{len(parts) * count:,} jobs: one request puts {MAX_PUT:,} at most"
        raise BadCall(message, hint="use `conveyor produce`, which has no such limit")
    return list(parts) * count


def _call(task: Task[..., Any], function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function of the task's author; an exception of it is a response, not a bug of this process."""
    try:
        return function(**arguments)
    except ConveyorError:
        raise
    except Exception as error:
        message = f"{task.name} cannot check this: {type(error).__name__}: {error}"
        raise BadInput(message[:500]) from error


def command(
    task: Task[..., Any], arguments: Mapping[str, Any], request: Enqueue, missing: Collection[str] = ()
) -> str:
    """Return the line for a shell that puts the same, or "" if the command line would split it.

    Secrets are hidden. An ellipsis stands for each of the `missing` arguments.
    """
    own = known_tasks.task_named(task.name)
    if own.split is not None and task.split is None:
        return ""
    parameters = parameters_of(task)
    words = ["conveyor", "produce", task.name, *as_words(_shown(task, arguments), parameters)]
    rest: list[str] = []
    repeated = {"count": request.count} if request.count != 1 else {}
    for option, value in {**_options(request), **repeated}.items():
        rest += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    for module in known_tasks.modules():
        rest += ["--tasks", module]
    gaps = [f"{one.name}={MORE}" for one in parameters if one.name in missing]
    return " ".join(filter(None, (shlex.join(words), *gaps, shlex.join(rest))))


def python(task: Task[..., Any], arguments: Mapping[str, Any], request: Enqueue) -> str:
    """Return the same as Python. Secrets are hidden."""
    name = task.function.__name__
    shown = _shown(task, arguments)
    changes = ", ".join(f"{option}={value!r}" for option, value in _options(request).items())
    call = f"{name}.options({changes})" if changes else name
    line = f"{call}.submit({', '.join(f'{one}={value!r}' for one, value in shown.items())})"
    start = f"from {task.function.__module__} import {name}\n"
    if task.split is not None:
        start, line = f"from conveyor.order import Order\n{start}", f"Order.place({call}, {shown!r})"
    return start + (f"for _ in range({request.count}):\n    {line}" if request.count > 1 else line)


def schema_of(parameter: Parameter) -> dict[str, Any]:
    """Return the JSON Schema of a parameter, or only words if its type has none."""
    try:
        return msgspec.json.schema(parameter.hint)
    except (TypeError, ValueError, NameError, RecursionError):
        return {"description": parameter.type_text}


def _options(request: Enqueue) -> dict[str, Any]:
    """Return the options that change the task's own."""
    given = {
        "queue": request.queue or None,
        "priority": request.priority,
        "delay": request.delay,
        "expires": request.expires,
    }
    return {option: value for option, value in given.items() if value is not None}


def _shown(task: Task[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return dict(redacted(dict(arguments), signature_of(task).labels(task.redact)))


#: Seconds that a request waits for room in a queue, and jobs that are put in one go.
PATIENCE, SLICE = 2.0, 1000
#: Prefix of job ids that are made of a key.
KEYED = "key-"


class Put(Struct, frozen=True):
    """Jobs that were put."""

    jobs: list[str]
    queue: str
    message: str
    go: str
    """The page that shows it."""
    recorded: bool = True


@endpoint("POST", "/jobs", "act", Put, body=Enqueue, status=201, keyed=True)
def enqueue_jobs(request: ApiRequest) -> Put | Reply:
    """Enqueue jobs."""
    body = request.body
    task = task_of(body)
    queue = task.put.queue
    own_id = _own_id(request, request.allowed("act").who)
    arguments = read(task, body.arguments)
    check(task, arguments)
    parts = parts_of(task, arguments, body.count)
    if request.key:
        queue = _kept_queue(request, own_id, queue)
    if own_id:
        task = task.options(id=own_id, queue=queue)
    facts: Facts = {"task": task.name, "jobs": len(parts)}
    act = AuditEntry("enqueue", own_id or task.name, queue, body.reason, after=facts)
    actions = request.actions
    try:
        jobs = _put_all(request, task, parts)
    except PartlyPut as error:
        facts = {"task": task.name, "jobs": error.accepted, "wanted": len(parts)}
        actions.record(replace(act, after=facts, outcome=f"partly: {error}"))
        raise
    except DuplicateJob:
        if not request.key:
            raise
        return Reply(_put_before(request, task, queue, own_id), 200)
    except ConveyorError as error:
        actions.record(replace(act, outcome=f"refused: {error}"))
        raise
    recorded = actions.record(replace(act, outcome="done", target=jobs[0] if len(jobs) == 1 else task.name))
    return _put(jobs, queue, recorded=recorded)


def _own_id(request: ApiRequest, who: str) -> str:
    """Return the requested id of the job, or the one made of the key; "" for any."""
    body, key = request.body, request.key
    if key and body.id:
        raise Problem(422, "bad-key", "Give an id or an Idempotency-Key, not both.")
    if (key or body.id) and (body.count != 1 or body.split):
        raise Problem(422, "bad-key", "An id or an Idempotency-Key is for one job, without count and split.")
    return f"{KEYED}{hashlib.sha256(repr((who, key)).encode()).hexdigest()[:40]}" if key else body.id or ""


def _kept_queue(request: ApiRequest, own_id: str, queue: str) -> str:
    """Return the queue of the key's first request. Refuses a key that was used for another request.

    It is kept before the put: should the put be lost, the next request with the key puts the same job.
    """
    digest = hashlib.sha256(msgspec.json.encode(request.body, order="sorted")).hexdigest()
    command = records.keep_request(own_id.removeprefix(KEYED), f"{digest} {queue} {own_id}")
    kept = request.context.acting.run(command)
    first, queue, _ = kept.split(" ") if kept else (digest, queue, own_id)
    if first != digest:
        raise Problem(422, "key-reused", "The Idempotency-Key was used for another request.")
    return queue


def _put_all(request: ApiRequest, task: Task[..., Any], parts: list[dict[str, Any]]) -> list[str]:
    queue = Queue(task.put.queue, store=request.context.acting)
    hasty = task.options(wait=PATIENCE)
    jobs: list[str] = []
    try:
        for first in range(0, len(parts), SLICE):
            jobs += [one.id for one in queue.submit_parts(hasty, parts[first : first + SLICE])]
    except ConveyorError as error:
        jobs += error.ids
        if jobs:
            raise PartlyPut(queue.name, jobs, len(parts), error) from error
        raise
    return jobs


def _put_before(request: ApiRequest, task: Task[..., Any], queue: str, job: str) -> Put:
    """Respond as the first time; a key older than what is kept of it may have been for another task."""
    record = request.context.ask(job_record.record(queue, job))
    if record is not None and record.task not in {"", task.name}:
        raise Problem(422, "key-reused", "The Idempotency-Key was used for another task.")
    return _put([job], queue, recorded=True)


def _put(jobs: list[str], queue: str, *, recorded: bool) -> Put:
    one = len(jobs) == 1
    message = f"Job {jobs[0]} is on {queue}" if one else f"{len(jobs):,} jobs are on {queue}"
    go = f"/jobs/{jobs[0]}?queue={queue}" if one else f"/queues/{queue}"
    return Put(jobs, queue, message, go, recorded)
