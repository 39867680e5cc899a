"""The time until work continues after a crash or a failover, and the fate of the affected jobs.

Starts and ends are those that tasks note in files, by the machine's monotonic clock. `measure` is at the end; each
scenario before it returns rows, and all of them together take six minutes, most of it for leases that must end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks import tasks
from benchmarks.place import Row
from conveyor import Queue
from conveyor.consumer import command_line
from conveyor.consumer.settings import ConsumerSettings
from conveyor.errors import StoreError
from conveyor.monitor import Inspector
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import Client, fitness, records
from conveyor.torture import history
from conveyor.torture.history import End, Start
from conveyor.torture.load import KEEP, work
from conveyor.torture.servers import DURABLE, SERVICE, Pair, Server, wait_for
from conveyor.torture.stage import Kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from conveyor import Job

#: A part of these is enough to try the scenarios themselves.
SCALE = float(os.environ.get("BENCH_RECOVERY_SCALE", "1"))
MANY, SOME, LEAVES = max(2, round(20 * SCALE)), max(2, round(12 * SCALE)), max(4, round(200 * SCALE))
HOUR, TEN_MINUTES = 3600.0, 600.0
#: Seconds that healthy jobs keep the interpreter's lock: longer than it takes until all consumers were killed.
LOCKED = 120.0
#: Seconds that jobs of the load take: most of them none, which are claimed in batches.
LENGTHS = (0.0,) * 100 + (0.0, 0.003, 0.02, 0.2) * 5
#: Seconds after which a scenario is given up.
NEVER = 90.0
LEAVERS = 4
_chance = random.Random(8)


class Scene:
    """Consumers of one queue, in a folder of their own, and what their tasks noted there."""

    def __init__(self, name: str, url: str, maxsize: int = 0) -> None:
        self.name, self.url = name, url
        self.folder = Path(tempfile.mkdtemp(prefix=f"recovery-{name}-"))
        self.client = Client(url)
        self.queue = Queue(name, maxsize, store=self.client)
        self.kept: list[Kept] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.kept:
            one.signal(signal.SIGKILL)
        for one in self.kept:
            wait_for(one.has_ended)
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def consumer(self, workers: int = 1) -> Kept:
        """Start a consumer."""
        settings = ConsumerSettings(
            queues=(self.name,),
            workers=workers,
            modules=("benchmarks.tasks", "conveyor.torture.load"),
            path=tuple(sys.path),
        )
        environment = {**os.environ, "CONVEYOR_URL": self.url, history.FOLDER: str(self.folder)}
        name = f"consumer {self.name} {len(self.kept)}"
        one = Kept(name, lambda _: command_line(settings), environment, self.folder / "log")
        one.start()
        self.kept.append(one)
        return one

    def hold(self, key: str, seconds: float = HOUR, way: str = "sleep") -> Job[None]:
        """Submit a job that runs for some seconds, or until `let_end`."""
        return self.queue.submit(tasks.hold, key, seconds, way)

    def let_end(self, key: str) -> None:
        """Make a job finish immediately, or as soon as it starts again."""
        (self.folder / f"{key}.over").touch()

    def starts(self) -> dict[str, list[Start]]:
        """Return all starts, by the job's key."""
        found: dict[str, list[Start]] = defaultdict(list)
        for one in history.read(self.folder).of(Start):
            found[one.key].append(one)
        return found

    def start(self, key: str, number: int = 1) -> Start:
        """Wait for a start of a job, of which the first is number 1, and return it."""
        wait_for(lambda: len(self.starts()[key]) >= number, NEVER)
        return self.starts()[key][number - 1]

    def held(self) -> set[str]:
        """Return the ids of the jobs that workers hold."""
        return {job for job, _ in self.client.run(records.page(self.name, "leased", 0, 500))}

    def start_after(self, at: float, besides: set[str]) -> Start:
        """Wait for the first start after a time of a job that was not held then, and return it."""
        found: list[Start] = []

        def has_come() -> bool:
            starts = history.read(self.folder).of(Start)
            found[:] = [one for one in starts if one.at > at and one.id not in besides]
            return bool(found)

        wait_for(has_come, NEVER)
        return found[0]

    def crashes(self, job: Job[Any]) -> int:
        """Return how many crashes and ended leases are on a job's account."""
        found = Inspector(self.client).job(job.id, self.name)
        assert found is not None
        return found.crashes


class Load(threading.Thread):
    """Submits jobs, as many as the queue's bound lets in, and remembers which the server has accepted."""

    def __init__(self, scene: Scene, lengths: tuple[float, ...]) -> None:
        super().__init__(name=f"load of {scene.name}", daemon=True)
        self._scene, self._lengths = scene, lengths
        self._over = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        """Submit until told to stop; the server may be away meanwhile."""
        numbers = itertools.count()
        while not self._over.is_set():
            keys = [f"job{next(numbers)}" for _ in self._lengths]
            lengths = _chance.sample(self._lengths, len(self._lengths))
            calls = [(key, "works", one, b"") for key, one in zip(keys, lengths, strict=True)]
            try:
                accepted = len(self._scene.queue.submit_many(work.options(keep=KEEP), calls))
            except StoreError as error:
                accepted = error.accepted
            self.accepted += keys[:accepted]

    def stop(self) -> None:
        """Submit no more."""
        self._over.set()
        self.join()


# --- workers ------------------------------------------------------------------------------------------------------


def _workers_killed(url: str) -> list[Row]:
    """Kill the only worker of a consumer again and again, each time under another job."""
    seconds = []
    with Scene("worker", url) as scene:
        scene.consumer()
        for number in range(MANY):
            key = str(number)
            job = scene.hold(key)
            pid = scene.start(key).pid
            time.sleep(_chance.uniform(0.5, 1.5))
            at = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            seconds.append(scene.start(key, 2).at - at)
            scene.let_end(key)
            job.result(NEVER)
    return [_times("worker killed: its job started again", seconds, 1.0)]


def _killed_by_order(url: str) -> list[Row]:
    """Kill workers in a call in C by the order that all surfaces send."""

    def kill(client: Client, name: str) -> None:
        Actions(client, Actor("benchmarks", "cli")).tell_workers("kill", [name])

    return _killed("the order to kill a worker now", kill, url)


def _killed_by_command(url: str) -> list[Row]:
    """Kill workers in a call in C by the command line, whose own start is part of the time."""

    def kill(_: Client, name: str) -> None:
        command = [sys.executable, "-m", "conveyor", "kill", name, "--now", "--json"]
        environment = {**os.environ, "CONVEYOR_URL": url}
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout + told.stderr

    return _killed("the start of `conveyor kill --now`", kill, url)


def _killed(since: str, kill: Callable[[Client, str], None], url: str) -> list[Row]:
    """Kill workers one by one, every other one while it keeps the interpreter's lock."""
    gone, back, blamed = [], [], 0
    with Scene("killed", url) as scene, ThreadPoolExecutor() as pool:
        scene.consumer(MANY + 1)
        jobs = {
            str(number): scene.hold(str(number), HOUR, ("call", "lock")[number % 2]) for number in range(MANY)
        }
        names: dict[int, str] = {}
        pids = {key: scene.start(key).pid for key in jobs}
        wait_for(lambda: names.update(_worker_names(scene.client)) or set(pids.values()) <= names.keys())
        for key, job in jobs.items():
            scene.let_end(key)
            at = time.monotonic()
            killing = pool.submit(kill, scene.client, names[pids[key]])
            wait_for(partial(_is_gone, pids[key], killing), NEVER)
            gone.append(time.monotonic() - at)
            back.append(scene.start(key, 2).at - at)
            job.result(NEVER)
            killing.result()
            blamed += scene.crashes(job)
    return [
        _times(f"from {since}, in a call in C: gone", gone, 2.0),
        _times("the same: its job started again", back, 2.0),
        _counts("the same: its job", MANY, {"crashes": blamed}),
    ]


def _is_gone(pid: int, killing: Future[None]) -> bool:
    if killing.done():
        killing.result()  # an order that was refused says so here
    return not Path(f"/proc/{pid}").exists()


def _worker_names(client: Client) -> dict[int, str]:
    return {one.pid: one.name for report in Inspector(client).consumers() for one in report.workers}


# --- consumers and hosts ------------------------------------------------------------------------------------------


def _consumers_killed(url: str) -> list[Row]:
    """Kill supervisors, and supervisors with all their workers, at random moments; others go on meanwhile."""
    waves = (
        ("consumer killed", "sleep", False),
        ("consumer killed", "lock", False),
        ("host killed", "sleep", True),
        ("host killed", "lock", True),
    )
    rows = []
    with Scene("consumer", url) as scene:
        healthy = {
            f"{way} {number}": scene.hold(f"{way} {number}", seconds, way)
            for number in range(SOME)
            for way, seconds in (("sleep", HOUR), ("lock", LOCKED))
        }
        scene.consumer(len(healthy))
        for key in healthy:
            scene.start(key)
        consumers = [scene.consumer() for _ in range(SOME)]
        for number, (what, way, is_host) in enumerate(waves):
            about = "keeps the GIL in a call in C" if way == "lock" else "takes an hour"
            seconds = _wave(scene, consumers, f"wave {number}", way, is_host=is_host)
            rows.append(_times(f"{what} under a job that {about}: started again", seconds, 20.0))
        for key, job in healthy.items():
            scene.let_end(key)
            job.result(NEVER)
        runs = scene.starts()
        for way, about in (("sleep", "all that time"), ("lock", f"{LOCKED:g} s with the GIL")):
            mine = [len(runs[key]) for key in healthy if key.startswith(way)]
            facts = {"run twice": sum(one > 1 for one in mine)}
            rows.append(_counts(f"healthy jobs that ran {about} beside that", len(mine), facts))
    return rows


def _wave(scene: Scene, consumers: list[Kept], name: str, way: str, *, is_host: bool) -> list[float]:
    """Run a job in each consumer, kill one after the other, and return the seconds until the jobs started again."""
    jobs = {f"{name} {number}": scene.hold(f"{name} {number}", HOUR, way) for number in range(len(consumers))}
    pids = {key: scene.start(key).pid for key in jobs}
    killed = {}
    for key, pid in pids.items():
        time.sleep(_chance.uniform(0.0, 0.8))
        consumer = next(one for one in consumers if pid in one.children())
        killed[key] = _kill(consumer, is_host=is_host)
        scene.let_end(key)
        consumer.start()
    seconds = [scene.start(key, 2).at - killed[key] for key in jobs]
    for job in jobs.values():
        job.result(NEVER)
    return seconds


def _kill(consumer: Kept, *, is_host: bool) -> float:
    """Send SIGKILL to a supervisor, and to all of its processes at the same time if so; return when."""
    pids = [consumer.pid, *(consumer.children() if is_host else [])]
    at = time.monotonic()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the kernel ends workers with their supervisor
            os.kill(pid, signal.SIGKILL)
    wait_for(consumer.has_ended)
    return at


# --- consumers that leave -----------------------------------------------------------------------------------------


def _rolled_out(url: str) -> list[Row]:
    """Roll a consumer out again and again, each time before its one job of ten minutes can end."""
    seconds = []
    with Scene("roll-out", url) as scene:
        consumer = scene.consumer()
        job = scene.hold("long", TEN_MINUTES)
        for number in range(1, MANY + 1):
            scene.start("long", number)
            time.sleep(_chance.uniform(0.0, 0.5))
            os.kill(consumer.pid, signal.SIGTERM)
            time.sleep(_chance.uniform(0.3, 1.5))
            at = _kill(consumer, is_host=True)
            consumer.start()
            seconds.append(scene.start("long", number + 1).at - at)
        status, blamed = job.status(), scene.crashes(job)
        scene.let_end("long")
        job.result(NEVER)
        count = scene.queue.count()
    facts = {
        "lost": status != "running",
        "crashes": blamed,
        "dead": count.dead,
        "unbalanced": count.imbalance,
    }
    return [
        _times(
            "roll-out with SIGKILL after a grace, under a job of ten minutes: started again", seconds, 20.0
        ),
        _counts("the same: that job, done in the end", len(seconds), facts),
    ]


def _left(url: str) -> list[Row]:
    """Stop consumers under load, repeatedly, and check each accepted job."""
    seconds: list[float] = []
    with Scene("leaving", url, maxsize=500) as scene:
        load = Load(scene, LENGTHS)
        load.start()
        consumers = [scene.consumer(2) for _ in range(LEAVERS)]
        with ThreadPoolExecutor(LEAVERS) as pool:
            for times in pool.map(partial(_leave_again, scene, LEAVES // LEAVERS), consumers):
                seconds += times
        load.stop()
        wait_for(lambda: scene.queue.count().live == 0, NEVER)
        count, starts = scene.queue.count(), scene.starts()
        ends = [one.key for one in history.read(scene.folder).of(End) if one.how == "done"]
    facts = {
        "lost": len(set(load.accepted) - set(ends)),
        "run twice": sum(len(some) > 1 for some in starts.values()),
        "blamed": count.lapsed + count.dead,
        "unbalanced": count.imbalance + len(load.accepted) - count.finished,
    }
    what = f"consumers that leave under a load of {len(load.accepted):,} jobs"
    exits = f"exit {statistics.median(seconds):.2f} s, at most {max(seconds):.2f}"
    return [_counts(f"{what} ({exits})", len(seconds), facts)]


def _leave_again(scene: Scene, times: int, consumer: Kept) -> list[float]:
    """Stop a consumer whenever it works, start it again, and return the seconds that stopping took."""
    seconds = []
    for _ in range(times):
        wait_for(lambda: any((scene.folder / f"{pid}.events").exists() for pid in consumer.children()), NEVER)
        time.sleep(_chance.uniform(0.0, 0.5))
        at = time.monotonic()
        consumer.signal(signal.SIGTERM)
        wait_for(consumer.has_ended, NEVER)
        assert consumer.status == 0, f"a consumer that left ended by {consumer.status}"
        seconds.append(time.monotonic() - at)
        consumer.start()
    return seconds


# --- servers ------------------------------------------------------------------------------------------------------


def _server_restarted(binary: str) -> list[Row]:
    """Restart a server with its file, in good order and by SIGKILL in turn."""
    seconds = []
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
        server = Server(binary, Path(folder), DURABLE)
        server.start()
        try:
            with Scene("restart", server.url, maxsize=50) as scene:
                scene.consumer()
                load = Load(scene, (0.02,))
                load.start()
                for number in range(SOME):
                    time.sleep(_chance.uniform(0.5, 1.0))
                    held = scene.held()
                    server.end((signal.SIGKILL, signal.SIGTERM)[number % 2])
                    time.sleep(_chance.uniform(0.0, 2.5))
                    server.start()
                    at = time.monotonic()
                    seconds.append(scene.start_after(at, held).at - at)
                load.stop()
        finally:
            server.end()
    return [_times("server killed or stopped, and restarted: a job started", seconds, 1.0)]


def _failed_over(binary: str) -> list[Row]:
    """Kill the primary under a sentinel, which promotes the replica."""
    seconds = []
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
        pair = Pair(binary, Path(folder))
        try:
            pair.start()
            with Scene(
                "failover", f"sentinel://127.0.0.1:{pair.sentinel.port}/{SERVICE}", maxsize=50
            ) as scene:
                scene.consumer()
                load = Load(scene, (0.02,))
                load.start()
                for _ in range(SOME):
                    scene.start_after(time.monotonic(), set())
                    held = scene.held()
                    pair.kill_primary()
                    at = time.monotonic()
                    seconds.append(scene.start_after(at, held).at - at)
                    pair.follow()
                load.stop()
        finally:
            pair.end()
    return [_times("primary killed, replica promoted by a sentinel: a job started", seconds, 5.0)]


# --- all of it ----------------------------------------------------------------------------------------------------


def measure(client: Client) -> list[Row]:
    """Return a row for each scenario: its count, median and maximum, the bound, and whether it was met."""
    binary = str(client.run(fitness.info("server"))["executable"])
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder, ThreadPoolExecutor() as pool:
        os.environ[history.FOLDER] = folder
        rolled = pool.submit(_tried, _rolled_out, client.url)
        killed = pool.submit(_tried, _consumers_killed, client.url)
        rows = _tried(_failed_over, binary) + killed.result()
        rows += _tried(_workers_killed, client.url) + _tried(_server_restarted, binary)
        rows += _tried(_killed_by_order, client.url) + _tried(_killed_by_command, client.url)
        rows += _tried(_left, client.url)
        return rows + rolled.result()


def _tried(scenario: Callable[[str], list[Row]], where: str) -> list[Row]:
    """Return a scenario's rows; one that breaks off must not take along what the others have found."""
    try:
        return scenario(where)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is in the table
        return [Row(f"{scenario.__name__}: broken off", repr(error), "NOT MET")]


def _times(what: str, seconds: list[float], bound: float) -> Row:
    worst = max(seconds)
    value = f"median {statistics.median(seconds):.2f}, max {worst:.2f}"
    return Row(f"{what}, s ({len(seconds)} times)", value, _met(worst <= bound), f"{bound:g} at most")


def _counts(what: str, times: int, facts: dict[str, int]) -> Row:
    value = ", ".join(f"{count:d} {name}" for name, count in facts.items())
    return Row(f"{what} ({times} times)", value, _met(not any(facts.values())), "0")


def _met(is_met: bool) -> str:  # noqa: FBT001 - it is all there is
    return "met" if is_met else "NOT MET"
