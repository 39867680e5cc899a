"""`conveyor produce`: places an order, follows it if asked to, and prints what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.cli import exits, talk_producer
from conveyor.cli.ask import asker, terminal_or
from conveyor.cli.desk import open_store
from conveyor.cli.follow import follow
from conveyor.cli.output import count_of, document, note
from conveyor.cli.placing import place
from conveyor.cli.tasks import find_task, known_tasks
from conveyor.monitor.typed_input import bind
from conveyor.wire import ids

if TYPE_CHECKING:
    from conveyor.cli.commands.work import Produce
    from conveyor.tasks import Task


def produce(asked: Produce) -> int:
    """Place an order, or ask for one."""
    registry = known_tasks(asked.tasks)
    if not asked.task:
        hint = f"conveyor produce TASK [ARG…] [name=value…], where TASK is {', '.join(registry.names())}"
        terminal_or("TASK is missing", hint)
        return talk_producer.talk(asker(), registry)
    task = with_options(find_task(registry, asked.task), asked)
    arguments = bind(task, asked.arguments)
    client = open_store(quiet=asked.json)
    order = place(client, task, arguments, asked.count, quiet=asked.json)
    if asked.wait:
        return follow(order, task.put.queue, as_json=asked.json)
    if asked.json:
        document("placed/v1", task=task.name, queue=task.put.queue, jobs=[job.id for job in order.jobs])
        return exits.OK
    note(f"{count_of(len(order.jobs), 'job')} put on {task.put.queue}:")
    for job in order.jobs:
        print(job.id)
    return exits.OK


def with_options(task: Task[..., Any], asked: Produce) -> Task[..., Any]:
    """Give the task with the options that were given; raises BadCall where one makes no sense."""
    given: dict[str, Any] = {
        "queue": asked.queue or None,
        "delay": asked.delay,
        "priority": asked.priority,
        "retries": asked.retries,
        "timeout": asked.timeout,
        "durability": asked.durability or None,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    ids.checked_queue(asked.queue or task.put.queue)
    return task.options(**changes) if changes else task
