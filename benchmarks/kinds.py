"""Kinds of workers compared: `python -m benchmarks.kinds`.

First by work: how long 20 workers of each kind take for it, and their memory. Then by event: how soon it ends a job,
and what becomes of its neighbor; each consumer has two workers, one of which runs the neighbor, a job that waits.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, get_args

from msgspec import structs
from rich.console import Console

from conveyor import Consumer, Queue, SoftTimeout, current_job, task
from conveyor.consumer.settings import Kind
from conveyor.monitor import Inspector
from conveyor.store import connect, control_channel, embedded
from conveyor.torture.servers import wait_for
from conveyor.wire import ids
from conveyor.wire.control_messages import ControlCommand, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor import Job
    from conveyor.tasks import Task

ROUNDS = 5
#: Workers of a consumer whose work is measured, and seconds of one wait.
WORKERS, NAP = 20, 0.05
#: Seconds: the time limit, and the time to react, of the jobs.
LIMIT, GRACE = 1.0, 1.0


@task(name="kinds.wait", queue="kinds")
async def wait(path: str) -> int:
    """Wait until the file is there, and return the number of the attempt."""
    note(path)
    while not _exists(path):  # noqa: ASYNC110 - other processes have no events of this loop
        await asyncio.sleep(0.002)
    return current_job().attempt


@task(name="kinds.tidy", queue="kinds")
async def tidy(path: str) -> None:
    """Wait for the soft limit, and return."""
    note(path)
    try:
        await asyncio.sleep(3600)
    except SoftTimeout:
        return


@task(name="kinds.resist", queue="kinds")
async def resist(path: str) -> None:
    """Go on whatever is raised in it."""
    note(path)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@task(name="kinds.crash", queue="kinds")
async def crash(path: str) -> None:
    """End the process once, as soon as the file is there."""
    note(path)
    while not _exists(path):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.002)
    if current_job().attempt == 1:
        os.abort()


@task(name="kinds.nothing", queue="kinds")
def nothing() -> None:
    """Return at once."""


@task(name="kinds.nap", queue="kinds")
def nap() -> None:
    """Wait in a call that blocks."""
    time.sleep(NAP)


@task(name="kinds.nap_async", queue="kinds")
async def nap_async() -> None:
    """Wait in the event loop."""
    await asyncio.sleep(NAP)


@task(name="kinds.compute", queue="kinds")
def compute() -> int:
    """Compute for about a third of a second."""
    return sum(number * number % 7 for number in range(4_000_000))


def note(path: str) -> None:
    """Note that a run begins."""
    with Path(f"{path}.runs").open("a") as file:
        file.write(f"{time.monotonic()}\n")


def runs(path: Path) -> list[float]:
    """Return when the runs of a job have begun."""
    file = Path(f"{path}.runs")
    return [float(line) for line in file.read_text().split()] if file.exists() else []


def _exists(path: str) -> bool:
    return Path(path).exists()


def cancelled(_: Consumer, job: Job[None], __: Path) -> float:
    """Cancel the job; return the seconds until its outcome is there."""
    began = time.monotonic()
    job.cancel()
    job.exception(60)
    return time.monotonic() - began


def limited(_: Consumer, job: Job[None], path: Path) -> float:
    """Return the seconds from the end of the time limit to the outcome."""
    job.exception(60)
    return time.monotonic() - runs(path)[0] - LIMIT


def killed(consumer: Consumer, job: Job[None], _: Path) -> float:
    """Kill the worker; return the seconds until its job waits again."""
    client = connect(os.environ["CONVEYOR_URL"])

    places: list[tuple[str, str]] = []

    def is_found() -> bool:
        reports = [one for one in Inspector(client).consumers() if one.pid == consumer.pid]
        places.extend(
            (one.name, worker.name) for one in reports for worker in one.workers if worker.job == job.id
        )
        return bool(places)

    wait_for(is_found)
    name, worker = places[0]
    began = time.monotonic()
    client.run(control_channel.send(name, encode(ControlCommand(ids.unique(), "kill", [worker], ""))))
    wait_for(lambda: job.status() == "waiting")
    seconds = time.monotonic() - began
    job.cancel()
    return seconds


def crashed(_: Consumer, job: Job[None], path: Path) -> float:
    """Make the job crash; return the seconds until it runs again."""
    began = time.monotonic()
    path.touch()
    job.exception(60)
    return runs(path)[1] - began


#: What is done to the job of a task, by what the table calls it.
EVENTS: dict[str, tuple[object, Callable[[Consumer, Job[None], Path], float]]] = {
    "cancel": (wait, cancelled),
    "cancel, and the task does not react": (resist, cancelled),
    "soft time limit": (tidy.options(soft_timeout=LIMIT), limited),
    "time limit": (wait.options(timeout=LIMIT), limited),
    "time limit, and the task does not react": (resist.options(timeout=LIMIT), limited),
    "kill": (wait, killed),
    "crash": (crash, crashed),
}


#: Tasks, and numbers of jobs, by what the table calls the work.
WORK: dict[str, tuple[Task[[], object], int]] = {
    "20,000 jobs that do nothing": (nothing, 20_000),
    "1,000 jobs that wait 50 ms": (nap, 1_000),
    "1,000 jobs that wait 50 ms in `await`": (nap_async, 1_000),
    "12 jobs that compute": (compute, 12),
}


def work(kind: Kind, what: str) -> float:
    """Return the seconds that idle workers take from the submit of jobs to their last outcome."""
    function, number = WORK[what]
    with Consumer("kinds", WORKERS, kind, tasks=["benchmarks.kinds"]):
        for job in function.submit_many([()] * WORKERS):
            job.result()
        began = time.monotonic()
        for job in function.submit_many([()] * number):
            job.result()
        return time.monotonic() - began


def memory(kind: Kind) -> float:
    """Return the MB of a consumer's processes that are idle, each page divided by those that share it (PSS)."""
    with Consumer("kinds", WORKERS, kind, tasks=["benchmarks.kinds"]) as consumer:
        nothing.submit().result()
        tree, found = [consumer.pid], 0
        while tree:
            pid = tree.pop()
            tree += Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found += int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
        return found / 1000


def measure(kind: Kind, event: str, folder: Path) -> tuple[float, str]:
    """Return the seconds of an event, and what became of the neighbor."""
    function, act = EVENTS[event]
    consumer = Consumer("kinds", 2, kind, tasks=["benchmarks.kinds"])
    consumer.settings = structs.replace(consumer.settings, grace=GRACE)
    with consumer:
        neighbor, path = folder / ids.unique(), folder / ids.unique()
        other = wait.submit(str(neighbor))
        wait_for(lambda: runs(neighbor))
        job = Queue("kinds").submit(function, str(path))
        wait_for(lambda: runs(path))
        seconds = act(consumer, job, path)
        neighbor.touch()
        attempt = other.result(60)
        again = len(runs(neighbor)) > 1
    fate = "goes on" if not again else "runs again" if attempt == 1 else "runs again, has crashed once"
    return seconds, fate


def main() -> None:
    """Print the table in Markdown: the median of some rounds."""
    show = Console(soft_wrap=True, highlight=False).print
    kinds: tuple[Kind, ...] = get_args(Kind)
    with embedded.separate_server() as url, tempfile.TemporaryDirectory() as folder:
        os.environ["CONVEYOR_URL"] = url
        show(f"| work of {WORKERS} workers | {' | '.join(kinds)} |")
        show("|" + "---|" * 4)
        for what in WORK:
            times = [median(work(kind, what) for _ in range(ROUNDS)) for kind in kinds]
            show(f"| {what} | {' | '.join(f'{seconds:.2f} s' for seconds in times)} |")
        show(f"| their memory | {' | '.join(f'{memory(kind):.0f} MB' for kind in kinds)} |\n")
        show("| event | " + " | ".join(f"{kind} | neighbor" for kind in kinds) + " |")
        show("|" + "---|" * 7)
        for event in EVENTS:
            cells = []
            for kind in kinds:
                found = [measure(kind, event, Path(folder)) for _ in range(ROUNDS)]
                cells += [f"{median(seconds for seconds, _ in found):.3f} s", found[0][1]]
            show(f"| {event} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
