"""`conveyor kill`: stops workers, from any host, and tells what each target answered."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

from conveyor.cli import exits, orders
from conveyor.cli.ask import asker
from conveyor.cli.desk import existing_queue, open_actions, open_inspector
from conveyor.cli.exits import Usage
from conveyor.cli.orders import plan_for
from conveyor.cli.output import clean, count_of, document, is_terminal, note
from conveyor.store import control_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.cli.commands.act import Kill
    from conveyor.cli.orders import Plan, Target
    from conveyor.store import Client


def kill(asked: Kill) -> int:
    """Stop workers and wait for the answers."""
    if not (asked.names or asked.every or asked.queue or asked.json) and is_terminal():
        status: int = importlib.import_module("conveyor.cli.talk_kill").talk(asker(), asked)
        return status
    ways = sum((bool(asked.names), asked.every, bool(asked.queue)))
    if ways != 1:
        what = (
            "kill needs to know whom: names, -q QUEUE or --all"
            if not ways
            else "kill takes names, -q QUEUE or --all, one of these"
        )
        raise Usage(what, hint="`conveyor workers` lists the names")
    inspector = open_inspector(quiet=asked.json)
    consumers = inspector.consumers()
    if asked.queue:
        existing_queue(inspector, asked.queue)
        consumers = [one for one in consumers if asked.queue in one.queues]
    plan = plan_for(consumers, asked.names)
    if not plan.targets and not asked.json:
        note(f"No workers{f' on {asked.queue}' if asked.queue else ''}: nothing to stop.")
        return exits.OK
    if plan.targets and not (asked.names or asked.yes) and is_terminal() and not _is_meant(plan, asked):
        note("Nothing was stopped.")
        return exits.OK
    return carry_out(inspector.client, plan, asked)


def _is_meant(plan: Plan, asked: Kill) -> bool:
    """Ask whether all these workers are to be stopped."""
    workers = sum("/" in name for name in plan.targets)
    whom = f"{count_of(workers, 'worker')} of {count_of(len(plan.orders), 'consumer')}"
    how = "at once" if asked.now else "after their current jobs"
    if asked.now:
        note("What they run goes back to its place.")
    return asker().agree(f"Stop {whom}{f' on {asked.queue}' if asked.queue else ''} {how}?", default=False)


def carry_out(client: Client, plan: Plan, asked: Kill) -> int:
    """Send the orders, tell the answers as they come, and give the exit code."""
    verb = "kill" if asked.now else "stop"
    order = open_actions(client).tell_workers(verb, plan.names, asked.reason, jobs=plan.jobs)
    try:
        words = None if asked.json else functools.partial(_words, now=asked.now)
        orders.hear(client, plan, order.id, asked.timeout, words)
    except KeyboardInterrupt:
        note("No longer watching; what was ordered holds.")
        return exits.INTERRUPTED
    targets = list(plan.targets.values())
    silent = [one for one in targets if one.is_silent]
    if asked.json:
        document(
            "kill/v1",
            targets=[{"name": one.name, "state": one.state, "job": one.job} for one in targets],
        )
    else:
        _sum_up(targets, silent)
    return exits.FAILED if silent or any(one.came_to_nothing for one in targets) else exits.OK


def _words(target: Target, *, now: bool) -> str:
    if target.state == "acknowledged" and target.detail:
        job = clean(target.detail)
        return f"acknowledged, job {job} goes back" if now else f"acknowledged, finishes job {job} first"
    return target.words()


def _sum_up(targets: Sequence[Target], silent: Sequence[Target]) -> None:
    for one in silent:
        if one.state == "no answer":
            print(f"{one.name}: no answer")
    workers = [one for one in targets if "/" in one.name]
    done = sum(1 for one in workers if one.state == "done")
    pending = sum(1 for one in workers if one.state == "acknowledged")
    parts = [f"{count_of(done, 'worker')} stopped"] if done else []
    if pending:
        parts.append(
            f"{count_of(pending, 'worker leaves', 'workers leave')} after the current job; --now does not wait for it"
        )
    if late := sum(1 for one in workers if one.came_to_nothing):
        parts.append(f"too late for {count_of(late, 'worker')}, and nothing was done there")
    if again := sum(one.state == "repeated" for one in workers):
        parts.append(f"ordered again since for {count_of(again, 'worker')}")
    if silent:
        parts.append(
            f"{count_of(len(silent), 'target')} did not answer: probably dead, "
            f"and off the list {control_channel.REPORT_KEEP} s after the last sign of life"
        )
    note("; ".join(parts) + ".")
