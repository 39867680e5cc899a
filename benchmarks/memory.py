"""Server memory for each small job that waits."""

from __future__ import annotations

from benchmarks import tasks
from benchmarks.place import Row
from conveyor import Queue
from conveyor.store import Client, fitness

JOBS = 100_000


def measure(client: Client) -> list[Row]:
    """Return the bytes per waiting job, as counted by the server."""
    before = _used(client)
    Queue("memory", store=client).submit_many(tasks.echo, [(number,) for number in range(JOBS)])
    each = (_used(client) - before) / JOBS
    return [Row("memory per waiting job, bytes", f"{each:.0f}", "", "200 on Valkey 9, 260 on Redis 8")]


def _used(client: Client) -> int:
    return int(client.run(fitness.info("memory"))["used_memory"])
