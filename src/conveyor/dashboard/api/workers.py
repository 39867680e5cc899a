"""Endpoints about consumers and their workers, and about control commands to them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import JobId, Order, QueueRows, Short, Why
from conveyor.monitor import follow, workers
from conveyor.monitor.actions import VERBS  # noqa: TC001 - msgspec reads the annotations
from conveyor.monitor.job_list import decode_cursor, encode_cursor
from conveyor.wire.control_messages import Acknowledgement as WorkerAnswer  # noqa: TC001 - msgspec reads the annotations
from conveyor.wire.control_messages import ConsumerReport  # noqa: TC001 - msgspec reads the annotations
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.dashboard.access.rights import Right
    from conveyor.dashboard.api.endpoint import ApiRequest
    from conveyor.wire.control_messages import WorkerReport

#: Rights that a verb needs in addition to `act`; a stack shows where the code is.
_RIGHTS: dict[str, Right] = {"kill": "kill", "stack": "inspect"}


class Workers(Struct, frozen=True):
    """Consumers that reported in the last 20 seconds, by host and name.

    `count` counts workers. A consumer whose workers are on several pages is on each, with those of that page.
    """

    consumers: list[ConsumerReport]
    next: str


class Tell(Why, frozen=True, kw_only=True):
    """A control command to workers (`host-ab12/3`) or whole consumers (`host-ab12`)."""

    verb: Literal[VERBS]  # type: ignore[valid-type]
    targets: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(min_length=1, max_length=500)
    ]
    jobs: Annotated[dict[Short, JobId], Meta(max_length=500)] = {}  # noqa: RUF012 - msgspec copies it
    """The job that a worker was seen at: kill and stack do nothing if it runs another by then."""
    scale: Short = ""
    """For scale, of whole consumers: a number of workers (`8`), a change of it (`+2`, `-1`), or `auto`: as many as are
    needed, between the limits that the consumer was started with."""


class Answers(Struct, frozen=True):
    """The latest acknowledgement of each worker that sent one, in the last minute."""

    answers: list[WorkerAnswer]
    hidden: bool


@endpoint("GET", "/workers", "look", Workers, query=QueueRows, rows="consumers")
def list_workers(request: ApiRequest) -> Workers:
    """List consumers and their workers."""
    last, count = decode_cursor(request.query.cursor), request.query.count
    reports = request.context.snapshot().consumers
    reports = [one for one in reports if request.queue in {"", *one.queues}]
    places = [place for place in workers.positions(reports) if place.key > last]
    consumers = []
    for _, group in itertools.groupby(places[:count], key=lambda place: place.report.name):
        some = list(group)
        shown = [_redacted(one.worker) for one in some if one.worker is not None]
        consumers.append(msgspec.structs.replace(some[0].report, workers=shown))
    more = encode_cursor(places[count - 1].key) if len(places) > count else ""
    return Workers(consumers, more)


@endpoint("POST", "/workers/tell", "act", Order, body=Tell, status=202)
def command_workers(request: ApiRequest) -> Order:
    """Stop, kill, pause or resume workers, request stacks, or scale consumers."""
    verb, targets = request.body.verb, list(dict.fromkeys(request.body.targets))
    request.allowed(_RIGHTS.get(verb, "act"))
    reports = request.context.snapshot().consumers
    if not all(workers.find(reports, name) for name in targets):
        reports = request.context.poller.poll_snapshot().consumers
    unknown = [name for name in targets if workers.find(reports, name) is None]
    if unknown:
        hint = "list the workers again; some may have left since"
        detail = f"Unknown worker or consumer {', '.join(unknown)!r:.300}."
        raise Problem(404, "unknown-worker", detail, hint)
    reason, jobs, scale = request.body.reason, request.body.jobs, request.body.scale
    order = request.actions.control_workers(verb, targets, reason, jobs=jobs, scale=scale)
    return Order(order.id, list(order.targets), order.recorded)


@endpoint("GET", "/orders/{id}", "look", Answers)
def show_order(request: ApiRequest) -> Answers:
    """Show how workers acknowledged a control command.

    A detail, such as a stack, needs the right to inspect.
    """
    order = request.parts["id"]
    if not (order.isascii() and order.isalnum() and len(order) <= 64):  # noqa: PLR2004 - as long as an id may be
        raise Problem(404, "unknown-order", "Invalid id of an order.")
    shown = request.may("inspect")
    latest: dict[str, WorkerAnswer] = {}
    for one in request.context.ask(follow.acknowledgements(order)):
        latest[one.target] = one if shown else msgspec.structs.replace(one, detail="")
    return Answers(list(latest.values()), not shown)


def _redacted(worker: WorkerReport) -> WorkerReport:
    return msgspec.structs.replace(worker, message=redacted_text(worker.message), busy=worker.is_busy)
