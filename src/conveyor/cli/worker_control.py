"""`conveyor pause` and `resume` for workers, and the stack of one that runs a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.cli import exits, orders
from conveyor.cli.desk import open_actions
from conveyor.cli.exits import NotFound, WrongState
from conveyor.cli.orders import plan_for
from conveyor.cli.output import clean, count_of, document, note
from conveyor.errors import ConveyorError
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from conveyor.cli.commands.act import Pause, Resume
    from conveyor.cli.orders import Plan, Target
    from conveyor.monitor import Inspector, JobDetails

#: Seconds that a stack is waited for; a supervisor gives one within a second.
STACK_PATIENCE = 3.0


def is_meant(inspector: Inspector, name: str) -> bool:
    """Tell whether a name means workers: it holds a slash, or is no queue's and begins that of a consumer."""
    if "/" in name:
        return True
    if not name or name in inspector.queues():
        return False
    consumers = inspector.consumers()
    is_queue = any(name in one.queues for one in consumers)
    return not is_queue and any(one.name.startswith(name) for one in consumers)


def pause(inspector: Inspector, asked: Pause) -> int:
    """Have workers finish what they run and take nothing more, and tell their answers."""
    return _carry_out(inspector, "pause", asked)


def resume(inspector: Inspector, asked: Resume) -> int:
    """Have paused workers take jobs again, and tell their answers."""
    return _carry_out(inspector, "resume", asked)


def stack_of(inspector: Inspector, details: JobDetails) -> str:
    """Give the stacks of the worker that runs a job.

    Raises WrongState if it does not run, NotFound if no consumer's worker runs it, ConveyorError without an answer.
    """
    if details.state != "running":
        message = f"job {details.id} does not run, it is {details.state}: there is no stack"
        raise WrongState(message, hint=f"`conveyor job {details.id}` shows it")
    consumers = {one.name for one in inspector.consumers()}
    consumer = control_messages.consumer_of(details.worker)
    if consumer not in consumers:
        message = f"job {details.id} is held by {details.worker}, which is no consumer that can be asked"
        raise NotFound(message, hint="`conveyor workers` lists those that can")
    plan = orders.Plan(
        {details.worker: orders.Target(details.worker, consumer)}, {consumer: [details.worker]}
    )
    order = open_actions(inspector.client).tell_workers(
        "stack", plan.names, jobs={details.worker: details.id}
    )
    orders.hear(inspector.client, plan, order.id, STACK_PATIENCE, None)
    target = plan.targets[details.worker]
    if target.state in {"unknown", "expired"}:
        message = f"job {details.id} does not run any more: {target.detail}"
        raise WrongState(message, hint=f"`conveyor job {details.id}` shows it")
    if target.state != "done":
        message = f"{target.consumer} did not answer within {STACK_PATIENCE:g} s"
        raise ConveyorError(
            message, hint="it is busy, or gone; `conveyor workers` shows those that are there"
        )
    return target.detail


def _carry_out(inspector: Inspector, verb: str, asked: Pause | Resume) -> int:
    plan = plan_for(inspector.consumers(), [asked.queue])
    order = open_actions(inspector.client).tell_workers(verb, plan.names, asked.reason)
    try:
        orders.hear(inspector.client, plan, order.id, asked.timeout, None if asked.json else _words)
    except KeyboardInterrupt:
        note("No longer watching; what was ordered holds.")
        return exits.INTERRUPTED
    targets = list(plan.targets.values())
    if asked.json:
        document(
            f"{verb}-workers/v1",
            targets=[{"name": one.name, "state": one.state, "job": one.job} for one in targets],
        )
    else:
        _sum_up(plan, verb, asked.queue)
    return exits.FAILED if any(one.is_silent or one.came_to_nothing for one in targets) else exits.OK


def _words(target: Target) -> str:
    if target.state == "acknowledged" and target.detail:
        return f"acknowledged, runs job {clean(target.detail)}"
    return target.words()


def _sum_up(plan: Plan, verb: str, name: str) -> None:
    workers = [one for one in plan.targets.values() if "/" in one.name]
    done = sum(1 for one in workers if one.state == "done")
    pending = sum(1 for one in workers if one.state == "acknowledged")
    silent = sum(1 for one in plan.targets.values() if one.is_silent)
    many = {"pause": "paused", "resume": "resumed"}[verb]
    parts = [f"{count_of(done, 'worker')} {many}"] if done else []
    if pending:
        parts.append(f"{count_of(pending, 'worker follows', 'workers follow')} after the current job")
    if nothing := sum(1 for one in workers if one.came_to_nothing):
        parts.append(f"nothing came of it for {count_of(nothing, 'worker')}")
    if again := sum(one.state == "repeated" for one in workers):
        parts.append(f"ordered again since for {count_of(again, 'worker')}")
    if silent:
        parts.append(f"{count_of(silent, 'target')} did not answer")
    note("; ".join(parts) + (f". `conveyor resume {name}` lets them go on." if verb == "pause" else "."))
