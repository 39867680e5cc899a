"""Endpoints about consumers and their workers, and about what these are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.api import answers, inputs
from conveyor.dashboard.api.cursors import after, cursor_of
from conveyor.dashboard.api.endpoint import Endpoint
from conveyor.monitor import workers as questions
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from conveyor.dashboard.access.rights import Right
    from conveyor.dashboard.api.endpoint import Asked
    from conveyor.wire import control_messages
    from conveyor.wire.control_messages import ConsumerReport

#: Rights that a verb needs in addition to `act`; a stack shows where the code is.
_RIGHTS: dict[str, tuple[Right, ...]] = {"kill": ("kill",), "stack": ("inspect",)}


def _list(asked: Asked) -> answers.Workers:
    last, count = after(asked.query.cursor), asked.query.count
    reports = [one for one in asked.desk.snapshot().consumers if asked.queue in {"", *one.queues}]
    places = [place for place in questions.places(reports) if place.key > last]
    crews: dict[str, ConsumerReport] = {}
    for place in places[:count]:
        crew = crews.get(place.report.name) or msgspec.structs.replace(place.report, workers=[])
        workers = [] if place.worker is None else [place.worker]
        crews[crew.name] = msgspec.structs.replace(crew, workers=[*crew.workers, *workers])
    more = cursor_of(places[count - 1].key) if len(places) > count else ""
    return answers.Workers([_seen(crew) for crew in crews.values()], more)


def _seen(report: ConsumerReport) -> ConsumerReport:
    """Give a report without secrets."""
    workers = [
        msgspec.structs.replace(one, message=redacted_text(one.message), busy=one.is_busy)
        for one in report.workers
    ]
    return msgspec.structs.replace(report, workers=workers)


def _tell(asked: Asked) -> answers.Order:
    verb, targets = asked.body.verb, list(dict.fromkeys(asked.body.targets))
    for right in _RIGHTS.get(verb, ()):
        asked.allowed(right)
    reports = asked.desk.snapshot().consumers
    if not all(questions.find(reports, name) for name in targets):
        reports = asked.desk.poller.poll().consumers
    unknown = [name for name in targets if questions.find(reports, name) is None]
    if unknown:
        hint = "They may have left; the list of workers is at most 20 seconds old."
        detail = f"There is no worker or consumer {', '.join(unknown)!r:.300}."
        raise refused(404, "unknown-worker", detail, hint)
    told = asked.actions.tell_workers(verb, targets, asked.body.reason, jobs=asked.body.jobs)
    return answers.Order(told.id, list(told.targets), told.recorded)


def _order(asked: Asked) -> answers.Answers:
    """Return the workers' replies; a detail, such as a stack, needs the right to inspect."""
    order = asked.parts["id"]
    if not (order.isascii() and order.isalnum() and len(order) <= 64):  # noqa: PLR2004 - as long as an id may be
        raise refused(404, "unknown-order", "That is no id of an order.")
    told: list[control_messages.Answer] = asked.desk.ask(questions.answers(order))
    shown = asked.may("inspect")
    latest: dict[str, control_messages.Answer] = {}
    for one in told:
        latest[one.target] = one if shown else msgspec.structs.replace(one, detail="")
    return answers.Answers(list(latest.values()), not shown)


ENDPOINTS = (
    Endpoint(
        *("GET", "/workers", "List consumers and their workers", "look", _list, answers.Workers),
        inputs.QueueRows,
        rows="consumers",
    ),
    Endpoint(
        *("POST", "/workers/tell", "Stop, kill, pause or resume workers, or ask for stacks", "act", _tell),
        answers.Order,
        body=inputs.Tell,
        status=202,
    ),
    Endpoint(
        "GET", "/orders/{id}", "Give what workers answered to an order", "look", _order, answers.Answers
    ),
)
