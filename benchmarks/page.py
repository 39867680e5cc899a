"""The page on a full house: a million finished and 100,000 waiting jobs, 500 workers, 20 viewers."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from benchmarks import place, tasks, turns
from benchmarks.place import Row
from benchmarks.viewers import watching
from conveyor import Queue, clock
from conveyor.store import control_channel
from conveyor.store.command import Command
from conveyor.wire import control_messages
from conveyor.wire.control_messages import ConsumerReport, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.store import Client

FINISHED = int(os.environ.get("BENCH_FINISHED", "1000000"))
WAITING, CONSUMERS, CREW, VIEWERS = 100_000, 50, 10, 20
#: Milliseconds that a page, and a command, may take; kilobytes that a page may have.
PAGE_LIMIT, COMMAND_LIMIT, SIZE_LIMIT = 300, 5, 60
LOOKS = 5
PAGES = (
    "/",
    "/queues",
    "/queues/full",
    "/jobs?queue=full&state=waiting",
    "/jobs?queue=full&state=waiting&text=nothing",
    "/jobs?queue=busy&state=ended",
    "/jobs?queue=busy&state=dead",
    "/jobs?state=waiting",
    "/jobs?state=ended",
    "/jobs?state=ended&text=nothing",
    "/workers",
    "/workers/host0-c000/0",
    "/failures",
    "/enqueue?task=sleep",
    "/operations",
    "/audit",
    "/system",
)


def measure(client: Client) -> list[Row]:
    """Seed, serve, look, and watch."""
    _seed(client)
    with _crews(client), _telling(client) as job:
        pages = (*PAGES, job)
        client.run(Command(("CONFIG", "SET", "slowlog-log-slower-than", COMMAND_LIMIT * 1000)))
        client.run(Command(("SLOWLOG", "RESET")))
        with turns.counting(client.url.removeprefix("unix://")) as (url, count), _served(url) as address:
            times, sizes = _pages(address, pages)
            quiet = _rate(count, 5)
            with watching(address, pages, VIEWERS):
                time.sleep(3)
                watched = _rate(count, 20)
            slow = client.run(Command(("SLOWLOG", "GET", 20)))
        with _served(client.url) as address:
            alone, beside = _throughput(client, address, pages)
    slowest, largest = max(times, key=times.__getitem__), max(sizes, key=sizes.__getitem__)
    own = [entry for entry in slow if entry[3][0].upper() not in {b"CONFIG", b"SLOWLOG"}]
    return [
        Row("slowest page, ms", f"{times[slowest]:.0f}", slowest, f"< {PAGE_LIMIT}"),
        Row("largest page, KB", f"{sizes[largest] / 1000:.1f}", largest, f"<= {SIZE_LIMIT}"),
        Row(f"commands over {COMMAND_LIMIT} ms", str(len(own)), _words(own), "0"),
        Row("round trips/s, no viewer", f"{quiet:.2f}", "", "0"),
        Row(f"round trips/s, {VIEWERS} viewers", f"{watched:.2f}", f"of {len(pages)} pages", "<= 1"),
        Row(
            "throughput lost while they watch",
            f"{100 * (1 - beside / alone):.1f} %",
            f"{alone:,.0f} jobs/s alone, {beside:,.0f} beside them",
            "< 3 %",
        ),
    ]


def _seed(client: Client) -> None:
    """Put and drain for real what is to be finished, then put what waits."""
    queue = Queue("busy", store=client)
    with place.consumer(client, "busy", 2):
        for first in range(0, FINISHED, 50_000):
            queue.submit_many(
                tasks.echo, [(number,) for number in range(first, min(first + 50_000, FINISHED))]
            )
        queue.submit_many(tasks.refuse, [(number,) for number in range(2_000)])
        place.until(lambda: queue.count().live == 0, 600)
    full = Queue("full", store=client)
    for first in range(0, WAITING, 10_000):
        full.submit_many(tasks.nap, [(number / 10,) for number in range(first, first + 10_000)])
    for number in range(30):
        Queue(f"small_{number}", store=client).submit_many(tasks.nap, [(1.0,)] * 10)


@contextlib.contextmanager
def _crews(client: Client) -> Iterator[None]:
    """Report as 50 consumers of ten workers do: each every five seconds, not all at once."""
    over = threading.Event()

    def report() -> None:
        turn = 0
        while not over.wait(5 / CONSUMERS):
            turn = (turn + 1) % CONSUMERS
            client.run_all(_report(turn, turn))

    client.run_all([command for number in range(CONSUMERS) for command in _report(number, 0)])
    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _telling(client: Client) -> Iterator[str]:
    """Run a job that logs continuously; yield the URL of its page."""
    with place.consumer(client, "telling"):
        job = Queue("telling", store=client).submit(tasks.tell, 3600.0)
        place.until(lambda: job.status() == "running")
        try:
            yield f"/queues/telling/jobs/{job.id}"
        finally:
            job.cancel()


def _report(number: int, done: int) -> list[Command]:
    name = f"host{number % 5}-c{number:03}"
    workers = [
        WorkerReport(
            f"{name}/{one}", 100 + one, "busy", done, f"job{number}x{one}", "nap", "full", 12.5, done, 100
        )
        for one in range(CREW)
    ]
    crew = ConsumerReport(
        name, f"host{number % 5}", 99, ["full"], "process", clock.wall() - 60, workers, "0.1.0"
    )
    return control_channel.report(name, control_messages.encode(crew), clock.wall())


@contextlib.contextmanager
def _served(url: str) -> Iterator[str]:
    environment = os.environ | {"CONVEYOR_URL": url}
    command = [sys.executable, "-m", "conveyor", "dashboard", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            found = re.search(r"http://\S+", process.stderr.readline())
        yield found[0].rstrip("/")
    finally:
        process.terminate()
        process.wait()


def _pages(address: str, pages: Sequence[str]) -> tuple[dict[str, float], dict[str, int]]:
    """Return the slowest of some requests of each page, uncached, and its bytes."""
    times: dict[str, float] = {}
    sizes: dict[str, int] = {}
    urllib.request.urlopen(address + "/healthz").read()
    for look in range(LOOKS):
        for page in pages:
            fresh = f"{page}{'&' if '?' in page else '?'}look={look}"
            start = time.perf_counter()
            body = urllib.request.urlopen(address + fresh).read()
            times[page] = max(times.get(page, 0.0), 1000 * (time.perf_counter() - start))
            sizes[page] = len(body)
        time.sleep(1.1)
    return times, sizes


def _rate(count: turns.Turns, seconds: float) -> float:
    """Return the round trips per second."""
    before = count.count
    time.sleep(seconds)
    return (count.count - before) / seconds


def _throughput(client: Client, address: str, pages: Sequence[str]) -> tuple[float, float]:
    """Return the drain of one worker without viewers and with them, alternating.

    The best of four each: what else a machine does can only make a drain slower.
    """
    rates: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(8):
        watched = bool(turn % 2)
        with watching(address, pages, VIEWERS) if watched else contextlib.nullcontext():
            time.sleep(2)
            rates[watched].append(_drain(client, f"drain_{turn}"))
    return max(rates[False]), max(rates[True])


def _drain(client: Client, name: str) -> float:
    queue = Queue(name, store=client)
    queue.submit_many(tasks.echo, [(number,) for number in range(300_000)])
    with place.consumer(client, name, until_empty=True):
        place.until(lambda: queue.count().finished > 0)
        start, left = time.perf_counter(), queue.count().live
        while queue.count().live:
            time.sleep(0.02)
        return left / (time.perf_counter() - start)


def _words(entries: list[Any]) -> str:
    told = [(entry[2] / 1000, b" ".join(entry[3][:2]).decode(errors="replace")[:40]) for entry in entries[:4]]
    return "; ".join(f"{milliseconds:.1f} ms {words}" for milliseconds, words in told)
