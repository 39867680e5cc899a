"""A whole run: stages, faults at random moments from a seed, and the recorded history."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from conveyor.consumer.settings import LEASE
from conveyor.errors import ConveyorError, StoreError
from conveyor.store import Client, fitness
from conveyor.store.address import shown
from conveyor.torture import history, report
from conveyor.torture.faults import FAULTS, Fault, Missing
from conveyor.torture.history import note
from conveyor.torture.judge import BOUND, Record, judge
from conveyor.torture.load import Lane, Workers
from conveyor.torture.stage import Effect, OwnStage, Stage, WatchedStage, YourStage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAUSE = (0.1, 0.9)  # seconds between two faults of a group
_RENEWAL_TIME = 1.0  # more seconds after a fault of server or network: time to renew a lease before the next
_PATIENCE = 4.0  # seconds that the next fault waits for a slow one
_MAX_ACTIVE = 32  # active faults of a group
#: Lanes of a run; the watched one is on a separate stage.
LANES = ("mixed", "shared", "order", "items", "long", "flow", "watched")
_MIN_FOR_LONG_JOBS = 30.0  # min seconds of a run that has a lane of long jobs
_TICK, _STALL = 0.5, 2.0  # seconds between two readings of the clock, and by which one may be late
#: Suffix of the name of a fault that another one interrupted.
CUT_SHORT = ", cut short"
#: Name in the history of a time in which the machine stood still.
STALLED = "the machine was too busy"
#: Name in the history of a server that is gone for good.
UNANSWERED = "the server did not reply at the end"


class Plan(NamedTuple):
    """The options of a run."""

    seconds: float
    seed: str
    binary: str = ""
    """The server's program; empty if `url` names a server."""
    url: str = ""
    rate: float = 900.0
    """Max jobs per second of all producers together."""
    only: tuple[str, ...] = ()
    """Names of faults; empty for all."""
    lanes: tuple[str, ...] = ()
    """Names of lanes, of LANES; empty for all."""
    keep: Path | None = None
    """The folder to copy the history and all logs to."""
    durability: str = "memory"
    """Level of durability of jobs put to the server that `url` names."""


class Injector:
    """Injects one group of faults into a stage, one after the other, until `over` is set; then undoes them."""

    def __init__(self, stage: Stage, table: list[Fault], seed: str, over: threading.Event) -> None:
        self._stage, self._table, self._seed, self._over = stage, table, seed, over
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Draw faults from a deck in which each appears as often as its weight.

        Raises errors of the bench itself once all faults are undone.
        """
        active: list[Future[None]] = []
        with ThreadPoolExecutor(_MAX_ACTIVE) as pool:
            while not self._over.is_set():
                for fault in self._deck():
                    if self._over.wait(self._chance.uniform(*_PAUSE)):
                        break
                    chance = random.Random(f"{self._seed} {len(active) + 1}")
                    active.append(pool.submit(self._inject_and_note, fault, chance))
                    wait(active[-1:], _PATIENCE)
                    if fault.is_outside:
                        self._over.wait(_RENEWAL_TIME)
        for one in active:
            one.result()

    def _deck(self) -> list[Fault]:
        deck = [
            one
            for one in self._table
            for _ in range(int(one.weight) + (self._chance.random() < one.weight % 1))
        ]
        self._chance.shuffle(deck)
        return deck

    def _inject_and_note(self, fault: Fault, chance: random.Random) -> None:
        began = time.monotonic()
        name, pids = fault.name, list[int]()
        # Now, since an id may be that of another process later.
        lanes = {one.pid: one.queue for one in self._stage.kept}
        try:
            pids = self._inject(fault, chance)
        except Missing:
            return
        except (ConveyorError, OSError):
            name += CUT_SHORT  # by another fault, perhaps after a part of this one
        affected = {lanes[pid] for pid in pids if pid in lanes}
        lane = affected.pop() if len(affected) == 1 else ""
        now, stage = time.monotonic(), self._stage.name
        note(history.Fault(began, now, name, pids, sorted(fault.effects), stage, lane))

    def _inject(self, fault: Fault, chance: random.Random) -> list[int]:
        """Inject a fault, undo it after a while, and return the ids of the affected processes."""
        steps = fault.steps(self._stage, chance)
        pids = next(steps)
        self._over.wait(chance.uniform(*fault.lasts))
        next(steps, None)
        return pids


def watch_clock(over: threading.Event) -> None:
    """Note when this machine was too busy to run this thread, and thus to renew leases in time."""
    before = time.monotonic()
    while not over.wait(_TICK):
        now = time.monotonic()
        if now - before > _TICK + _STALL:
            note(history.Fault(before, now + LEASE, STALLED, [], [Effect.LEASE, Effect.ORDER], ""))
        before = now


def stages_of(plan: Plan, folder: Path) -> Iterator[Stage]:
    """Yield the stages of a run, with their servers."""
    name = f"torture-{plan.seed}-{'yours' if plan.url else 'own'}"
    mixed = Lane(
        f"{name}-mixed", "mixed", 400, producers=2, rate=plan.rate / 3, consumers=(Workers(6), Workers(4))
    )
    crews = Workers(8, "thread"), Workers(16, "coroutine")
    shared = Lane(f"{name}-shared", "shared", 400, producers=1, rate=plan.rate / 6, consumers=crews)
    order = Lane(f"{name}-order", "order", 100, producers=1, rate=plan.rate / 6, consumers=(Workers(1),))
    items = Lane(f"{name}-items", "items", 10, producers=3, rate=30.0, takers=2)
    long = Lane(f"{name}-long", "long", 400, producers=1, rate=1.0, consumers=(Workers(3),), max_pending=3)
    workers = Workers(2), Workers(2)
    following = Lane(f"{name}-next", "flow", 400, producers=0, rate=0.0, consumers=workers)
    flow = following._replace(queue=f"{name}-flow", producers=2, rate=plan.rate / 20, next=following.queue)
    wanted = plan.lanes or (LANES if plan.seconds >= _MIN_FOR_LONG_JOBS else tuple(set(LANES) - {"long"}))
    level = plan.durability if plan.url else "fsync"
    lanes = [mixed, shared, order, items, long, flow, following]
    lanes = [one._replace(durability=level) for one in lanes if one.role in wanted]
    if plan.url:
        yield YourStage(folder / "yours", plan.url, lanes, plan.seed)
        return
    if lanes:
        yield OwnStage(folder / "own", plan.binary, lanes, plan.seed)
    if "watched" in wanted:
        queue, level = f"torture-{plan.seed}-watched-mixed", "replicated:1"
        fewer = Lane(
            queue, "mixed", 400, 1, plan.rate / 6, consumers=(Workers(2), Workers(2)), durability=level
        )
        yield WatchedStage(folder / "watched", plan.binary, [fewer], plan.seed)


def report_on(plan: Plan, replay: str) -> int:
    """Run it all and print the report, which ends with the command that repeats the run.

    Returns 1 if a promise was broken, or if the server accepted nothing, else 0.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends everything that was started
    place, version = shown(plan.url) if plan.url else plan.binary, version_of(plan)
    print(f"seed {plan.seed}, {plan.seconds:g} s of faults, {place}", flush=True)
    # A short name, since it holds sockets.
    with tempfile.TemporaryDirectory(prefix="torture", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            seen = run(plan, folder)
        finally:
            if plan.keep:
                shutil.copytree(
                    folder, plan.keep, ignore=shutil.ignore_patterns("disk", "s"), dirs_exist_ok=True
                )
    record = Record(seen)
    verdicts = judge(record)
    for line in report.lines(record, verdicts, version, replay):
        print(line)
    return int(any(one.broken for one in verdicts) or not seen.of(history.Accepted))


def version_of(plan: Plan) -> str:
    """Return name and version of the server."""
    if plan.binary:
        words = [plan.binary, "--version"]
        return subprocess.run(words, capture_output=True, check=False, text=True).stdout.partition(" sha=")[0]
    facts = Client(plan.url).run(fitness.info("server"))
    return f"{facts.get('server_name', 'redis')} {facts.get('valkey_version') or facts.get('redis_version')}"


def run(plan: Plan, folder: Path) -> history.History:
    """Run it all in an empty folder with a short name, since it holds sockets, and return the history."""
    notes = folder / "history"
    notes.mkdir(parents=True)
    os.environ[history.FOLDER] = str(notes)
    stages: list[Stage] = []
    over = threading.Event()
    clock = threading.Thread(target=watch_clock, args=(over,), name="clock")
    clock.start()
    try:
        for stage in stages_of(plan, folder):
            stages.append(stage)
            stage.start()
        _inject_faults(stages, plan)
        _together([partial(_settle, stage) for stage in stages])
    finally:
        _together([stage.close for stage in stages])
        over.set()
        clock.join()
    return history.read(notes)


def _settle(stage: Stage) -> None:
    """Wait until all queues are settled. If the server is gone for good, note that none is."""
    try:
        stage.settle(BOUND)
    except (StoreError, TimeoutError):
        now = time.monotonic()
        note(history.Fault(now, now, UNANSWERED, [], [], stage.name))
        note(*(history.Closed(now, one.queue, 0, 0, 0, 0, None, None) for one in stage.lanes))


def _inject_faults(stages: list[Stage], plan: Plan) -> None:
    """Inject the faults of the plan that each stage supports: at the same time one from outside and one other."""
    over = threading.Event()
    chosen = [one for one in FAULTS.values() if not plan.only or one.name in plan.only]
    injectors = []
    for stage, outside in itertools.product(stages, (False, True)):
        if table := [one for one in chosen if one.needs <= stage.has and one.is_outside == outside]:
            injectors.append(Injector(stage, table, f"{plan.seed} {stage.name} {outside}", over))
    with ThreadPoolExecutor(max(1, len(injectors))) as pool:
        running = [pool.submit(one.run) for one in injectors]
        try:
            time.sleep(plan.seconds)
        finally:
            over.set()
    for one in running:
        one.result()


def _together(calls: list[Callable[[], object]]) -> None:
    """Make concurrent calls and wait for all. Raises the first error."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        for one in [pool.submit(call) for call in calls]:
            one.result()
