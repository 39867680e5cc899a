"""Endpoints about queues."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from conveyor.dashboard.api import answers, inputs
from conveyor.dashboard.api.cursors import after, cursor_of
from conveyor.dashboard.api.endpoint import Endpoint
from conveyor.dashboard.api.operations import begin
from conveyor.monitor import queues as questions
from conveyor.monitor.snapshot import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.dashboard.api.endpoint import Asked
    from conveyor.monitor.actions import Actions, QueueAnswer
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count


def _line(snapshot: Snapshot, name: str, count: Count) -> answers.QueueLine:
    rate = snapshot.rates.get(name, Rate())
    workers = snapshot.workers_of(name)
    return answers.made(
        answers.QueueLine,
        count,
        name=name,
        waiting=count.ready,
        qsize=count.waiting,
        running=count.leased,
        paused=bool(count.paused),
        shutdown=bool(count.shutdown),
        rate_in=round(rate.accepted, 3),
        rate_out=round(rate.ended, 3),
        workers=len(workers),
        busy=sum(worker.is_busy_on(name) for worker in workers),
    )


def _list(asked: Asked) -> answers.Queues:
    snapshot = asked.desk.snapshot()
    last, count = after(asked.query.cursor), asked.query.count
    names = [name for name in sorted(snapshot.queues) if name > last]
    page = names[:count]
    more = cursor_of(page[-1]) if len(names) > count else ""
    return answers.Queues([_line(snapshot, name, snapshot.queues[name]) for name in page], more)


def _one(asked: Asked) -> answers.QueueLine:
    return _line(asked.desk.snapshot_with(asked.queue), asked.queue, _count(asked))


def _count(asked: Asked) -> Count:
    """Count anew, so that whoever has just changed a queue sees it."""
    count: Count = asked.desk.ask(questions.counts([asked.queue]))[asked.queue]
    return count


def _scaling(asked: Asked) -> answers.Scaling:
    snapshot = asked.desk.snapshot_with(asked.queue)
    count = _count(asked)
    due = 0 if count.paused else math.ceil(count.ready / asked.query.jobs_per_worker)
    return answers.Scaling(
        count.leased + due, count.leased, count.ready, len(snapshot.workers_of(asked.queue))
    )


def _acting(message: str, do: Callable[[Actions, Asked], QueueAnswer]) -> Callable[[Asked], answers.Done]:
    def act(asked: Asked) -> answers.Done:
        asked.desk.check_begun(asked.queue)
        told = do(asked.actions, asked)
        message_text = message.format(queue=told.queue, after=told.after)
        return answers.Done(message_text, changed=told.changed, recorded=told.recorded)

    return act


_pause = _acting(
    "{queue} is paused", lambda actions, asked: actions.pause_queue(asked.queue, asked.body.reason)
)
_resume = _acting(
    "{queue} goes on", lambda actions, asked: actions.resume_queue(asked.queue, asked.body.reason)
)
_bound = _acting(
    "The bound of {queue} is {after.maxsize}",
    lambda actions, asked: actions.bound_queue(asked.queue, asked.body.maxsize, asked.body.reason),
)


def _purge(asked: Asked) -> answers.Begun:
    asked.desk.check_begun(asked.queue)
    return begin(asked, "purge", [asked.queue], inputs.Matching())


_ONE = "/queues/{queue}"
ENDPOINTS = (
    Endpoint("GET", "/queues", "List queues", "look", _list, answers.Queues, inputs.RowsQuery, rows="queues"),
    Endpoint("GET", _ONE, "Show a queue", "look", _one, answers.QueueLine),
    Endpoint(
        *("GET", f"{_ONE}/scaling", "Tell how many workers a queue needs", "look", _scaling),
        *(answers.Scaling, inputs.ScalingQuery),
    ),
    Endpoint(
        "POST", f"{_ONE}/pause", "Let a queue give out nothing", "act", _pause, answers.Done, body=inputs.Why
    ),
    Endpoint(
        "POST", f"{_ONE}/resume", "Let a queue work again", "act", _resume, answers.Done, body=inputs.Why
    ),
    Endpoint(
        "POST", f"{_ONE}/bound", "Set how many jobs may wait", "act", _bound, answers.Done, body=inputs.Bound
    ),
    Endpoint(
        *("POST", f"{_ONE}/purge", "Cancel all that waits", "purge", _purge, answers.Begun),
        body=inputs.Why,
        status=202,
    ),
)
