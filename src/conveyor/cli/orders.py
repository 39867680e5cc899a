"""Orders to workers: whom a name means, and how its answers are told as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor.cli.exits import NotFound, Usage
from conveyor.cli.output import clean
from conveyor.clock import Deadline
from conveyor.store import control_channel
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from conveyor.store import Client
    from conveyor.wire.control_messages import ConsumerReport

#: Seconds between two looks at the clock while answers are awaited.
STEP = 1.0
#: Seconds that a supervisor is given for its first answer, whatever --timeout says.
FIRST_ANSWER = 2.0


@dataclass(slots=True)
class Target:
    """Whom an order is for, and how far that is."""

    name: str
    consumer: str
    state: str = "no answer"
    """no answer, or the state of its last answer."""
    detail: str = ""

    @property
    def is_silent(self) -> bool:
        """Whether nobody obeys."""
        return self.state in {"no answer", "unknown"}

    @property
    def came_to_nothing(self) -> bool:
        """Whether it was heard, and is not done all the same."""
        return self.state in {"gone", "expired"}

    @property
    def job(self) -> str | None:
        """The job that still runs there."""
        return self.detail or None if self.state == "acknowledged" else None

    def words(self) -> str:
        """Give how far it is as people read it."""
        words = control_messages.WORDS.get(self.state, self.state)
        return f"{words}: {clean(self.detail)}" if self.came_to_nothing and self.detail else words


@dataclass(slots=True)
class Plan:
    """Whom an order is for: whole consumers, and single workers of others."""

    targets: dict[str, Target] = field(default_factory=dict)
    orders: dict[str, list[str]] = field(default_factory=dict)
    """Consumer to the names of its workers; an empty list means the whole consumer."""
    jobs: dict[str, str] = field(default_factory=dict)
    """The job that each single worker was at when it was listed."""

    @property
    def names(self) -> list[str]:
        """The full names of those whom the order is sent to."""
        return [name for consumer, workers in self.orders.items() for name in workers or [consumer]]

    def add_consumer(self, report: ConsumerReport) -> None:
        """Mean a consumer with all its workers."""
        self.orders[report.name] = []
        for name in (*(worker.name for worker in report.workers), report.name):
            self.targets.setdefault(name, Target(name, report.name))

    def add_worker(self, report: ConsumerReport, worker: str) -> None:
        """Mean one worker, unless its whole consumer is meant anyway."""
        self.jobs.update({one.name: one.job for one in report.workers if one.name == worker and one.job})
        if self.orders.get(report.name) != []:
            self.orders.setdefault(report.name, []).append(worker)
            self.targets.setdefault(worker, Target(worker, report.name))


def plan_for(consumers: Sequence[ConsumerReport], names: Sequence[str]) -> Plan:
    """Find whom the names mean, everybody where there are none; raises NotFound, or Usage where it is not clear."""
    plan = Plan()
    if not names:
        for report in consumers:
            plan.add_consumer(report)
    for name in names:
        found = _found(consumers, name)
        report = next(one for one in consumers if one.name == control_messages.consumer_of(found))
        if "/" in found:
            plan.add_worker(report, found)
        else:
            plan.add_consumer(report)
    return plan


def hear(
    client: Client, plan: Plan, order_id: str, timeout: float, words: Callable[[Target], str] | None
) -> None:
    """Take in answers until all are done or the time is over; `words` puts a target's new state into a line."""
    deadline, first = Deadline(timeout), Deadline(max(timeout, FIRST_ANSWER))
    while _open(plan.targets.values(), deadline, first):
        data = client.run(
            control_channel.await_acknowledgement(
                order_id, STEP / 4 if deadline.passed() else deadline.left(STEP)
            )
        )
        if data is None:
            continue
        answer = control_messages.decode_acknowledgement(data)
        target = plan.targets.setdefault(
            answer.target, Target(answer.target, control_messages.consumer_of(answer.target))
        )
        target.state, target.detail = answer.state, answer.detail
        if words is not None:
            print(f"{clean(answer.target)}: {words(target)}", flush=True)


def _found(consumers: Sequence[ConsumerReport], name: str) -> str:
    known = [one.name for one in consumers]
    if "/" in name:
        known = [worker.name for one in consumers for worker in one.workers]
    if name in known:
        return name
    near = [one for one in known if name and one.startswith(name)]
    if len(near) == 1:
        return near[0]
    if near:
        raise Usage(f"{name!r} is not clear: it may be {' or '.join(near)}", hint="write a letter more")
    raise NotFound(f"no worker or consumer is called {name!r}", hint="`conveyor workers` lists the names")


def _open(targets: Iterable[Target], deadline: Deadline, first: Deadline) -> bool:
    """Tell whether there is anything left to wait for."""
    states = [one.state for one in targets]
    if not deadline.passed():
        return any(state in {"no answer", "acknowledged"} for state in states)
    return not first.passed() and "no answer" in states
