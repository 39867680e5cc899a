"""The load: the jobs of producers, the tasks, and their expected outcomes.

`python -m conveyor.torture.load FILE` is one producer, or one taker of plain items.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import random
import resource
import signal
import sys
import time
import zlib
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor import Job, JobEnd, Limit, Queue, Unique, current_job, current_jobs, task
from conveyor.consumer.settings import Kind as WorkerKind  # noqa: TC001 - msgspec decodes it
from conveyor.errors import (
    ConveyorError,
    DurabilityUnknown,
    Empty,
    JobCancelled,
    JobGone,
    JobLost,
    LeaseLost,
    StoreError,
)
from conveyor.inbox import LOST_QUEUE
from conveyor.torture.history import Accepted, End, LossSeen, Outcome, Put, Start, Step, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.tasks import Task

#: Seconds that outcomes are kept: longer than any outage of a producer, and much shorter than a long run, whose server
#: must not grow.
KEEP = 180.0
#: Seconds after which the time limit ends a hanging task.
TIME_LIMIT = 1.0
#: The environment variable that names the folder of a small disk to fill.
SCRATCH = "CONVEYOR_TORTURE_SCRATCH"
#: The environment variable that names the queue of a consumer, if its jobs include those of a schedule.
SCHEDULED = "CONVEYOR_TORTURE_SCHEDULED"
_MIB = 1 << 20
#: How many of its latest outcomes a producer queries again, and every how many seconds: they must be unchanged.
_REPEATED_QUERIES, _REPEAT_INTERVAL = 500, 20.0
#: The share of replicated jobs that a producer drops: it would put others again, so that no loss could be seen.
_DROPPED = 0.5
#: How many runs of a job that is retried fail.
_FAILING = 2
#: Max starts of the limited rate, and within how many seconds; and the number of unique keys.
_STARTS, _PERIOD, _UNIQUE_KEYS = 15, 0.5, 3


# --- tasks --------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """An effect of a job on its worker, and its expected end."""

    do: Callable[[], None]
    ends: str = "done"
    """The only state that it may end in, unless it is cancelled."""
    ends_worker: bool = False
    """True if its worker does not survive it."""


class Spoiled(Exception):
    """An error that tasks raise on purpose."""


def nothing() -> None:
    """Do no harm."""


def raise_error() -> None:
    """Fail."""
    raise Spoiled


def raise_at_first() -> None:
    """Fail twice; a job of this kind has retries."""
    if current_job().attempt <= _FAILING:
        raise Spoiled


def take_steps() -> None:
    """Do three steps, and fail after the first and after the second; a job of this kind has retries."""
    job = current_job()
    for number in range(1, _FAILING + 2):
        job.step(str(number), take_step, number)
        note(Step(time.monotonic(), job.id, number, job.token, kept=True))
        if number == job.attempt <= _FAILING:
            raise Spoiled


def take_step(number: int) -> None:
    """Note that a step is done."""
    job = current_job()
    note(Step(time.monotonic(), job.id, number, job.token))
    time.sleep(0.003)


def crash() -> None:
    """End the worker by a segmentation fault."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGSEGV})  # a real one cannot be blocked
    signal.raise_signal(signal.SIGSEGV)  # to this thread; one to the process may come when the next job runs


def exit_process() -> None:
    """End the worker as C code may, without any cleanup by Python."""
    os._exit(3)


def hang_in_c() -> None:
    """Sleep in C with the GIL held and all signals blocked; the time limit ends the worker."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(3600)


def fork() -> None:
    """Leave a child process for a moment."""
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)


def change_signals() -> None:
    """Ignore and block the signals of a worker."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def close_files() -> None:
    """Close all files except the standard streams."""
    os.closerange(3, 1024)


def fill(place: Path) -> None:
    """Write a file until its disk is full."""
    with contextlib.suppress(OSError), place.open("wb") as file:
        while True:
            file.write(bytes(_MIB))


def fill_disk() -> None:
    """Fill the server's small disk for a moment, if there is one."""
    folder = os.environ.get(SCRATCH)
    if not folder:
        return
    place = Path(folder, f"filled-by-task-{os.getpid()}")
    try:
        fill(place)
        time.sleep(0.1)
    finally:
        place.unlink(missing_ok=True)


KINDS = {
    "works": Kind(nothing),
    "retried": Kind(raise_at_first),
    "steps": Kind(take_steps),
    "raises": Kind(raise_error, "failed"),
    "crashes": Kind(crash, "lost", ends_worker=True),
    "exits": Kind(exit_process, "lost", ends_worker=True),
    "hangs": Kind(hang_in_c, "failed", ends_worker=True),
    "forks": Kind(fork),
    "changes signals": Kind(change_signals),
    "closes files": Kind(close_files),
    "fills the disk": Kind(fill_disk),
    "item": Kind(nothing),  # taken with `get`; no task runs
    "hook": Kind(nothing),  # put by the server, as are the next ones; the first run notes the put
    "instant": Kind(nothing),
}
_HARMLESS = {"works", "retried", "steps", "fills the disk", "item", "hook", "instant"}
HOSTILE = [name for name in KINDS if name not in _HARMLESS]
#: What a job must not do to a process that it shares with others.
UNSHARED = {"changes signals", "closes files"}


@task(name="torture", keep=KEEP)
def work(key: str, kind: str, seconds: float, payload: bytes) -> str:
    """Note the start, sleep for some seconds, act as the kind requires, and note the end."""
    with noted(key):
        if seconds:
            time.sleep(seconds)
        KINDS[kind].do()
    return value_of(key, payload)


@task(name="torture-async", keep=KEEP)
async def work_async(key: str, kind: str, seconds: float, payload: bytes) -> str:
    """Do the same in an event loop."""
    with noted(key):
        if seconds:
            await asyncio.sleep(seconds)
        KINDS[kind].do()
    return value_of(key, payload)


@task(name="torture-batch", keep=KEEP, batch=8, wait=0.05)  # type: ignore[arg-type]
def work_batch(
    keys: list[str], kinds: list[str], seconds: list[float], payloads: list[bytes]
) -> list[str | Spoiled]:
    """Do the same for several jobs, each with a result or an error of its own."""
    jobs, pid, now = current_jobs(), os.getpid(), time.monotonic()
    named = [*zip(keys, jobs, strict=True)]
    note(*[Start(now, key, job.id, job.token, pid, job.attempt) for key, job in named])
    hows = ["done"] * len(keys)
    try:
        time.sleep(sum(seconds))
        for place, (job, kind) in enumerate(zip(jobs, kinds, strict=True)):
            if kind == "raises" or (kind == "retried" and job.attempt <= _FAILING):
                hows[place] = Spoiled.__name__
    except BaseException as error:
        hows = [type(error).__name__] * len(keys)
        raise
    finally:
        now = time.monotonic()
        note(*[End(now, key, job.token, pid, how) for (key, job), how in zip(named, hows, strict=True)])
    done = zip(hows, keys, payloads, strict=True)
    return [value_of(key, data) if how == "done" else Spoiled() for how, key, data in done]


@task(name="torture-hook", keep=KEEP)
def follow_end(end: JobEnd) -> None:
    """Note that this job, a hook, was put when another one ended."""
    with noted_put("hook", f"{end.id} {end.state}"):
        pass


@task(name="torture-instant", keep=KEEP, queue=os.environ.get(SCHEDULED) or "torture", every=1, missed="all")
def mark_instant() -> None:
    """Note that this job was put by a schedule."""
    with noted_put("instant"):
        pass


def noted_put(kind: str, value: str = "") -> contextlib.AbstractContextManager[None]:
    """Note the put of a job that no producer has put, in each of its runs, and note start and end of the run."""
    job = current_job()
    put_at = time.monotonic() - max(0.0, time.time() - job.put_at)  # that of a hook is when its job was put
    note(Put(put_at, job.id, job.queue, kind, value))
    return noted(job.id)


def value_of(key: str, payload: bytes) -> str:
    """Return the return value of the task for these arguments."""
    return f"{key}/{zlib.crc32(payload)}"


@contextlib.contextmanager
def noted(key: str) -> Iterator[None]:
    """Note the start and the end of a job that has this name in the history."""
    job, pid = current_job(), os.getpid()
    note(Start(time.monotonic(), key, job.id, job.token, pid, job.attempt))
    how = "done"
    try:
        yield
    except BaseException as error:
        how = type(error).__name__
        raise
    finally:
        if os.getpid() == pid:
            note(End(time.monotonic(), key, job.token, pid, how))


# --- jobs ---------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Jobs that are put together, and their common options."""

    calls: list[tuple[str, float, bytes]]
    """The kind, seconds and payload of each."""
    options: dict[str, Any]
    task: Task[..., Any] = work
    follows: bool = False
    """True if they come after the jobs of the batch before."""


def mixed(chance: random.Random) -> Batch:
    """Return the next jobs of the mixed lane."""
    recipes, weights = zip(*_RECIPES, strict=True)
    batch: Batch = chance.choices(recipes, weights)[0](chance)
    if chance.random() < 0.15:  # noqa: PLR2004
        batch.options["priority"] = chance.choice((1, 7, 255))
    return batch


def _tiny(_: random.Random) -> Batch:
    """Return a burst of empty jobs with a few longer ones: they are claimed in batches, which must be given up."""
    return Batch([("works", 0.0, b"")] * 150 + [("works", 0.18, b"")] * 4, {})


def _short(chance: random.Random) -> Batch:
    return Batch([("works", chance.choice((0.0, 0.003, 0.02, 0.2)), b"") for _ in range(20)], {})


def _long(chance: random.Random) -> Batch:
    return Batch([("works", chance.uniform(2.0, 6.0), b"")], {})


def _large(chance: random.Random) -> Batch:
    return Batch(
        [("works", 0.003, chance.randbytes(chance.choice((1_000, 30_000, 300_000)))) for _ in range(4)], {}
    )


def _delayed(chance: random.Random) -> Batch:
    return Batch([("works", 0.003, b"")] * 5, {"delay": chance.uniform(0.05, 2.0)})


def _retried(_: random.Random) -> Batch:
    return Batch([("retried", 0.003, b"")] * 3, {"retries": 5, "first_delay": 0.05})


def _hostile(chance: random.Random) -> Batch:
    kind = chance.choice(HOSTILE)
    return Batch([(kind, 0.0, b"")], {"timeout": TIME_LIMIT} if kind == "hangs" else {})


def _filling(_: random.Random) -> Batch:
    return Batch([("fills the disk", 0.0, b"")], {})


_RECIPES = (
    (_tiny, 20), (_short, 30), (_long, 4), (_large, 8), (_delayed, 10), (_retried, 6), (_hostile, 8), (_filling, 0.3),
)  # fmt: skip


def shared(chance: random.Random) -> Batch:
    """Return the next jobs of the lane whose workers share processes; half of them run in event loops."""
    batch = mixed(chance)
    calls = [("works" if kind in UNSHARED else kind, seconds, data) for kind, seconds, data in batch.calls]
    return batch._replace(calls=calls, task=chance.choice((work, work_async)))


def in_order(chance: random.Random) -> Batch:
    """Return the next jobs of the lane in which the order of first starts is judged; a fifth is urgent."""
    lengths = [0.0, 0.003, 0.02] * 10
    chance.shuffle(lengths)
    return Batch([("works", one, b"") for one in lengths], {"priority": chance.choice((0, 0, 0, 0, 7))})


def long_only(chance: random.Random) -> Batch:
    """Return the next job of the lane of long jobs, which many roll-outs hit."""
    return Batch([("works", chance.uniform(6.0, 8.0), b"")], {})


def with_terms(chance: random.Random) -> Batch:
    """Return the next jobs of the lane of terms; some are retried, and some batches fail."""
    key = chance.choice(("", "", "one", "three", "in order", "rate", "unique"))
    made = chance.choice((work, work, work_batch)) if key != "unique" else work
    kinds = ["works", "works", "works", "retried"]
    if not key and made is work:
        kinds += ["steps"] * 4  # each needs the server several times, and would hold a limit up
    fails = chance.random() < 0.1  # noqa: PLR2004
    most = 5 if key in {"one", "in order"} else 20  # those run one by one
    count = chance.choice((1, 1, 5, most))
    some = ["raises" if fails else chance.choice(kinds) for _ in range(count)]
    options: dict[str, Any] = {"retries": 0 if fails else 5, "first_delay": 0.02, "when": "ended"}
    if key == "unique":
        name = f"key {chance.randrange(_UNIQUE_KEYS)}"
        options["unique"] = Unique(by=lambda *_: name)
    elif key == "rate":
        options["limit"] = Limit(name=key, starts=_STARTS, per=_PERIOD)
    elif key:
        options["limit"] = Limit(name=key, running=3 if key == "three" else 1, in_order=key == "in order")
    if chance.random() < 0.3:  # noqa: PLR2004
        options["on_success"] = options["on_failure"] = follow_end
    calls = [(kind, chance.choice((0.0, 0.003, 0.02)), b"") for kind in some]
    return Batch(calls, options, made, follows=chance.random() < 0.5)  # noqa: PLR2004


RECIPES = {"mixed": mixed, "shared": shared, "order": in_order, "long": long_only, "flow": with_terms}


# --- processes ----------------------------------------------------------------------------------------------------


class Workers(NamedTuple):
    """The workers of one consumer."""

    number: int
    kind: WorkerKind = "process"


class Lane(NamedTuple):
    """A queue, its producers and its consumers."""

    queue: str
    role: str
    """The jobs of its producers: a name of RECIPES, or items."""
    maxsize: int
    producers: int
    rate: float
    """Max jobs per second of each producer."""
    consumers: tuple[Workers, ...] = ()
    takers: int = 0
    """Processes that take plain items."""
    max_pending: int = 1_500
    """Max jobs without an outcome of each producer."""
    durability: str = "memory"
    """Level of durability of its puts."""
    next: str = ""
    """Another queue, which gets some of the jobs of its producers."""


class LoadSettings(msgspec.Struct):
    """The settings of a producer or a taker."""

    name: str
    """The same after each restart."""
    role: str
    """A name of RECIPES: puts such jobs; items: puts plain items; taker: takes those."""
    lane: Lane
    seed: str
    life: int
    """Number of previous processes of this name."""
    before: list[tuple[str, str, str]]
    """Key, id and queue of jobs that previous processes of this name put, without a received outcome."""
    leaving: bool
    """True if it puts nothing, and only waits for outcomes."""


class Producer:
    """A producer that records every reply about its jobs until SIGTERM, then waits for the rest."""

    def __init__(self, settings: LoadSettings) -> None:
        self.settings, self.lane = settings, settings.lane
        level = self.lane.durability
        self.queue = Queue(self.lane.queue, self.lane.maxsize, durability=level)
        self.queues = [self.queue]
        if self.lane.next:
            self.queues.append(Queue(self.lane.next, self.lane.maxsize, durability=level))
        self.chance = random.Random(f"{settings.seed} {settings.name} {settings.life}")
        self.waiting: dict[str, Job[Any]] = {}
        self.latest: deque[tuple[str, str, str]] = deque(maxlen=_REPEATED_QUERIES)
        self.batch: dict[str, Job[Any]] = {}
        """The jobs of the batch before, by their keys."""
        self.number = 0
        self.leaving = settings.leaving
        signal.signal(signal.SIGTERM, self._leave)

    def _leave(self, *_: object) -> None:
        self.leaving = True

    def run(self) -> None:
        """Produce until SIGTERM, then wait for all outcomes."""
        for key, *place in self.settings.before:
            self._follow(key, Job(*place, client=self.queue.client))
        recipe, due = RECIPES[self.settings.role], time.monotonic()
        query_at = due + _REPEAT_INTERVAL
        while not self.leaving:
            batch = recipe(self.chance)
            self._put(batch)
            if time.monotonic() > query_at:
                self._query_again()
                query_at = time.monotonic() + _REPEAT_INTERVAL
            due += len(batch.calls) / self.lane.rate  # catches up after a fault
            self._pause(until=due)
        while self.waiting:
            time.sleep(0.02)
        self._query_again()

    def _query_again(self) -> None:
        """Note the latest outcomes as the server has them now: they must be unchanged."""
        latest, self.latest = self.latest, deque(maxlen=_REPEATED_QUERIES)
        for key, *place in latest:
            if self.leaving and self.waiting:  # later, once all outcomes have arrived
                return
            with contextlib.suppress(StoreError):
                job = Job[Any](*place, client=self.queue.client)
                if job.done():
                    self._note_outcome(key, job, again=True)

    def _pause(self, until: float) -> None:
        while not self.leaving and (time.monotonic() < until or len(self.waiting) > self.lane.max_pending):
            time.sleep(0.01)

    def _put(self, batch: Batch) -> None:
        calls = [(self._key(), *call) for call in batch.calls]
        queue = self.chance.choice(self.queues) if len(self.queues) > 1 else self.queue
        now, lane, level = time.monotonic(), queue.name, self.lane.durability
        before = self.batch if batch.follows else {}
        common = terms_of(batch, [*before])
        puts = [(key, lane, kind, value_of(key, data)) for key, kind, _, data in calls]
        note(*[Put(now, *one, **common) for one in puts])
        held, confirmed = True, len(calls)
        try:
            options = {**batch.options, "after": [*before.values()]}
            if "on_success" in options:  # hooks of both queues, in both of them
                hook = follow_end.options(queue=self.chance.choice(self.queues).name)
                options["on_success"] = options["on_failure"] = hook
            jobs = queue.submit_many(batch.task.options(**options), calls)
        except JobGone:  # the server has lost the jobs before
            jobs = []
        except StoreError as error:  # it names the jobs that were put; the others are unknown
            held, confirmed = False, error.confirmed if isinstance(error, DurabilityUnknown) else 0
            jobs = [Job(one, lane, client=self.queue.client) for one in error.ids]
        if level.startswith("replicated") and self.chance.random() < _DROPPED:
            held = False
            for job in jobs:
                kept, place = job.kept
                if kept is not None:
                    kept.drop(place)
        now = time.monotonic()
        known = [(key, job) for (key, *_), job in zip(calls, jobs, strict=False)]
        self.batch = dict(known)
        levels = [level] * confirmed + ["memory"] * (len(calls) - confirmed)
        held = held and not common["unique"]  # another job may stand for it, or have its key after a loss
        note(*[Accepted(now, key, job.id, held, one) for (key, job), one in zip(known, levels, strict=False)])
        for key, job in known:
            self._follow(key, job)

    def _key(self) -> str:
        self.number += 1
        return f"{self.settings.name}.{os.getpid()}.{self.number}"

    def _follow(self, key: str, job: Job[Any]) -> None:
        self.waiting[key] = job
        with contextlib.suppress(StoreError):  # the inbox queries it again
            job.add_done_callback(lambda job: self._note_outcome(key, job))

    def _note_outcome(self, key: str, job: Job[Any], *, again: bool = False) -> None:
        try:
            state, value = "done", str(job.result(0))
        except JobCancelled:
            state, value = "cancelled", ""
        except JobLost as error:
            state, value = "lost", str(error)
        except ConveyorError as error:
            state, value = "gone" if isinstance(error, JobGone) else "failed", str(error)[:200]
        note(Outcome(time.monotonic(), key, state, value))
        if not again:
            self.latest.append((key, job.id, job.queue_name))
            self.waiting.pop(key, None)


def terms_of(batch: Batch, before: list[str]) -> dict[str, Any]:
    """Return what a `Put` says of the options of a batch, which comes after the jobs with these keys."""
    options = batch.options
    limit, unique = options.get("limit") or Limit(), options.get("unique")
    return {
        "delay": options.get("delay", 0.0),
        "priority": options.get("priority", 0),
        "limit": limit.name,
        "running": 1 if limit.in_order else limit.running,
        "before": before,
        "starts": limit.starts,
        "per": limit.seconds,
        "unique": unique.by() if unique else "",
        "has_hooks": "on_success" in options,
    }


class ItemProducer(Producer):
    """Puts plain items, one by one."""

    def run(self) -> None:
        """Put items until SIGTERM."""
        while not self.leaving:
            key, now = self._key(), time.monotonic()
            note(Put(now, key, self.lane.queue, "item", key))
            with contextlib.suppress(ConveyorError):
                self.queue.put(key, timeout=2.0)
                note(Accepted(time.monotonic(), key, "", level=self.lane.durability))
            self._pause(until=now + 1 / self.lane.rate)


class Taker(Producer):
    """Takes plain items, and marks each as processed."""

    def run(self) -> None:
        """Take items until SIGTERM."""
        while not self.leaving:
            try:
                self._process(self.queue.get(timeout=1.0))
            except (Empty, StoreError):
                continue

    def _process(self, key: str) -> None:
        note(Start(time.monotonic(), key, "", 0, os.getpid()))
        time.sleep(self.chance.choice((0.0, 0.005, 0.05)))
        note(End(time.monotonic(), key, 0, os.getpid(), "done"))
        while True:
            try:
                self.queue.task_done()
            except StoreError:  # it stays held, and the next call would settle it instead of the next item
                time.sleep(0.1)
            except LeaseLost:  # it went to another taker
                return
            else:
                note(Outcome(time.monotonic(), key, "done", key))
                return


ROLES: dict[str, type[Producer]] = {"items": ItemProducer, "taker": Taker}


def note_loss(lane: str, record: logging.LogRecord) -> bool:
    """Note a logged loss of a queue's data; a filter that passes all records."""
    if record.msg == LOST_QUEUE:
        note(LossSeen(time.monotonic(), lane))
    return True


def main() -> None:
    """Run with the settings in the file that the command line names."""
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=LoadSettings)
    logging.basicConfig(level=logging.INFO)
    logging.getLogger().handlers[0].addFilter(partial(note_loss, settings.lane.queue))
    ROLES.get(settings.role, Producer)(settings).run()


if __name__ == "__main__":
    main()
