"""`conveyor kill`: stops workers, from any host, and tells what each target answered."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor import control
from conveyor.cli import exits
from conveyor.cli.ask import asker
from conveyor.cli.desk import existing_queue, open_actions, open_inspector
from conveyor.cli.exits import NotFound, Usage
from conveyor.cli.output import clean, count_of, document, is_terminal, note
from conveyor.clock import Deadline
from conveyor.store import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.cli.commands.act import Kill
    from conveyor.control import ConsumerReport
    from conveyor.store import Client

#: Seconds between two looks at the clock while answers are awaited.
STEP = 1.0
#: Seconds that a supervisor is given for its first answer, whatever --timeout says.
FIRST_ANSWER = 2.0


@dataclass(slots=True)
class Target:
    """What is to be stopped, and how far that is."""

    name: str
    consumer: str
    state: str = "no answer"
    """no answer, acknowledged, done or unknown."""
    detail: str = ""


@dataclass(slots=True)
class Plan:
    """Who is to be stopped: whole consumers, and single workers of others."""

    targets: dict[str, Target] = field(default_factory=dict)
    orders: dict[str, list[str]] = field(default_factory=dict)
    """Consumer to the names of its workers; an empty list means the whole consumer."""

    def add_consumer(self, report: ConsumerReport) -> None:
        """Stop a consumer with all its workers."""
        self.orders[report.name] = []
        for name in (*(worker.name for worker in report.workers), report.name):
            self.targets.setdefault(name, Target(name, report.name))

    def add_worker(self, report: ConsumerReport, worker: str) -> None:
        """Stop one worker, unless its whole consumer is to be stopped anyway."""
        if self.orders.get(report.name) != []:
            self.orders.setdefault(report.name, []).append(worker)
            self.targets.setdefault(worker, Target(worker, report.name))


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
    return carry_out(inspector.client, plan, asked)


def plan_for(consumers: Sequence[ConsumerReport], names: Sequence[str]) -> Plan:
    """Find whom the names mean, everybody where there are none; raises NotFound, or Usage where it is not clear."""
    plan = Plan()
    if not names:
        for report in consumers:
            plan.add_consumer(report)
    for name in names:
        found = _found(consumers, name)
        report = next(one for one in consumers if one.name == control.consumer_of(found))
        if "/" in found:
            plan.add_worker(report, found)
        else:
            plan.add_consumer(report)
    return plan


def carry_out(client: Client, plan: Plan, asked: Kill) -> int:
    """Send the orders, tell the answers as they come, and give the exit code."""
    targets = [name for consumer, workers in plan.orders.items() for name in workers or [consumer]]
    order = open_actions(client).tell_workers("kill" if asked.now else "stop", targets, asked.reason)
    try:
        _hear(client, plan, order.id, asked)
    except KeyboardInterrupt:
        note("No longer watching; what was ordered holds.")
        return exits.INTERRUPTED
    heard = list(plan.targets.values())
    silent = [one for one in heard if one.state in {"no answer", "unknown"}]
    if asked.json:
        document(
            "kill/v1",
            targets=[{"name": one.name, "state": one.state, "job": one.detail or None} for one in heard],
        )
    else:
        _sum_up(heard, silent)
    return exits.FAILED if silent else exits.OK


def _found(consumers: Sequence[ConsumerReport], name: str) -> str:
    known = [one.name for one in consumers]
    if "/" in name:
        known = [worker.name for one in consumers for worker in one.workers]
    if name in known:
        return name
    near = [one for one in known if one.startswith(name)]
    if len(near) == 1:
        return near[0]
    if near:
        raise Usage(f"{name!r} is not clear: it may be {' or '.join(near)}", hint="write a letter more")
    raise NotFound(f"no worker or consumer is called {name!r}", hint="`conveyor workers` lists the names")


def _hear(client: Client, plan: Plan, order_id: str, asked: Kill) -> None:
    """Take in answers until all are done or the time is over."""
    deadline, first = Deadline(asked.timeout), Deadline(max(asked.timeout, FIRST_ANSWER))
    while _open(plan.targets.values(), deadline, first):
        data = client.run(plain.await_reply(order_id, STEP / 4 if deadline.passed() else deadline.left(STEP)))
        if data is None:
            continue
        answer = control.decode_answer(data)
        target = plan.targets.setdefault(
            answer.target, Target(answer.target, control.consumer_of(answer.target))
        )
        target.state, target.detail = answer.state, answer.detail
        if not asked.json:
            print(f"{clean(answer.target)}: {_words(target, now=asked.now)}", flush=True)


def _open(targets: Iterable[Target], deadline: Deadline, first: Deadline) -> bool:
    """Tell whether there is anything left to wait for."""
    states = [one.state for one in targets]
    if not deadline.passed():
        return any(state in {"no answer", "acknowledged"} for state in states)
    return not first.passed() and "no answer" in states


def _words(target: Target, *, now: bool) -> str:
    if target.state == "acknowledged" and target.detail:
        job = clean(target.detail)
        return f"acknowledged, job {job} goes back" if now else f"acknowledged, finishes job {job} first"
    return "unknown to its consumer" if target.state == "unknown" else target.state


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
    if silent:
        parts.append(
            f"{count_of(len(silent), 'target')} did not answer: probably dead, "
            f"and off the list {plain.REPORT_KEEP} s after the last sign of life"
        )
    note("; ".join(parts) + ".")
