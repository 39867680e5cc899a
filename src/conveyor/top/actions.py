"""The actions of the terminal view: what a key means for a row, and how far a confirmed action is."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from conveyor.errors import ConveyorError, StoreUnavailable
from conveyor.monitor import bulk, follow
from conveyor.monitor.follow import ACKNOWLEDGED, DONE, NO_REPLY
from conveyor.monitor.format import count_of
from conveyor.wire import control_messages
from conveyor.wire.audit_entry import Matching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conveyor.monitor.actions import Actions
    from conveyor.top.poller import PollResult

#: Max seconds until a consumer's first reply, and for which an action is followed.
MAX_FIRST_REPLY, MAX_FOLLOWED = 10.0, 55.0
REQUESTED, REFUSED = "requested", "refused"
FOR_WORKERS, FOR_JOBS = "this is for workers", "this is for jobs"
FOR_WORKERS_ONLY = {"K", "S", "+", "-"}


class Step(NamedTuple):
    """How far an action is."""

    state: str
    """requested, acknowledged, done, refused or no answer."""
    detail: str = ""


#: Carries out an action and yields its steps, given a reason.
Run: TypeAlias = "Callable[[Actions, str], Iterator[Step]]"


class Intent(NamedTuple):
    """An action that waits for confirmation."""

    title: str
    """The question: Kill worker host-ab12/3 now?"""
    consequence: str
    yes: str
    """Label of the button that confirms."""
    run: Run
    no: str = "Do nothing"


def perform(intent: Intent, actions: Actions, reason: str, notify: Callable[[Intent, Step], object]) -> None:
    """Carry out an action in a thread, which passes each step to `notify`."""

    def run() -> None:
        notify(intent, Step(REQUESTED))
        try:
            for step in intent.run(actions, reason):
                notify(intent, step)
        except StoreUnavailable as error:
            notify(intent, Step(NO_REPLY, str(error)))
        except ConveyorError as error:
            notify(intent, Step(REFUSED, str(error)))

    threading.Thread(target=run, name="conveyor-top-action", daemon=True).start()


def worker_intent(key: str, result: PollResult, name: str) -> Intent | str:
    """Return the action of a key for a worker, or why there is none."""
    worker = next((one for one in result.snapshot.workers() if one.name == name), None)
    if worker is None:
        return "no worker selected"
    job = worker.job
    if key == "C":
        return _cancel(worker.queue, job) if job else f"{name} runs no job"
    if key in {"+", "-"}:
        return _scale(key, control_messages.consumer_of(name))
    if key not in {"K", "S", "P"}:
        return f"{FOR_JOBS} and failures"
    if key == "K":
        returns = f"Job {job} returns to its position in {worker.queue}. " if job else ""
        verb, when, consequence = "kill", " now", f"{returns}The worker is not replaced."
    elif key == "S":
        finishes = f"It finishes job {job} first. " if job else ""
        verb, when, consequence = "stop", " after its current job", f"{finishes}It is not replaced."
    elif worker.paused:
        verb, when, consequence = "resume", "", "It takes jobs again."
    else:
        consequence = "It finishes its current job, and takes no other until it is resumed."
        verb, when = "pause", ""
    button = f"{verb.capitalize()} worker"
    return Intent(f"{button} {name}{when}?", consequence, button, partial(_control, verb, name, job))


def queue_intent(key: str, result: PollResult, name: str) -> Intent | str:
    """Return the action of a key for a queue, or why there is none."""
    count = result.snapshot.queues.get(name)
    if count is None:
        return "no queue selected"
    if key != "P":
        return FOR_WORKERS if key in FOR_WORKERS_ONLY else f"{FOR_JOBS}: Enter lists those of the queue"
    if count.paused or count.shutdown:
        consequence, resume = "Workers take its jobs again.", partial(_resume_queue, name)
        return Intent(f"Resume {name}?", consequence, "Resume queue", resume)
    consequence = "Workers take no more of its jobs. Running jobs continue, and puts are accepted."
    return Intent(f"Pause {name}?", consequence, "Pause queue", partial(_pause_queue, name))


def job_intent(key: str, queue: str, job_id: str, state: str) -> Intent | str:
    """Return the action of a key for a job, or why there is none."""
    if not job_id:
        return "no job selected"
    if key == "C":
        finished = state in {"done", "failed", "cancelled", "expired", "lost", "ended", "gone", "dead"}
        return f"{job_id} has finished" if finished else _cancel(queue, job_id)
    if key != "R":
        return FOR_WORKERS
    if state not in {"dead", "failed", "lost"}:
        return f"{job_id} is not dead"
    consequence = "It returns to the queue, as if never tried."
    return Intent(f"Retry job {job_id}?", consequence, "Retry job", partial(_retry_job, queue, job_id))


def failure_intent(key: str, result: PollResult, fingerprint: str | None) -> Intent | str:
    """Return the action of a key for a group of dead jobs, or why there is none."""
    found = next((one for one in result.failures if one.fingerprint == fingerprint), None)
    if found is None:
        return "no failure selected"
    if key != "R":
        return FOR_WORKERS if key in {*FOR_WORKERS_ONLY, "P"} else "these jobs have finished"
    if not fingerprint:
        return "the failure of these jobs is unknown: retry them one by one"
    jobs, queues = count_of(found.count, "dead job"), found.queues
    where = f"on {queues[0]}" if len(queues) == 1 else f"in {len(queues):,} queues"
    title = f"Retry {jobs} of {found.task or 'this failure'} {where}?"
    consequence = "They return to their queues, as if never tried."
    return Intent(title, consequence, f"Retry {jobs}", partial(_retry_group, queues, fingerprint))


def _cancel(queue: str, job_id: str) -> Intent:
    consequence = "If it is running, its worker is asked to stop it, and killed if that has no effect."
    run = partial(_cancel_job, queue, job_id)
    return Intent(f"Cancel job {job_id}?", consequence, "Cancel job", run, no="Keep job")


def _scale(sign: str, consumer: str) -> Intent:
    run = partial(_control, "scale", consumer, "", scale=f"{sign}1")
    if sign == "+":
        return Intent(f"Add a worker to {consumer}?", "It starts immediately.", "Add worker", run)
    consequence = "A free one leaves, or else the first that has finished its current job."
    return Intent(f"Stop one of the workers of {consumer}?", consequence, "Stop worker", run)


def _control(
    verb: str, worker: str, job: str, actions: Actions, reason: str, *, scale: str = ""
) -> Iterator[Step]:
    command = actions.control_workers(verb, [worker], reason, jobs={worker: job}, scale=scale)
    target = follow.Target(worker)
    for one in follow.follow_command(
        actions.client, command.id, {worker: target}, MAX_FOLLOWED, MAX_FIRST_REPLY
    ):
        if one is not target:  # its consumer, which exits with its last worker
            continue
        if one.state not in {ACKNOWLEDGED, DONE}:
            yield Step(REFUSED, one.description)
            return
        yield Step(one.state, one.detail if scale else f"with job {one.job}" if one.job else "")
        if one.state == DONE:
            return
    if target.state == NO_REPLY:
        yield Step(NO_REPLY, "still valid if its consumer returns within a minute")


def _pause_queue(queue: str, actions: Actions, reason: str) -> Iterator[Step]:
    actions.pause_queue(queue, reason)
    yield Step(DONE, "running jobs continue")


def _resume_queue(queue: str, actions: Actions, reason: str) -> Iterator[Step]:
    actions.resume_queue(queue, reason)
    yield Step(DONE)


def _cancel_job(queue: str, job_id: str, actions: Actions, reason: str) -> Iterator[Step]:
    state = actions.cancel_job(queue, job_id, reason).state
    if state == "running":
        yield Step(ACKNOWLEDGED, "its worker was asked to stop it")
        if follow.wait_until_stopped(actions.client, queue, job_id, MAX_FOLLOWED):
            yield Step(DONE)
    else:
        yield Step(DONE) if state == "cancelled" else Step(REFUSED, f"it is {state}")


def _retry_job(queue: str, job_id: str, actions: Actions, reason: str) -> Iterator[Step]:
    result = actions.retry_job(queue, job_id, reason)
    why = f"job {result.holder} has its unique key" if result.holder else f"it is {result.state}"
    yield Step(DONE, "it is waiting again") if result.changed else Step(REFUSED, why)


def _retry_group(queues: Sequence[str], fingerprint: str, actions: Actions, reason: str) -> Iterator[Step]:
    begun, done = actions.begin("retry", queues, Matching(group=fingerprint), reason), 0
    for step in bulk.run(actions.client, begun):
        done = step.done
        yield Step(ACKNOWLEDGED, f"{done:,} waiting again")
    yield Step(DONE, f"{done:,} waiting again")
