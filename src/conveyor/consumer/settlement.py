"""What a worker has done and must still tell the server, gathered so that it travels with the next claim."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from conveyor import clock, events
from conveyor.consumer.tally import Tally
from conveyor.store import commands
from conveyor.store.answers import settlement_of_failure
from conveyor.store.commands import Settlement
from conveyor.wire.call import KEEP, Call
from conveyor.wire.outcome import (
    Cancel,
    Done,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.store.commands import Command

#: Bytes of outcomes after which a batch settles what it has done: with one more, of a mebibyte at most, they must pass
#: a thin line while their reply is waited for.
ENOUGH = 1 << 17
#: Finishes of a batch of which more is kept than the result; in a flood of tiny jobs it would be the main cost.
SAMPLED = 1
#: What a run is counted as, by its outcome; one that is given back is none.
_COUNTED = {Done: "succeeded", Fail: "failed", Retry: "retried", Cancel: "cancelled"}


class Settler:
    """Collects outcomes of one batch after the other and turns them into commands.

    `preview` gives the arguments of a job as one line for people; it must not raise.
    """

    def __init__(self, worker: str, preview: Callable[[Call], str | None] = lambda _: "") -> None:
        self.worker = worker
        self._preview = preview
        self._previewed: tuple[Call, str | None] | None = None
        self.tally = Tally(worker)
        self._queue = ""
        self._token = ""
        self._sampled = False
        self._done: list[Settlement] = []
        self._others: list[Command] = []
        self._notes = 0
        self._size = 0
        self._lock = threading.Lock()  # the lookout tells what is done while the worker is in a long job

    def preview(self, job: Call) -> str | None:
        """Return the arguments of a job as one line for people, None before its task is known.

        It is made once for one that is asked about twice.
        """
        known = self._previewed
        if known is None or known[0] is not job or known[1] is None:
            known = self._previewed = (job, self._preview(job))
        return known[1]

    def begin(self, queue: str, token: str, *, sampled: bool) -> None:
        """Begin a batch; the one before has been turned into commands."""
        with self._lock:
            self._queue = queue
            self._token = token
            self._sampled = sampled
            self._notes = 0

    def add(self, job_id: str, job: Call | None, outcome: Outcome, elapsed: float, tries: int) -> None:
        """Take in what came of a job that was begun `tries` times before."""
        keep = job.options.keep if job is not None else KEEP
        if type(outcome) is Done:
            note, run = b"", None
            if not self._sampled or self._notes < SAMPLED:
                self._notes += 1
                run = self._run(job, elapsed, tries)
                note = note_of(job_id, "done", run, elapsed)
            settlement = Settlement(job_id, encode_settled("done", outcome.value, elapsed, run), keep, note)
            with self._lock:
                self._done.append(settlement)
                self._size += len(settlement.outcome)
                self._count(job, outcome, elapsed, tries)
            return
        command = self._command(job_id, outcome, self._run(job, elapsed, tries), elapsed, keep)
        with self._lock:
            self._others.append(command)
            self._size += sum(len(word) for word in command.words if isinstance(word, bytes))
            self._count(job, outcome, elapsed, tries)

    def release(self, ids: Sequence[str]) -> None:
        """Give back jobs that were not started."""
        with self._lock:
            self._others.append(commands.release(self._queue, self._token, ids))

    @property
    def has_enough(self) -> bool:
        """True if so many bytes have gathered that they are better told before the batch is over."""
        return self._size >= ENOUGH

    def commands(self, *, counted: bool = True) -> list[Command]:
        """Give what must be told, and forget it; without `counted` only what settles jobs."""
        with (
            self._lock
        ):  # queue and token are those of what is done: the next batch begins only after it was taken
            done, others = self._done, self._others
            self._done, self._others, self._size = [], [], 0
            others += self.tally.commands() if counted else []
            return [commands.finish(self._queue, self._token, done), *others] if done else others

    def tallies(self) -> list[Command]:
        """Give what was counted, before a rest; it is given again until it was answered."""
        with self._lock:
            return self.tally.commands(resting=True)

    def settled(self, told: Sequence[Command], answers: Sequence[Any]) -> None:
        """Look at the answers: a job that this worker did not hold any more was finished late."""
        for command, answer in zip(told, answers, strict=True):
            if is_tally(command):
                with self._lock:
                    self.tally.confirm(command)
            if command.script is not None and command.script.name == "finish":
                for job_id in answer:
                    events.emit(events.FinishedLate(self.worker, job_id))

    def _count(self, job: Call | None, outcome: Outcome, elapsed: float, tries: int) -> None:
        counted = _COUNTED.get(type(outcome))
        if counted is not None and job is not None:
            wait = clock.wall() - elapsed - job.put_at if tries == 0 else None
            self.tally.add(self._queue, job.task, counted, elapsed, wait)
        elif counted is not None:
            self.tally.add(self._queue, "?", counted, elapsed)

    def _command(self, job_id: str, outcome: Outcome, run: Run, elapsed: float, keep: float) -> Command:
        queue, token = self._queue, self._token
        match outcome:
            case Fail(error):
                failed = settlement_of_failure(job_id, "failed", error, run, elapsed, keep)
                return commands.fail(queue, token, failed)
            case Retry(error, delay):
                note = note_of(job_id, "retried", run, elapsed)
                attempt = attempt_of("retried", run, elapsed, error)
                return commands.retry(queue, token, job_id, delay, note, attempt)
            case Cancel():
                ended = encode_settled("cancelled", elapsed=elapsed, run=run)
                settlement = Settlement(job_id, ended, keep, note_of(job_id, "cancelled", run, elapsed))
                return commands.finish(queue, token, [settlement], counter="cancelled")
            case Release():
                error = describe_text("Returned", "its consumer was told to leave at once")
                attempt = attempt_of("given back", run, elapsed, error)
                return commands.release(queue, token, [job_id], attempt)
        message = f"no command for {outcome!r}"
        raise AssertionError(message)

    def _run(self, job: Call | None, elapsed: float, tries: int) -> Run:
        started = round(clock.wall() - elapsed, 3)
        if job is None:
            return Run("?", "", started, self.worker, tries + 1)
        waited = 0.0 if tries else max(0.0, round(started - job.put_at, 3))
        return Run(job.task, self.preview(job) or "", started, self.worker, tries + 1, waited)


def is_tally(command: Command) -> bool:
    """Tell whether a command only says what was counted: nobody waits for that."""
    return command.script is not None and command.script.name == "tally"
