"""What a worker has done and must still tell the server, gathered so that it travels with the next claim."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from conveyor import clock, events
from conveyor.call import KEEP, Call
from conveyor.consumer.tally import Tally
from conveyor.control import encode
from conveyor.outcome import Cancel, Done, Fail, Note, Outcome, Release, Retry, encode_settled
from conveyor.store import commands
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import Command

#: Finishes of a batch that are written to the history; in a flood of tiny jobs it would be the main cost.
SAMPLED = 1
#: What a run is counted as, by its outcome; one that is given back is none.
_COUNTED = {Done: "succeeded", Fail: "failed", Retry: "retried", Cancel: "cancelled"}


class Settler:
    """Collects outcomes of one batch after the other and turns them into commands."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.tally = Tally(worker)
        self._queue = ""
        self._token = ""
        self._sampled = False
        self._done: list[Settlement] = []
        self._others: list[Command] = []
        self._notes = 0
        self._lock = threading.Lock()  # the lookout tells what is done while the worker is in a long job

    def begin(self, queue: str, token: str, *, sampled: bool) -> None:
        """Begin a batch; the one before has been turned into commands."""
        with self._lock:
            self._queue = queue
            self._token = token
            self._sampled = sampled
            self._notes = 0

    def add(self, job_id: str, job: Call | None, outcome: Outcome, elapsed: float, retries: int) -> None:
        """Take in what came of a job."""
        keep = job.options.keep if job is not None else KEEP
        if type(outcome) is Done:
            note = b""
            if not self._sampled or self._notes < SAMPLED:
                self._notes += 1
                note = self._note(job_id, job, "done", elapsed, retries)
            settlement = Settlement(job_id, encode_settled("done", outcome.value, elapsed), keep, note)
            with self._lock:
                self._done.append(settlement)
                self._count(job, outcome, elapsed, retries)
            return
        command = self._command(job_id, job, outcome, elapsed, retries)
        with self._lock:
            self._others.append(command)
            self._count(job, outcome, elapsed, retries)

    def release(self, ids: Sequence[str]) -> None:
        """Give back jobs that were not started."""
        with self._lock:
            self._others.append(commands.release(self._queue, self._token, ids))

    def commands(self, *, counted: bool = True) -> list[Command]:
        """Give what must be told, and forget it; without `counted` only what settles jobs."""
        with (
            self._lock
        ):  # queue and token are those of what is done: the next batch begins only after it was taken
            done, others = self._done, self._others
            self._done, self._others = [], []
            others += self.tally.commands() if counted else []
            return [commands.finish(self._queue, self._token, done), *others] if done else others

    def tallies(self) -> list[Command]:
        """Give what was counted, before a rest; it is given again until it was answered."""
        with self._lock:
            return self.tally.commands(resting=True)

    def keep(self, told: Sequence[Command]) -> None:
        """Take commands back that could not be sent; they are given again."""
        with self._lock:
            self._others[:0] = [one for one in told if not is_tally(one)]  # those are given again anyway

    def settled(self, told: Sequence[Command], answers: Sequence[Any]) -> None:
        """Look at the answers: a job that this worker did not hold any more was finished late."""
        for command, answer in zip(told, answers, strict=True):
            if is_tally(command):
                with self._lock:
                    self.tally.confirm(command)
            if command.script is not None and command.script.name == "finish":
                for job_id in answer:
                    events.emit(events.FinishedLate(self.worker, job_id))

    def _count(self, job: Call | None, outcome: Outcome, elapsed: float, retries: int) -> None:
        counted = _COUNTED.get(type(outcome))
        if counted is not None and job is not None:
            wait = clock.wall() - elapsed - job.put_at if retries == 0 else None
            self.tally.add(self._queue, job.task, counted, elapsed, wait)
        elif counted is not None:
            self.tally.add(self._queue, "?", counted, elapsed)

    def _command(
        self, job_id: str, job: Call | None, outcome: Outcome, elapsed: float, retries: int
    ) -> Command:
        queue, token = self._queue, self._token
        keep = job.options.keep if job is not None else KEEP
        note = functools.partial(self._note, job_id, job, elapsed=elapsed, retries=retries)
        match outcome:
            case Fail(error):
                settlement = Settlement(
                    job_id, encode_settled("failed", error, elapsed), keep, note(state="failed")
                )
                return commands.fail(queue, token, settlement)
            case Retry(_, delay):
                return commands.retry(queue, token, job_id, delay, note(state="retried"))
            case Cancel():
                settlement = Settlement(job_id, encode_settled("cancelled"), keep, note(state="cancelled"))
                return commands.finish(queue, token, [settlement], counter="cancelled")
            case Release():
                return commands.release(queue, token, [job_id])
        message = f"no command for {outcome!r}"
        raise AssertionError(message)

    def _note(self, job_id: str, job: Call | None, state: str, elapsed: float, retries: int) -> bytes:
        task = job.task if job is not None else "?"
        return encode(Note(job_id, task, state, elapsed, self.worker, retries + 1, round(clock.wall(), 3)))


def is_tally(command: Command) -> bool:
    """Tell whether a command only says what was counted: nobody waits for that."""
    return command.script is not None and command.script.name == "tally"
