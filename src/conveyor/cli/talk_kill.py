"""The conversation of who stops workers: which one, and whether at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from conveyor.cli import exits
from conveyor.cli.ask import Choice
from conveyor.cli.desk import open_inspector
from conveyor.cli.kill import carry_out
from conveyor.cli.orders import plan_for
from conveyor.cli.output import count_of, duration, note
from conveyor.cli.workers import EMPTY

if TYPE_CHECKING:
    from conveyor.cli.ask import Asker
    from conveyor.cli.commands.act import Kill
    from conveyor.wire.control_messages import ConsumerReport, WorkerReport


def talk(ask: Asker, asked: Kill) -> int:
    """Ask who is to be stopped and stop them."""
    inspector = open_inspector()
    consumers = inspector.consumers()
    workers = {worker.name: worker for one in consumers for worker in one.workers}
    if not workers:
        note(EMPTY)
        return exits.OK
    choices = [
        *(Choice(worker.name, _doing(one, worker)) for one in consumers for worker in one.workers),
        *(
            Choice(one.name, f"all {count_of(len(one.workers), 'worker')} of this consumer")
            for one in consumers
        ),
    ]

    def known(name: str) -> str:
        plan_for(consumers, [name])
        return name

    name = ask.choose("Which worker is to stop?", choices, known)
    plan = plan_for(consumers, [name])
    busy = [workers[one] for one in plan.targets if one in workers and workers[one].job]
    if busy and not asked.now:
        question = f"{count_of(len(busy), 'job')} running there. Let that finish first?"
        asked = replace(asked, now=not ask.agree(question, default=True))
    note(f"Same again: conveyor kill {name}{' --now' if asked.now else ''}")
    return carry_out(inspector.client, plan, asked)


def _doing(consumer: ConsumerReport, worker: WorkerReport) -> str:
    if worker.job:
        return f"runs {worker.task} {worker.job} for {duration(worker.busy_for)}"
    return f"{worker.state}, takes from {', '.join(consumer.queues)}"
