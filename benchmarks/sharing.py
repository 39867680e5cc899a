"""No long job waits behind another while a worker is idle, however short the jobs before were."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import place, tasks
from benchmarks.place import Row
from conveyor import Queue

if TYPE_CHECKING:
    from conveyor.job import Job
    from conveyor.store import Client

WORKERS = 10


def measure(client: Client) -> list[Row]:
    """Return the time between the first and the last start of ten one-second jobs on ten workers."""
    queue = Queue("sharing", store=client)
    with place.consumer(client, "sharing", WORKERS):
        time.sleep(1)
        one_by_one = [queue.submit(tasks.nap, 1.0) for _ in range(WORKERS)]
        spread, workers = _spread(one_by_one)
        queue.submit_many(tasks.nap, [(0.001,)] * 1000)
        after_short, used = _spread(queue.submit_many(tasks.nap, [(1.0,)] * WORKERS))
    return [
        Row(
            "ten 1 s jobs put one at a time: first to last start, ms",
            f"{spread:.1f}",
            f"{workers} workers ran them",
        ),
        Row(
            "… after 1,000 jobs of 1 ms: first to last start, ms",
            f"{after_short:.1f}",
            f"{used} workers ran them",
        ),
    ]


def _spread(jobs: list[Job[tuple[float, float, int]]]) -> tuple[float, int]:
    ran = [job.result() for job in jobs]
    starts = [start for start, _, _ in ran]
    return (max(starts) - min(starts)) * 1000, len({worker for _, _, worker in ran})
