"""Gives back what a worker holds and has not begun while it is in a long job that lets none of its threads run.

The worker's own lookout does the same, sooner, but needs the interpreter's lock; a task in C code may keep that. A
mark on the slate keeps the two apart. The supervisor sets the mark, then looks which job runs; the worker notes
which job it begins, then looks at the mark. So one of them sees the other, and nothing that was given back is run.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from conveyor import clock
from conveyor.errors import StoreError
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.consumer.isolation import Isolation
    from conveyor.consumer.worker_handle import Worker
    from conveyor.store import Client
    from conveyor.store.commands import Command

#: Seconds that a job may run before those behind it are given back.
LONG = 0.2


def relieve(client: Client, workers: Iterable[Worker], isolation: Isolation) -> None:
    """Look at all workers once; an unforeseen error concerns one of them."""
    told: list[Command] = []
    for worker in workers:
        with isolation:
            told += _give_back(worker)
    if told:
        # The worker gives back what it finds in its hands once more, ahead of its next claim. If this fails, the jobs
        # come back then, or when their lease has run out.
        with contextlib.suppress(StoreError):
            client.run_all(told, patience=0.0)


def _give_back(worker: Worker) -> list[Command]:
    glance = worker.slate.glance()
    if not glance.runs or glance.number == worker.relieved or clock.monotonic() - glance.since < LONG:
        return []
    held = worker.slate.held()
    worker.slate.take_rest(glance.number)
    again = worker.slate.glance()
    if held is None or (again.number, again.place) != (glance.number, glance.place):
        return []  # it went on, and sees the mark before it begins another
    worker.relieved = glance.number
    rest = held.ids[glance.place + 1 :]
    return [commands.release(held.queue, held.token, rest)] if rest else []
