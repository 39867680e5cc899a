"""100,000 tiny jobs: put in bulk, and drained by one worker process, with nobody and with a producer waiting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import place, tasks
from benchmarks.place import Row
from conveyor import Queue
from conveyor.store.command import Command

if TYPE_CHECKING:
    from conveyor.store import Client

JOBS = 100_000
BATCH = 100


def measure(client: Client) -> list[Row]:
    """Return the rates, and those of the bare server."""
    raw_put, raw_take = _bare(client)
    put, alone = _alone(client)
    waited, right = _waited(client)
    return [
        Row(
            "bulk put (submit_many), jobs/s",
            f"{put:,.0f}",
            f"RPUSH in batches of {BATCH}: {raw_put:,.0f}",
            "150,000",
        ),
        Row("drain, nobody waits, jobs/s", f"{alone:,.0f}", f"LPOP of {BATCH}: {raw_take:,.0f}", "40,000"),
        Row(
            "drain, all results pushed, jobs/s",
            f"{waited:,.0f}",
            "all right" if right else "WRONG RESULTS",
            "20,000",
        ),
    ]


def _bare(client: Client) -> tuple[float, float]:
    """Return the rates of plain elements in batches, from one Python client."""
    body = "x" * 40
    push = Command(("RPUSH", "bench:list", *[body] * BATCH))
    pop = Command(("LPOP", "bench:list", BATCH))
    rates = []
    for command in (push, pop):
        start = time.perf_counter()
        for _ in range(JOBS // BATCH):
            client.run(command)
        rates.append(JOBS / (time.perf_counter() - start))
    return rates[0], rates[1]


def _alone(client: Client) -> tuple[float, float]:
    queue = Queue("drain", store=client)
    calls = [(number,) for number in range(JOBS)]
    start = time.perf_counter()
    queue.submit_many(tasks.echo, calls)
    put = JOBS / (time.perf_counter() - start)
    with place.consumer(client, "drain", until_empty=True):
        while (count := queue.count()).finished == 0:
            pass
        first = time.perf_counter()
        left = count.live
        place.until(lambda: queue.count().live == 0)
        seconds = time.perf_counter() - first
    return put, left / seconds


def _waited(client: Client) -> tuple[float, bool]:
    queue = Queue("waited", store=client)
    jobs = queue.submit_many(tasks.echo, [(number,) for number in range(JOBS)])
    with place.consumer(client, "waited", until_empty=True):
        jobs[0].result()
        start = time.perf_counter()
        right = all(job.result() == number for number, job in enumerate(jobs))
        seconds = time.perf_counter() - start
    return JOBS / seconds, right
