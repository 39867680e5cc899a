"""A worker's unreported outcomes and counts, gathered to travel with its next claim."""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from conveyor import clock, events
from conveyor.store import commands, keys
from conveyor.store.commands import Settlement, settlement_of_failure
from conveyor.wire import ids
from conveyor.wire.call import KEEP, Call
from conveyor.wire.outcome import (
    Cancel,
    Done,
    Expire,
    Fail,
    Outcome,
    Release,
    Retry,
    Run,
    attempt_of,
    describe_text,
    encode_settled,
    note_of,
)
from conveyor.wire.statistics import BOUNDS, LETTERS, OTHER, write_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store.command import Command

#: Bytes of outcomes after which a batch settles its finished jobs. With one more, of a mebibyte at most, they must pass
#: a slow connection before their reply times out.
MAX_GATHERED = 1 << 17
#: Jobs of a batch that is settled in two parts; the first one while the worker runs the rest.
HALVED = 32
#: Finished jobs of a batch of which more is kept than the result; in a burst of tiny jobs it would be the main cost.
SAMPLED = 1
#: How a run that did not return is counted, by its outcome; a released run is not.
_COUNTED = {Fail: "failed", Retry: "retried", Cancel: "cancelled", Expire: "expired"}
#: The word of a run over its time limit.
TIMED_OUT = "timed out"
#: Seconds between two tallies of a busy worker.
TALLY_EVERY = 1.0
#: Runs of one task that are gathered before they are counted.
MAX_RUNS = 10_000
#: Characters of a task's name in a tally.
MAX_NAME = 200
#: Tasks in one command, which limits its work, and tasks that are counted separately at a time.
MAX_TOGETHER, MAX_TASKS = 20, 200

_BUCKETS = range(len(BOUNDS) + 1)
_NAMES = (
    *LETTERS.values(),
    *("R", *(f"R{bucket}" for bucket in _BUCKETS)),
    *("W", *(f"W{bucket}" for bucket in _BUCKETS)),
    *"MX",
)
_POSITIONS = {outcome: position for position, outcome in enumerate(LETTERS)}
_RUN_SUM, _WAIT_SUM, _MAX_RUN, _MAX_WAIT = map(_NAMES.index, "RWMX")
_RUNS, _WAITS = _RUN_SUM + 1, _WAIT_SUM + 1


class Settler:
    """Collects the outcomes of one batch after the other and turns them into commands.

    `preview` returns the arguments of a job as one line, or None before its task is known; it must not raise.
    """

    def __init__(
        self, worker: str, preview: Callable[[Call], str | None] = lambda _: "", tally: Tally | None = None
    ) -> None:
        self.worker = worker
        self.tally = tally or Tally(worker)
        self._preview = preview
        self._previewed: tuple[Call, str | None] | None = None
        self._queue = ""
        self._token = ""
        self._notes_left = self._half = float("inf")
        self._done: list[Settlement] = []
        self._others: list[Command] = []
        self._size = 0
        self._lock = threading.Lock()  # the batch monitor settles while the worker is in a long job

    def preview(self, job: Call) -> str | None:
        """Return the arguments of a job as one line, or None before its task is known. Caches the last one."""
        known = self._previewed
        if known is None or known[0] is not job or known[1] is None:
            known = self._previewed = (job, self._preview(job))
        return known[1]

    def begin(self, queue: str, token: str, count: int) -> None:
        """Begin a batch of `count` jobs; the previous one has been turned into commands."""
        with self._lock:
            self._queue = queue
            self._token = token
            self._notes_left = SAMPLED if count > 1 else float("inf")
            self._half = count // 2 if count >= HALVED else float("inf")

    def add(self, job_id: str, job: Call | None, outcome: Outcome, elapsed: float, tries: int) -> None:
        """Add the outcome of a job that was started `tries` times before."""
        keep = job.options.keep if job is not None else KEEP
        if type(outcome) is Done:
            note, run = b"", None
            if self._notes_left > 0:
                self._notes_left -= 1
                run = self._run(job, elapsed, tries)
                note = note_of(job_id, "done", run, elapsed)
            settlement = Settlement(job_id, encode_settled("done", outcome.value, elapsed, run), keep, note)
            with self._lock:
                self._done.append(settlement)
                self._size += len(settlement.outcome)
                self._count(job, "succeeded", elapsed, tries)
            return
        command = self._command(job_id, outcome, self._run(job, elapsed, tries), elapsed, keep)
        with self._lock:
            self._others.append(command)
            self._size += sum(len(word) for word in command.words if isinstance(word, bytes))
            self._count(job, _counted(outcome), elapsed, tries)

    def release(self, ids: Sequence[str]) -> None:
        """Release jobs that were not started."""
        with self._lock:
            self._others.append(commands.release(self._queue, self._token, ids))

    @property
    def has_enough(self) -> bool:
        """True if so much has gathered that it should be sent before the end of the batch."""
        return len(self._done) >= self._half or self.is_much

    @property
    def is_much(self) -> bool:
        """True if these are so many bytes that no more may be sent before their reply."""
        return self._size >= MAX_GATHERED

    def commands(self, *, counted: bool = True) -> list[Command]:
        """Return the gathered commands, once; without `counted` only those that settle jobs."""
        with self._lock:  # so queue and token are still those of the finished jobs
            done, others = self._done, self._others
            self._done, self._others, self._size = [], [], 0
            others += self.tally.commands() if counted else []
            return [commands.finish(self._queue, self._token, done), *others] if done else others

    def tallies(self) -> list[Command]:
        """Return the counts before a rest, again and again until they are confirmed."""
        with self._lock:
            return self.tally.commands(resting=True)

    def settled(self, sent: Sequence[Command], replies: Sequence[Any]) -> None:
        """Process the replies; reports jobs that finished after their lease had expired."""
        for command, reply in zip(sent, replies, strict=True):
            if is_tally(command):
                with self._lock:
                    self.tally.confirm(command)
            if command.script is not None and command.script.name == "finish":
                for job_id in reply:
                    events.emit(events.FinishedLate(self.worker, job_id))

    def _count(self, job: Call | None, counted: str | None, elapsed: float, tries: int) -> None:
        """Count a run by its outcome; None is not counted."""
        if counted is None:
            return
        if counted == "expired":
            self.tally.add_event(self._queue, "?" if job is None else job.task, counted)
            return
        if job is None:
            self.tally.add(self._queue, "?", counted, elapsed)
            return
        wait = None if tries else clock.wall() - elapsed - job.put_at
        self.tally.add(self._queue, job.task, counted, elapsed, wait)

    def _command(self, job_id: str, outcome: Outcome, run: Run, elapsed: float, keep: float) -> Command:
        queue, token = self._queue, self._token
        match outcome:
            case Fail(error, word):
                failed = settlement_of_failure(job_id, word, error, run, elapsed, keep)
                return commands.fail(queue, token, failed)
            case Retry(error, delay, word):
                note = note_of(job_id, word, run, elapsed)
                attempt = attempt_of(word, run, elapsed, error)
                return commands.retry(queue, token, job_id, delay, note, attempt)
            case Cancel():
                ended = encode_settled("cancelled", elapsed=elapsed, run=run)
                settlement = Settlement(job_id, ended, keep, note_of(job_id, "cancelled", run, elapsed))
                return commands.finish(queue, token, [settlement], counter="cancelled")
            case Expire(error):
                ended = encode_settled("expired", error, run=run)
                settlement = Settlement(job_id, ended, keep, note_of(job_id, "expired", run, elapsed))
                return commands.finish(queue, token, [settlement], counter="cancelled")
            case Release(reason, rest, whole_queue):
                error = describe_text("Throttle" if rest else "Returned", reason)
                attempt = attempt_of("given back", run, elapsed, error)
                if rest:
                    return commands.throttle(queue, token, job_id, rest, attempt, whole_queue=whole_queue)
                return commands.release(queue, token, [job_id], attempt)
        message = f"no command for {outcome!r}"
        raise AssertionError(message)

    def _run(self, job: Call | None, elapsed: float, tries: int) -> Run:
        started = round(clock.wall() - elapsed, 3)
        if job is None:
            return Run("?", "", started, self.worker, tries + 1)
        waited = 0.0 if tries else max(0.0, round(started - job.put_at, 3))
        return Run(job.task, self.preview(job) or "", started, self.worker, tries + 1, waited)


class Tally:
    """Counts runs by queue and task, and of all queues together. Not thread-safe.

    Sent counts stay here until `confirm`. Until then they are sent again under the same number, which the server counts
    once. A killed process loses the counts it has not sent: those of the last second at most.
    """

    def __init__(self, owner: str) -> None:
        self.owner = f"{owner}:{ids.unique(4)}"  # a replacement has the same name, and counts from the start
        self._number = 0
        self._counts: dict[str, dict[str, list[int]]] = {}
        self._runs: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}
        """By queue, task and outcome: seconds of runs, and those waited before first runs; counted once a second."""
        self._sent: dict[Command, None] = {}
        self._last = clock.monotonic()

    def add(self, queue: str, task: str, outcome: str, elapsed: float, wait: float | None = None) -> None:
        """Count a finished run: its outcome (a key of LETTERS), its seconds, and those waited before its first run."""
        runs = self._runs.get((queue, task, outcome))
        if runs is None:
            runs = self._runs[queue, task, outcome] = [], []
        runs[0].append(elapsed)
        if wait is not None:
            runs[1].append(wait)
        if len(runs[0]) >= MAX_RUNS:
            self._count()

    def _count(self) -> None:
        """Count the gathered runs: those of a burst at once, which takes a quarter of the time."""
        for (queue, task, outcome), (elapsed, waits) in self._runs.items():
            counts = self._counts_of(queue, task)
            counts[_POSITIONS[outcome]] += len(elapsed)
            _add_seconds(counts, elapsed, _RUN_SUM, _MAX_RUN, _RUNS)
            _add_seconds(counts, waits, _WAIT_SUM, _MAX_WAIT, _WAITS)
        self._runs = {}

    def add_event(self, queue: str, task: str, event: str) -> None:
        """Count an event without a run: a job that expired, or a worker that died during a run, which `add` counts."""
        self._counts_of(queue, task)[_POSITIONS[event]] += 1

    def commands(self, *, resting: bool = False) -> list[Command]:
        """Return the counts to send now: none before a second has passed, unless the process is about to rest."""
        if not self.is_owed or (not resting and clock.monotonic() - self._last < TALLY_EVERY):
            return []
        self._last = clock.monotonic()
        self._count()
        for queue, tasks in self._counts.items():
            every = [(task, _text(counts)) for task, counts in tasks.items()]
            for first in range(0, len(every), MAX_TOGETHER):
                self._add_command(queue, every[first : first + MAX_TOGETHER])
        if self._counts:
            self._add_command(keys.ALL_QUEUES, [("*", _text(self._sum()))])
        self._counts = {}
        return list(self._sent)

    @property
    def is_owed(self) -> bool:
        """True if there are counts that the server has not confirmed."""
        return bool(self._runs or self._counts or self._sent)

    def confirm(self, command: Command) -> None:
        """Forget counts that the server has received."""
        self._sent.pop(command, None)

    def _add_command(self, queue: str, figures: list[tuple[str, str]]) -> None:
        self._number += 1
        self._sent[commands.tally(queue, self.owner, self._number, None, figures)] = None

    def _sum(self) -> list[int]:
        """Return the counts of all queues together: pages read them in one query, however many queues there are."""
        every = [counts for tasks in self._counts.values() for counts in tasks.values()]
        columns = list(zip(*every, strict=True))
        sums = [sum(column) for column in columns]
        for position in (_MAX_RUN, _MAX_WAIT):
            sums[position] = max(columns[position])
        return sums

    def _counts_of(self, queue: str, task: str) -> list[int]:
        tasks = self._counts.setdefault(queue, {})
        task = task[:MAX_NAME]
        if task not in tasks and len(tasks) >= MAX_TASKS:
            task = OTHER
        return tasks.setdefault(task, [0] * len(_NAMES))


def _add_seconds(counts: list[int], seconds: list[float], total: int, longest: int, first: int) -> None:
    """Add seconds to a sum and a maximum in microseconds, and to the buckets from `first` on."""
    if not seconds:
        return
    most = max(seconds)
    if min(seconds) < 0.0:  # the producer's clock is ahead
        seconds = [max(0.0, one) for one in seconds]
    counts[total] += int(sum(seconds) * 1e6)
    counts[longest] = max(counts[longest], int(most * 1e6))
    if most <= BOUNDS[0]:  # as after a burst of tiny jobs
        counts[first] += len(seconds)
        return
    seconds.sort()
    before = 0
    for bucket, bound in enumerate((*BOUNDS, math.inf)):
        upto = bisect_right(seconds, bound)
        counts[first + bucket] += upto - before
        before = upto


def _counted(outcome: Outcome) -> str | None:
    if isinstance(outcome, Fail) and outcome.word == TIMED_OUT:
        return "timeout"
    return _COUNTED.get(type(outcome))


def is_tally(command: Command) -> bool:
    """Return True if a command only carries counts, which no one waits for."""
    return command.script is not None and command.script.name == "tally"


def is_claim(command: Command) -> bool:
    """Return True if a command claims jobs."""
    return command.script is not None and command.script.name == "claim"


def _text(counts: list[int]) -> str:
    found = dict(zip(_NAMES, counts, strict=True))
    return write_figures({"b": sum(counts[_RUNS:_WAIT_SUM]), **found})
