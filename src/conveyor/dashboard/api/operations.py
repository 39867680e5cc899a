"""Endpoints about operations over many jobs. They are worked on by a thread of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.api import answers, inputs
from conveyor.dashboard.api.cursors import cursor_of, place_after
from conveyor.dashboard.api.endpoint import Endpoint
from conveyor.monitor import operations as questions
from conveyor.monitor.bulk import MOST_QUEUES
from conveyor.wire.audit_entry import Matching
from conveyor.wire.audit_entry import Operation as Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.api.endpoint import Asked

_WORDS = {
    "retry": "Retrying dead jobs of {}",
    "discard": "Discarding dead jobs of {}",
    "cancel": "Cancelling jobs of {}",
    "purge": "Emptying {}",
}


def begin(asked: Asked, kind: str, queues: Sequence[str], matching: inputs.Matching) -> answers.Begun:
    """Begin an operation and hand it to the thread."""
    narrowed = Matching(matching.task, matching.ids, matching.group)
    begun = asked.actions.begin(kind, queues, narrowed, asked.body.reason)
    _work_on(asked, begun)
    where = queues[0] if len(queues) == 1 else f"{len(queues):,} queues"
    message = f"{_WORDS[kind].format(where)}: {begun.total:,} to check"
    return answers.Begun(begun.id, begun.total, message, "/operations")


def _begin(asked: Asked) -> answers.Begun:
    body = asked.body
    named = list(dict.fromkeys((*([body.queue] if body.queue else ()), *body.queues)))
    for queue in named:
        asked.desk.check_begun(queue)
    return begin(asked, body.kind, named or _everywhere(asked), body.matching)


def _everywhere(asked: Asked) -> list[str]:
    """Return the queues that have dead jobs, those with the most first, for an operation that names none."""
    matching = asked.body.matching
    if asked.body.kind not in {"retry", "discard"} or not (matching.group or matching.task):
        detail = "An operation that names no queue retries or discards a group, or the jobs of a task."
        raise refused(422, "bad-body", detail, "Name a queue.")
    dead = {name: count.dead for name, count in asked.desk.poller.poll().queues.items() if count.dead}
    ranked = sorted(dead, key=lambda name: (-dead[name], name))
    if not ranked:
        raise refused(409, "wrong-state", "No job is dead.")
    return ranked[:MOST_QUEUES]


def _work_on(asked: Asked, begun: Kept) -> None:
    if not asked.desk.operations.add(begun):
        hint = "Resume it when the others are done; it shows as stalled until then."
        raise refused(503, "operations-full", "Too many operations wait for their turn here.", hint)


def _known(asked: Asked) -> Kept:
    found = asked.desk.ask(questions.operations([asked.parts["id"][:100]]))
    if not found:
        raise refused(
            404, "unknown-operation", "There is no such operation.", "They are forgotten after 7 days."
        )
    operation: Kept = found[0]
    return operation


def _list(asked: Asked) -> answers.Operations:
    first, count = place_after(asked.query.cursor), asked.query.count
    names = asked.desk.ask(questions.names(first, count))
    found = asked.desk.ask(questions.operations(names))
    wanted = asked.query.queue
    rows = [answers.made(answers.Operation, one) for one in found if wanted in {"", *one.on}]
    return answers.Operations(rows, cursor_of(str(first + count)) if len(names) == count else "")


def _one(asked: Asked) -> answers.Operation:
    return answers.made(answers.Operation, _known(asked))


def _stop(asked: Asked) -> answers.Done:
    found = _known(asked)
    told = asked.actions.stop_operation(found.id, asked.body.reason)
    message = f"It stops after the jobs it is at; {told.done:,} are done"
    return answers.Done(message if told.state == "running" else f"It is {told.state}", state=told.state)


def _resume(asked: Asked) -> answers.Done:
    found = _known(asked)
    if found.state in {"running", "done"}:
        raise refused(409, "wrong-state", f"The operation is {found.state}.")
    taken = asked.actions.take_up(found.id, asked.body.reason)
    _work_on(asked, taken)
    return answers.Done("It goes on where it was", state=taken.state)


_ONE = "/operations/{id}"
ENDPOINTS = (
    Endpoint(
        *("GET", "/operations", "List operations over many jobs", "look", _list, answers.Operations),
        inputs.QueueRows,
        rows="operations",
    ),
    Endpoint(
        *("POST", "/operations", "Retry, discard or cancel many jobs", "purge", _begin, answers.Begun),
        body=inputs.Begin,
        status=202,
    ),
    Endpoint("GET", _ONE, "Show how far an operation is", "look", _one, answers.Operation),
    Endpoint("POST", f"{_ONE}/stop", "Stop an operation", "purge", _stop, answers.Done, body=inputs.Why),
    Endpoint(
        *("POST", f"{_ONE}/resume", "Go on with an operation", "purge", _resume, answers.Done),
        body=inputs.Why,
    ),
)
