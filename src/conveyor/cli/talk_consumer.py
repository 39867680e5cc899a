"""The consumer's conversation: how many workers, on which queue."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from msgspec import structs

from conveyor import task_loading
from conveyor.cli.ask import Choice
from conveyor.cli.desk import open_inspector
from conveyor.cli.exits import Usage
from conveyor.cli.menu import FAMILIES, crowds, listeners
from conveyor.cli.output import note
from conveyor.wire import ids

if TYPE_CHECKING:
    from conveyor.cli.ask import Asker
    from conveyor.consumer.settings import ConsumerSettings

#: Workers that are given to somebody who is asked; more with -n.
MOST_WORKERS = 10


def talk(ask: Asker, settings: ConsumerSettings) -> ConsumerSettings:
    """Ask for what the settings leave open and give them filled in."""
    inspector = open_inspector()
    workers = settings.workers
    if not workers:
        default = str(min(MOST_WORKERS, settings.worker_count))
        workers = ask.line(f"How many workers? 1 to {MOST_WORKERS}", default, workers_in)
    crowd = crowds(inspector)
    tasks = {one.queue: one.task for one in FAMILIES}
    choices = [
        Choice(name, f"{tasks.get(name, ''):<13}{crowd.get(name) or listeners(inspector, name)}")
        for name in dict.fromkeys((*tasks, *crowd))
    ]
    queue = ask.choose("Which queue?", choices, ids.checked_queue, others=True)
    if queue not in crowd:
        note(f"Nothing was ever put on {queue}: the workers wait until something is.")
    words = ["conveyor", "consume", queue, "-n", str(workers)]
    if list(settings.modules) != task_loading.found_modules():
        words += [word for module in settings.modules for word in ("--tasks", module)]
    note(f"Same again: {shlex.join(words)}")
    return structs.replace(settings, queues=(queue,), workers=workers)


def workers_in(text: str) -> int:
    """Give the number of workers that somebody typed; raises Usage with the reason where it is none."""
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise Usage(f"{text!r} is no whole number", hint=f"a number from 1 to {MOST_WORKERS}")
    number = int(text)
    if number < 1:
        raise Usage(
            f"{number} is too few: without a worker nothing is done",
            hint=f"a number from 1 to {MOST_WORKERS}",
        )
    if number > MOST_WORKERS:
        hint = f"a number from 1 to {MOST_WORKERS}; `conveyor consume QUEUE -n {number}` takes more"
        raise Usage(f"{number} is too many: this asks for {MOST_WORKERS} at most", hint=hint)
    return number
