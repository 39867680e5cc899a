"""Places an order: splits it, puts its jobs, and shows that something happens while that takes time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from conveyor.cli.long_work import long_work
from conveyor.cli.output import count_of, is_lively, margin, note
from conveyor.order import Order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.store import Client
    from conveyor.tasks import Task


def place(
    client: Client, task: Task[..., Any], arguments: Mapping[str, Any], count: int = 1, *, quiet: bool = False
) -> Order:
    """Place an order; raises BadInput or BadCall before anything is put.

    Ctrl-C while jobs are put leaves those that are put already, and says how many.
    """
    placed = 0
    lively = is_lively() and not quiet
    waiting = (
        margin().status(f"{task.name}: reading the order")
        if lively and task.split is not None
        else nullcontext()
    )
    try:
        with long_work(f"putting on {task.put.queue}", count if not quiet else 0) as advance:

            def on_put(number: int) -> None:
                nonlocal placed
                placed += number
                advance(number)

            with waiting if count == 1 else nullcontext():
                return Order.place(task, arguments, store=client, count=count, on_put=on_put)
    except KeyboardInterrupt:
        if placed:
            note(f"\n{count_of(placed, 'job')} are on {task.put.queue} already, the others were not put.")
        raise
