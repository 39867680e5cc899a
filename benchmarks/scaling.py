"""What a number of workers that follows the jobs costs, and replaced processes: `python -m benchmarks.scaling`.

A burst of jobs that wait, on a fixed number of workers and on one to as many; and tiny jobs, with and without a limit
of runs for each process.
"""

from __future__ import annotations

import os
import time
from statistics import median
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console

from conveyor import Consumer, Queue, clock, task
from conveyor.consumer.settings import Kind
from conveyor.store import embedded
from conveyor.wire import ids

if TYPE_CHECKING:
    from conveyor import Task

ROUNDS = 3
#: The burst: jobs, the seconds of each, and workers at most.
JOBS, SECONDS, WORKERS = 400, 0.2, 8
#: Tiny jobs, and the runs of a process until it is replaced: about 200 times.
TINY, RUNS = 4000, 20


@task(name="scaling.wait")
def wait(number: int) -> int:
    """Wait for a moment."""
    time.sleep(SECONDS)
    return number


@task(name="scaling.pid")
def pid(_: int) -> int:
    """Return the process id of the worker."""
    return os.getpid()


def seconds_of(function: Task[..., int], count: int, **settings: Any) -> tuple[float, int]:
    """Return how long jobs take on a consumer that waits for them, and how many results differ."""
    queue = Queue(f"scaling-{ids.unique()}")
    with Consumer(queue.name, tasks=["benchmarks.scaling"], **settings):
        began = clock.monotonic()
        found = {
            one.result(120) for one in queue.submit_many(function, [(number,) for number in range(count)])
        }
        return clock.monotonic() - began, len(found)


def middle(function: Task[..., int], count: int, **settings: Any) -> tuple[float, int]:
    """Return the medians of some rounds."""
    rounds = [seconds_of(function, count, **settings) for _ in range(ROUNDS)]
    return median(one for one, _ in rounds), int(median(one for _, one in rounds))


def main() -> None:
    """Print the table in Markdown: the median of some rounds."""
    show = Console(soft_wrap=True, highlight=False).print
    show(f"| kind | {WORKERS} workers | 1 to {WORKERS} | ratio | tiny jobs | with recycling | processes |")
    show("|" + "---|" * 7)
    with embedded.separate_server() as url:
        os.environ["CONVEYOR_URL"] = url
        for kind in get_args(Kind):
            fixed, _ = middle(wait, JOBS, kind=kind, workers=WORKERS)
            scaled, _ = middle(wait, JOBS, kind=kind, min_workers=1, max_workers=WORKERS)
            plain, _ = middle(pid, TINY, kind=kind, workers=4)
            recycled, processes = middle(pid, TINY, kind=kind, workers=4, max_jobs=RUNS)
            burst = f"{fixed:.2f} s | {scaled:.2f} s | {scaled / fixed:.3f}"
            show(f"| {kind} | {burst} | {plain:.2f} s | {recycled:.2f} s | {processes} |")


if __name__ == "__main__":
    main()
