"""Endpoints about operations over many jobs. A thread of this process runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import (
    Done,
    JobId,
    MaybeQueue,
    Queue,
    QueueRows,
    Short,
    Why,
    position_after,
    struct_from,
)
from conveyor.monitor import bulk
from conveyor.monitor.bulk import MAX_IDS, MAX_QUEUES
from conveyor.monitor.job_list import encode_cursor
from conveyor.wire import audit_entry
from conveyor.wire.audit_entry import KINDS  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.api.endpoint import ApiRequest

_MESSAGES = {
    "retry": "Retrying dead jobs of {}",
    "discard": "Discarding dead jobs of {}",
    "cancel": "Cancelling jobs of {}",
    "purge": "Emptying {}",
}


class Operation(Struct, frozen=True):
    """A piece of work over many jobs."""

    id: str
    kind: str
    queue: str
    """Empty if it is about several."""
    queues: list[str]
    """The queues, if they are several."""
    state: str
    """running, done, stopped, failed, or stalled."""
    total: int
    done: int
    skipped: int
    started: float
    changed: float
    reason: str
    who: str
    error: str


class Operations(Struct, frozen=True):
    """Operations, those that began last first."""

    operations: list[Operation]
    next: str


class Begun(Struct, frozen=True):
    """An operation that was begun."""

    operation: str
    total: int
    message: str
    go: str


class Matching(Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs are meant; what is empty does not narrow it."""

    task: Short = ""
    ids: Annotated[tuple[JobId, ...], Meta(max_length=MAX_IDS)] = ()
    group: Short = ""
    """A fingerprint of `failures`."""


class Begin(Why, frozen=True, kw_only=True):
    """An operation over many jobs. retry, discard: dead ones. cancel: waiting ones. purge: all waiting ones."""

    kind: Literal[KINDS]  # type: ignore[valid-type]
    queue: MaybeQueue = ""
    queues: Annotated[tuple[Queue, ...], Meta(max_length=MAX_QUEUES)] = ()
    """Several queues, to retry or discard dead jobs there. Without any, all that have dead jobs; then `matching` has a
    group or a task."""
    matching: Matching = Matching()


@endpoint("GET", "/operations", "look", Operations, query=QueueRows, rows="operations")
def list_operations(request: ApiRequest) -> Operations:
    """List operations over many jobs."""
    first, count = position_after(request.query.cursor), request.query.count
    names = request.context.ask(bulk.operation_names(first, count))
    found = request.context.ask(bulk.operations(names))
    rows = [struct_from(Operation, one) for one in found if request.query.queue in {"", *one.on}]
    return Operations(rows, encode_cursor(str(first + count)) if len(names) == count else "")


@endpoint("POST", "/operations", "purge", Begun, body=Begin, status=202)
def begin_operation(request: ApiRequest) -> Begun:
    """Retry, discard or cancel many jobs."""
    body = request.body
    named = list(dict.fromkeys((*([body.queue] if body.queue else ()), *body.queues)))
    for queue in named:
        request.context.check_begun(queue)
    return begin(request, body.kind, named or _with_dead_jobs(request), body.matching)


@endpoint("GET", "/operations/{id}", "look", Operation)
def show_operation(request: ApiRequest) -> Operation:
    """Show how far an operation is."""
    return struct_from(Operation, _find(request))


@endpoint("POST", "/operations/{id}/stop", "purge", Done, body=Why)
def stop_operation(request: ApiRequest) -> Done:
    """Stop an operation."""
    found = request.actions.stop_operation(_find(request).id, request.body.reason)
    message = f"The operation stops after its current jobs; {found.done:,} are done"
    return Done(message if found.state == "running" else f"The operation is {found.state}", state=found.state)


@endpoint("POST", "/operations/{id}/resume", "purge", Done, body=Why)
def resume_operation(request: ApiRequest) -> Done:
    """Resume an operation."""
    found = _find(request)
    if found.state in {"running", "done"}:
        raise Problem(409, "wrong-state", f"The operation is {found.state}.")
    resumed = request.actions.resume_operation(found.id, request.body.reason)
    _run(request, resumed)
    return Done("The operation is resumed", state=resumed.state)


def begin(request: ApiRequest, kind: str, queues: Sequence[str], matching: Matching) -> Begun:
    """Begin an operation and hand it to the thread."""
    narrowed = audit_entry.Matching(matching.task, matching.ids, matching.group)
    begun = request.actions.begin(kind, queues, narrowed, request.body.reason)
    _run(request, begun)
    where = queues[0] if len(queues) == 1 else f"{len(queues):,} queues"
    message = f"{_MESSAGES[kind].format(where)}: {begun.total:,} to check"
    return Begun(begun.id, begun.total, message, "/operations")


def _with_dead_jobs(request: ApiRequest) -> list[str]:
    """Return the queues that have dead jobs, those with the most first, for an operation that names none."""
    matching = request.body.matching
    if request.body.kind not in {"retry", "discard"} or not (matching.group or matching.task):
        detail = "An operation that names no queue retries or discards a group, or the jobs of a task."
        raise Problem(422, "bad-body", detail, "name a queue")
    queues = request.context.poller.poll_snapshot().queues
    dead = {name: count.dead for name, count in queues.items() if count.dead}
    if not dead:
        raise Problem(409, "wrong-state", "No job is dead.")
    return sorted(dead, key=lambda name: (-dead[name], name))[:MAX_QUEUES]


def _run(request: ApiRequest, operation: audit_entry.Operation) -> None:
    if not request.context.operations.add(operation):
        hint = "resume it when the others are done; it shows as stalled until then"
        raise Problem(503, "operations-full", "Too many operations wait for their turn here.", hint)


def _find(request: ApiRequest) -> audit_entry.Operation:
    found: list[audit_entry.Operation]
    found = request.context.ask(bulk.operations([request.parts["id"][:100]]))
    if not found:
        hint = "list the operations; each is forgotten after 7 days"
        raise Problem(404, "unknown-operation", "There is no such operation.", hint)
    return found[0]
