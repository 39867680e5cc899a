"""What becomes of the jobs of a worker that ended: decided by how it ended, told to the server in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from conveyor import call, clock, control
from conveyor.consumer.settings import LEASE
from conveyor.outcome import Note, describe_text, encode_settled
from conveyor.retry import delay_before
from conveyor.store import commands
from conveyor.store.commands import Settlement

if TYPE_CHECKING:
    from conveyor.consumer.worker import Worker
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


def recover(client: Client, worker: Worker, how: str) -> tuple[str, str]:
    """Settle or give back all that a dead worker held; gives the job it ran (empty: none) and what became of it.

    May be called again if the server did not answer. Only the running job is suspected, and not even that one
    where somebody wanted its worker killed.
    """
    glance, held = worker.slate.glance(), worker.slate.held()
    told: list[Command] = []
    running = ""
    if held is not None and held.ids:
        rest = held.ids
        place = glance.place
        if place < 0 and how != ORDERLY and not worker.killed:
            place = worker.slate.last()  # it died of what the task had done, after the task had returned
        if 0 <= place < len(rest):
            running = rest[place]
            told.append(_verdict(client, worker, held.queue, held.token, running, how))
            rest = [one for one in rest if one != running]
        if rest:
            told.append(commands.release(held.queue, held.token, rest))
    answers = client.run_all(told, patience=0.0) if told else []
    _give_back_unseen(client, worker, held.nonce if held is not None else "")
    if not running or (answers[0] == "STALE" and not glance.runs):  # it had been settled before the end
        return "", ""
    script = told[0].script
    verb = script.name if script is not None else ""
    return running, _BECAME.get(verb) or _BECAME.get(answers[0], "given back")


def _verdict(client: Client, worker: Worker, queue: str, token: str, job_id: str, how: str) -> Command:
    elapsed = clock.monotonic() - worker.slate.glance().since
    task = worker.slate.task()
    keep = call.KEEP
    cancelled = encode_settled("cancelled")
    if worker.cancelling == job_id:  # it did not react in time
        note = _note(worker, job_id, "cancelled", elapsed)
        return commands.finish(queue, token, [Settlement(job_id, cancelled, keep, note)], counter="cancelled")
    glance = worker.slate.glance()
    if worker.timed_out == (glance.number, glance.place):
        return _timed_out(client, worker, queue, token, job_id)
    if worker.killed:
        return commands.release(queue, token, [job_id])
    text = f"its worker ended by {how} while it ran {task}, once too often"
    lost = encode_settled("lost", describe_text("WorkerDied", text), elapsed)
    note = _note(worker, job_id, "lost", elapsed)
    return commands.lost(queue, token, Settlement(job_id, lost, keep, note), cancelled)


def _timed_out(client: Client, worker: Worker, queue: str, token: str, job_id: str) -> Command:
    """A run over its time limit has failed: tried again if it has retries left."""
    elapsed = clock.monotonic() - worker.slate.glance().since
    state: State = client.run(commands.state(queue, job_id), patience=0.0)
    retries = int((state.tries or "0").split()[0])
    try:
        options = call.decode_call(state.data).options
    except (msgspec.MsgspecError, ValueError):
        options = call.RunOptions()
    note = _note(worker, job_id, "timed out", elapsed)
    if retries < options.retries:
        return commands.retry(queue, token, job_id, delay_before(retries + 1, options.first_delay), note)
    error = describe_text(
        "TimeLimit", f"it ran longer than {options.timeout:g} s" if options.timeout else "too long"
    )
    return commands.fail(
        queue, token, Settlement(job_id, encode_settled("failed", error, elapsed), options.keep, note)
    )


def _give_back_unseen(client: Client, worker: Worker, seen: str) -> None:
    """Give back what a last claim brought after the worker could no longer note it: asked for again by its nonce."""
    nonce, queue = worker.slate.claim()
    if not nonce or nonce == seen:
        return
    batch: Batch = client.run(commands.claim(queue, worker.name, nonce, 1, LEASE), patience=0.0)
    if batch.jobs:
        client.run(commands.release(queue, batch.token, [job.id for job in batch.jobs]), patience=0.0)


def _note(worker: Worker, job_id: str, state: str, elapsed: float) -> bytes:
    return control.encode(
        Note(job_id, worker.slate.task(), state, elapsed, worker.name, 0, round(clock.wall(), 3))
    )
