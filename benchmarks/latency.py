"""A job put on a queue that has been idle: how soon it starts, and how soon its result is back."""

from __future__ import annotations

import os
import signal
import statistics
import time

from benchmarks import place, tasks
from benchmarks.place import Row
from conveyor import Queue
from conveyor.store import Client
from conveyor.store.command import Command

IDLE = 10.0
SAMPLES = int(os.environ.get("BENCH_SAMPLES", "9"))


def measure(client: Client) -> list[Row]:
    """Return medians and maxima of some samples, and those of a bare BLPOP between two processes."""
    starts, backs = [], []
    queue = Queue("latency", store=client)
    with place.consumer(client, "latency"):
        queue.submit(tasks.now).result()
        for _ in range(SAMPLES):
            time.sleep(IDLE)
            put = time.monotonic()
            started = queue.submit(tasks.now).result()
            backs.append(time.monotonic() - put)
            starts.append(started - put)
    bare = _bare(client)
    beside = f"bare BLPOP: {_ms(bare)}"
    return [
        Row("idle 10 s, put to start, ms (median, worst)", _ms(starts), beside, "2 at the median"),
        Row("idle 10 s, put to result, ms (median, worst)", _ms(backs), "", "3"),
    ]


def _bare(client: Client) -> list[float]:
    """Return the time that an element takes through a list to a waiting process."""
    child = os.fork()
    if child == 0:
        mine = Client(client.url)
        while True:
            mine.run(Command(("BLPOP", "bench:there", 0), block=3600.0))
            mine.run(Command(("RPUSH", "bench:back", f"{time.monotonic():.9f}")))
    taken = []
    for _ in range(SAMPLES):
        time.sleep(min(IDLE, 2.0))
        put = time.monotonic()
        client.run(Command(("RPUSH", "bench:there", "x")))
        at = client.run(Command(("BLPOP", "bench:back", 5), block=5.0))[1]
        taken.append(float(at) - put)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return taken


def _ms(values: list[float]) -> str:
    return f"{statistics.median(values) * 1000:.2f}, {max(values) * 1000:.2f}"
