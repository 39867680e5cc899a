"""What becomes of the jobs of a worker that ended: decided by how it ended, told to the server in one go."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conveyor import clock
from conveyor.consumer.settings import LEASE
from conveyor.consumer.worker_handle import ASKS_TO_LEAVE
from conveyor.store import commands
from conveyor.store.answers import read_tries, settlement_of_failure
from conveyor.store.commands import Settlement
from conveyor.wire import call
from conveyor.wire.outcome import Run, attempt_of, describe_text, encode_killed, encode_settled, note_of
from conveyor.wire.retry import delay_before

if TYPE_CHECKING:
    from conveyor.consumer.worker_handle import Worker
    from conveyor.store import Client
    from conveyor.store.commands import Batch, Command, State


#: How a worker ends that was not disturbed.
ORDERLY = "exit code 0"
#: What became of a job, by the verb that settled it, or by what `lost` answered.
_BECAME = {
    "finish": "cancelled",
    "cancelled": "cancelled",
    "fail": "dead",
    "dead": "dead",
    "retry": "tried again",
}


def recover(client: Client, worker: Worker, how: str, *, is_replaced: bool = False) -> tuple[str, str]:
    """Settle or give back all that a dead worker held; gives the job it ran (empty: none) and what became of it.

    May be called again if the server did not answer. Only the running job is suspected, and not even that one
    where somebody wanted its worker killed. The server remembers the last claim by the worker's name: if that one has
    been replaced, what it had claimed and not noted comes back by itself.
    """
    glance, held = worker.slate.glance(), worker.slate.held()
    told: list[Command] = []
    running = ""
    if held is not None and held.ids:
        rest = held.ids
        place = glance.place
        if place < 0 and _may_be_its_fault(worker, how):
            place = worker.slate.last()  # it died while it read the job, or of what the task had left behind
        if 0 <= place < len(rest):
            running = rest[place]
            told.append(_verdict(client, worker, held.queue, held.token, running, how))
            rest = [one for one in rest if one != running]
        if rest:
            told.append(commands.release(held.queue, held.token, rest))
    answers = client.run_all(told, patience=0.0) if told else []
    if not is_replaced:
        _give_back_unseen(client, worker, held.nonce if held is not None else "", how)
    if not running or (answers[0] == "STALE" and not glance.runs):  # it had been settled before the end
        return "", ""
    script = told[0].script
    verb = script.name if script is not None else ""
    return running, _BECAME.get(verb) or _BECAME.get(answers[0], "given back")


def _may_be_its_fault(worker: Worker, how: str) -> bool:
    """Return True if a job that did not run may have ended its worker; SIGKILL comes from outside."""
    return not worker.killed and how not in {ORDERLY, "SIGKILL"}


class _Ended(NamedTuple):
    """A run that its worker did not live to tell of."""

    queue: str
    token: str
    job_id: str
    run: Run
    elapsed: float
    retries: int
    """Retries used before it."""
    options: call.RunOptions

    def settlement(self, word: str, error: bytes) -> Settlement:
        """Return what is kept if the job is dead now; `word` is how the run ended, for people."""
        return settlement_of_failure(self.job_id, word, error, self.run, self.elapsed, self.options.keep)

    def cancelled(self) -> bytes:
        """Give the outcome if somebody wanted it to end."""
        return encode_settled("cancelled", elapsed=self.elapsed, run=self.run)


def _ended(client: Client, worker: Worker, queue: str, token: str, job_id: str) -> _Ended:
    """Say what can be known of the run; its arguments as its worker noted them, for it knew which are secret."""
    elapsed = max(0.0, clock.monotonic() - worker.slate.glance().since)
    state: State = client.run(commands.state(queue, job_id), patience=0.0)
    retries, crashes = read_tries(state.tries)
    started = round(clock.wall() - elapsed, 3)
    options, waited, task = call.RunOptions(), 0.0, worker.slate.task()
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        job = call.decode_call(state.data)
        options, task = job.options, job.task or call.ITEM_WORD
        waited = 0.0 if retries + crashes else max(0.0, round(started - job.put_at, 3))
    run = Run(
        task,
        worker.slate.arguments(job_id),
        started,
        worker.name,
        retries + crashes + 1,
        waited,
    )
    return _Ended(queue, token, job_id, run, elapsed, retries, options)


def _verdict(client: Client, worker: Worker, queue: str, token: str, job_id: str, how: str) -> Command:
    glance = worker.slate.glance()
    over_time = worker.timed_out == (glance.number, glance.place)
    if worker.killed and not over_time and worker.cancelling != (queue, job_id):
        ended = _ended(client, worker, queue, token, job_id)
        error = describe_text("WorkerKilled", _killer(worker, how))
        return commands.release(queue, token, [job_id], attempt_of("killed", ended.run, ended.elapsed, error))
    ended = _ended(client, worker, queue, token, job_id)
    if worker.cancelling == (queue, job_id):  # it did not react in time
        note = note_of(job_id, "cancelled", ended.run, ended.elapsed)
        outcome = encode_killed(ended.elapsed, ended.run) if worker.killed else ended.cancelled()
        settlement = Settlement(job_id, outcome, ended.options.keep, note)
        return commands.finish(queue, token, [settlement], counter="cancelled")
    if over_time:
        return _timed_out(ended)
    text = f"its worker ended by {how}"
    attempt = attempt_of("lost", ended.run, ended.elapsed, describe_text("WorkerDied", text))
    dead = describe_text("WorkerDied", f"{text} while it ran {ended.run.task}, once too often")
    settlement = ended.settlement("lost", dead)._replace(attempt=attempt)
    return commands.lost(queue, token, settlement, ended.cancelled())


def _killer(worker: Worker, how: str) -> str:
    """Return who had a worker killed, or how it ended when it was asked to leave."""
    for order in worker.asked:
        if order.verb == "kill":
            return f"by {order.who or 'somebody'}{order.reason and f': {order.reason}'}"
    if how in {one.name for one in ASKS_TO_LEAVE}:
        return f"its worker was told to leave and ended by {how}, which the task had set to its default"
    return "its consumer was told to leave at once"


def _timed_out(ended: _Ended) -> Command:
    """A run over its time limit has failed: tried again if it has retries left."""
    options = ended.options
    text = f"it ran longer than {options.timeout:g} s" if options.timeout else "too long"
    one = ended.settlement("timed out", describe_text("TimeLimit", text))
    if ended.retries >= options.retries:
        return commands.fail(ended.queue, ended.token, one)
    delay = delay_before(ended.retries + 1, options.first_delay)
    return commands.retry(ended.queue, ended.token, ended.job_id, delay, one.note, one.attempt)


def _give_back_unseen(client: Client, worker: Worker, seen: str, how: str) -> None:
    """Release what a last claim brought after the worker could no longer note it; the same nonce returns it again.

    A claim that is still under way brings nothing any more.
    A job that came alone is suspected if reading it may have ended the worker, so that it cannot block the queue.
    """
    nonce, queue = worker.slate.claim()
    if not nonce or nonce == seen:
        return
    batch: Batch = client.run(commands.claim(queue, worker.name, nonce, 0, LEASE), patience=0.0)
    if len(batch.jobs) == 1 and _may_be_its_fault(worker, how):
        client.run(_verdict(client, worker, queue, batch.token, batch.jobs[0].id, how), patience=0.0)
    elif batch.jobs:
        client.run(commands.release(queue, batch.token, [job.id for job in batch.jobs]), patience=0.0)
