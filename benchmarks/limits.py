"""What limits per key cost: one worker drains jobs of 10,000 keys, and as many jobs without a limit."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import place, tasks
from benchmarks.place import Row
from conveyor import Queue

if TYPE_CHECKING:
    from conveyor import Task
    from conveyor.store import Client

JOBS, KEYS, ROUNDS = 50_000, 10_000, 5


def measure(client: Client) -> list[Row]:
    """Return the rate with each limit, and its share of that of the plain queue in the same round."""
    return [_row(client, name, limited) for name, limited in tasks.LIMITED.items()]


def _row(client: Client, name: str, limited: Task[[int], int]) -> Row:
    plain, ours = [], []
    queue = Queue(f"limits-{limited.name}", store=client)
    with place.consumer(client, queue.name, 1):
        _drained(queue, tasks.echo)  # the worker has started then
        for _ in range(ROUNDS):
            plain.append(_drained(queue, tasks.echo))
            ours.append(_drained(queue, limited))
    share = median(one / other for one, other in zip(ours, plain, strict=True))
    beside = f"without a limit: {median(plain):,.0f}/s; {share:.2f} of it"
    return Row(f"drain {KEYS:,} keys, {name}: jobs/s", f"{median(ours):,.0f}", beside, "0.5 of it")


def _drained(queue: Queue[Any], task: Task[[int], int]) -> float:
    """Return the jobs per second from the moment at which waiting jobs may be taken."""
    queue.pause()
    queue.submit_many(task, [(number % KEYS,) for number in range(JOBS)])
    start = time.monotonic()
    queue.resume()
    queue.join()
    return JOBS / (time.monotonic() - start)
