"""The jobs of workers that ended, or are stuck: settled or released by the supervisor."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor import clock
from conveyor.consumer.settings import LEASE, SURE
from conveyor.consumer.shared_status import BUSY, NO_RETRY, USUAL_DELAY
from conveyor.consumer.worker_handle import REQUEST_SIGNALS
from conveyor.errors import StoreError
from conveyor.store import commands
from conveyor.store.commands import Settlement, read_tries, settlement_of_failure
from conveyor.store.waiting import MAX_BLOCK
from conveyor.wire import call
from conveyor.wire.outcome import (
    Run,
    attempt_of,
    delay_before,
    describe_text,
    describe_timeout,
    encode_killed,
    encode_settled,
    note_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from conveyor.consumer.health import Isolation
    from conveyor.consumer.shared_status import HeldBatch, StatusReading
    from conveyor.consumer.worker_handle import WorkerHandle
    from conveyor.store import Client
    from conveyor.store.command import Command
    from conveyor.store.commands import Batch, State

#: How an undisturbed worker ends.
ORDERLY = "exit code 0"
#: Seconds that a job may run before the prefetched jobs behind it are released.
LONG = 0.2
#: Jobs that ended with one run, and are settled together.
MAX_TOGETHER = 50
#: Seconds after which a worker that waits for a claim is suspended: longer than any block, and after SURE it asks the
#: server before it runs anything.
SUSPENDED = max(SURE, MAX_BLOCK) + 0.5
#: What became of a job, by the reply of the verb that settled it or, if that does not say, by the verb.
_BECAME = {
    "finish": "cancelled",
    "cancelled": "cancelled",
    "fail": "dead",
    "dead": "dead",
    "retry": "tried again",
}


def recover(client: Client, worker: WorkerHandle, how: str, *, is_replaced: bool = False) -> dict[str, str]:
    """Settle or release all that a dead worker held. Return its running job, if any, and what became of it.

    It has several that run only of a batch task. May be called again if the server did not reply. Only a running job
    may count as crashed, and not if its worker was killed on purpose. The server remembers the last claim by the
    worker's name: once the worker is replaced, jobs that it claimed and did not note return to the queue when their
    leases expire.
    """
    reading, held = worker.status.read(), worker.status.held()
    became: dict[str, str] = {}
    sent: list[Command] = []
    if held is not None and held.ids:
        position = reading.position
        if position < 0 and _may_have_crashed(worker, how):
            # It died while it read the job, or of what the task had left behind.
            position = worker.status.last
        running = held.running(position) if position >= 0 else []
        became = _settle_running(client, worker, held, running, how)
        sent += _releases(held, without=set(running))
    before = worker.status.held(back=1)
    if before is not None:
        sent += _releases(before)
    if sent:
        client.run_all(sent, patience=0.0)
    if not is_replaced:
        waits = worker.process.is_crew or reading.state == BUSY
        unseen_how = ORDERLY if waits and worker.status.wait()[1] else how  # it had not read the reply
        _release_unseen(client, worker, held.nonce if held is not None else "", unseen_how)
    return became


def _settle_running(
    client: Client, worker: WorkerHandle, held: HeldBatch, running: Sequence[str], how: str
) -> dict[str, str]:
    """Settle the jobs that a dead worker ran, some at a time, and return what became of each."""
    became: dict[str, str] = {}
    for first in range(0, len(running), MAX_TOGETHER):
        ids = running[first : first + MAX_TOGETHER]
        ended = _describe_runs(client, worker, held.queue, ids)
        sent = [_settle_run(worker, held.queue, held.token_of(one.job_id), one, how) for one in ended]
        for job_id, command, reply in zip(ids, sent, client.run_all(sent, patience=0.0), strict=True):
            if reply == "STALE" and not worker.status.read().is_running:
                continue  # it was settled
            verb = command.script.name if command.script is not None else ""
            # The reply counts first: a job that was to be retried may have been cancelled.
            found = _BECAME.get(reply) if isinstance(reply, str) else None
            became[job_id] = found or _BECAME.get(verb, "given back")
    return became


def _releases(held: HeldBatch, without: Collection[str] = ()) -> list[Command]:
    """Return the commands that release the jobs of a batch, one for each token."""
    by_token: dict[str, list[str]] = {}
    for job_id, token in held.leases():
        if job_id not in without:
            by_token.setdefault(token, []).append(job_id)
    return [commands.release(held.queue, token, some) for token, some in by_token.items()]


def _may_have_crashed(worker: WorkerHandle, how: str) -> bool:
    """Return True if a job that was not running may have ended its worker; SIGKILL comes from outside."""
    return not worker.killed and how not in {ORDERLY, "SIGKILL"}


class _EndedRun(NamedTuple):
    """A run that ended with its worker."""

    job_id: str
    run: Run
    elapsed: float
    retries: int
    """Retries used before it."""
    options: call.RunOptions

    def settlement(self, word: str, error: bytes) -> Settlement:
        """Return the settlement if the job is dead now; `word` says how the run ended."""
        return settlement_of_failure(self.job_id, word, error, self.run, self.elapsed, self.options.keep)

    def cancelled(self) -> bytes:
        """Return the outcome if the job was cancelled."""
        return encode_settled("cancelled", elapsed=self.elapsed, run=self.run)


def _describe_runs(client: Client, worker: WorkerHandle, queue: str, ids: Sequence[str]) -> list[_EndedRun]:
    """Collect what is known of runs. Their arguments are those their worker noted: only that knew the secret ones."""
    elapsed = max(0.0, clock.monotonic() - worker.status.read().since)
    states = client.run_all([commands.state(queue, one) for one in ids], patience=0.0)
    return [_describe_run(worker, job_id, state, elapsed) for job_id, state in zip(ids, states, strict=True)]


def _describe_run(worker: WorkerHandle, job_id: str, state: State, elapsed: float) -> _EndedRun:
    retries, crashes = read_tries(state.tries)
    started = round(clock.wall() - elapsed, 3)
    options, waited, task = call.RunOptions(), 0.0, worker.status.task
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        job = call.decode_call(state.data)
        options, task = job.options, job.task or call.ITEM_WORD
        waited = 0.0 if retries + crashes else max(0.0, round(started - job.put_at, 3))
    arguments = worker.status.arguments(job_id)
    run = Run(task, arguments, started, worker.name, retries + crashes + 1, waited)
    return _EndedRun(job_id, run, elapsed, retries, options)


def _settle_run(worker: WorkerHandle, queue: str, token: str, ended: _EndedRun, how: str) -> Command:
    """Return the command that settles the running job of a dead worker."""
    job_id = ended.job_id
    if worker.cancelling == (queue, job_id):  # it did not react in time
        note = note_of(job_id, "cancelled", ended.run, ended.elapsed)
        outcome = encode_killed(ended.elapsed, ended.run) if worker.killed else ended.cancelled()
        settlement = Settlement(job_id, outcome, ended.options.keep, note)
        return commands.finish(queue, token, [settlement], counter="cancelled")
    reading = worker.status.read()
    if worker.timed_out == reading.run:
        return _settle_timeout(ended, queue, token, reading.limit, worker.status.limit_delay)
    if worker.killed:
        error = describe_text("WorkerKilled", _killer(worker, how))
        return commands.release(queue, token, [job_id], attempt_of("killed", ended.run, ended.elapsed, error))
    text = f"its worker ended by {how}"
    attempt = attempt_of("lost", ended.run, ended.elapsed, describe_text("WorkerDied", text))
    dead = describe_text(
        "WorkerDied", f"{text} while it ran {ended.run.task}, which has crashed too many workers"
    )
    settlement = ended.settlement("lost", dead)._replace(attempt=attempt)
    return commands.lost(queue, token, settlement, ended.cancelled())


def _killer(worker: WorkerHandle, how: str) -> str:
    """Return who requested that a worker is killed, or how it ended when it was asked to stop."""
    for control in worker.controls:
        if control.verb == "kill":
            return f"by {control.who or 'an unnamed user'}{control.reason and f': {control.reason}'}"
    if how in {one.name for one in REQUEST_SIGNALS}:
        return f"its worker was asked to stop and ended by {how}, which the task had reset to its default"
    why = worker.process.why_killed
    return (
        f"another job of its process was the cause: {why}" if why else "its consumer was stopped immediately"
    )


def _settle_timeout(ended: _EndedRun, queue: str, token: str, limit: float, delay: float) -> Command:
    """Return the command for a run over its time limit: it has failed, and is retried if retries are left.

    `delay` is what the worker noted for this case, since only it knows the task.
    """
    options = ended.options
    one = ended.settlement("timed out", describe_timeout(limit))
    if ended.retries >= options.retries or delay == NO_RETRY:
        return commands.fail(queue, token, one)
    if delay == USUAL_DELAY:
        delay = delay_before(ended.retries + 1, options.first_delay)
    return commands.retry(queue, token, ended.job_id, delay, one.note, one.attempt)


def _release_unseen(client: Client, worker: WorkerHandle, seen: str, how: str) -> None:
    """Release the jobs of a last claim that the worker could no longer note."""
    nonce, queue = worker.status.claim()
    if nonce and nonce != seen:
        _release_claimed(client, worker, nonce, queue, how)


def _release_claimed(client: Client, worker: WorkerHandle, nonce: str, queue: str, how: str) -> None:
    """Release the jobs of a claim whose reply the worker has not processed: the same nonce returns them again.

    A claim still in transit will bring none. A single job counts as crashed if reading it may have ended the worker,
    so that it cannot block the queue.
    """
    batch: Batch = client.run(commands.claim(queue, worker.name, nonce, 0, LEASE), patience=0.0)
    if len(batch.jobs) == 1 and _may_have_crashed(worker, how):
        (ended,) = _describe_runs(client, worker, queue, [batch.jobs[0].id])
        client.run(_settle_run(worker, queue, batch.token, ended, how), patience=0.0)
    elif batch.jobs:
        client.run(commands.release(queue, batch.token, [job.id for job in batch.jobs]), patience=0.0)


def release_stuck_jobs(client: Client, workers: Iterable[WorkerHandle], isolation: Isolation) -> None:
    """Release the prefetched jobs of workers that are stuck behind a long job, and those that suspended ones claimed.

    A worker's own batch monitor does the same, sooner, but needs the GIL, which a task in C code may hold. A flag in
    the shared status keeps the two apart. The supervisor sets the flag, then checks which job is running; the worker
    notes which job it starts, then checks the flag. So one of them sees the other, and no released job is run. An
    unforeseen error affects one worker.
    """
    workers = list(workers)
    sent: list[Command] = []
    for worker in workers:
        with isolation:
            sent += _release_prefetched(worker)
    # The worker releases the same jobs once more, ahead of its next claim. If a call fails, they return to the queue
    # then, or when their leases expire; and no other is tried, since each may take long.
    with contextlib.suppress(StoreError):
        if sent:
            client.run_all(sent, patience=0.0)
        for worker in workers:  # their jobs come later in the queue
            with isolation:
                _take_back_claim(client, worker)


def _release_prefetched(worker: WorkerHandle) -> list[Command]:
    reading = worker.status.read()
    if not _runs_long(reading) or reading.batch == worker.released_batch:
        return []
    held = worker.status.held()
    if held is not None and held.is_gathered:
        return []  # all of its jobs run
    worker.status.release_rest(reading.batch)
    if held is None or worker.status.read().run != reading.run:
        return []  # it moved on; it checks the flag before its next job
    worker.released_batch = reading.batch
    rest = held.ids[reading.position + 1 :]
    return [commands.release(held.queue, held.token, rest)] if rest else []


def _runs_long(reading: StatusReading) -> bool:
    return reading.is_running and clock.monotonic() - reading.since >= LONG


def _take_back_claim(client: Client, worker: WorkerHandle) -> None:
    """Release what a worker has claimed that was suspended, or that is stuck behind a long job.

    It sends a claim ahead while it waits for a wake-up, or runs a batch. Again a flag decides: once it is set, the
    worker runs nothing of this claim, unless it had read the reply before.
    """
    number, since = worker.status.wait()
    suspended = SURE + 0.5 if worker.process.is_crew else SUSPENDED  # a crew does not block in a claim
    is_stuck = _runs_long(worker.status.read()) or clock.boottime() - since >= suspended
    if not since or not is_stuck or number == worker.taken_back:
        return
    nonce, queue = worker.status.claim()
    worker.status.take_back(number)
    if not nonce or worker.status.wait() != (number, since):
        return
    _release_claimed(client, worker, nonce, queue, ORDERLY)
    worker.taken_back = number
