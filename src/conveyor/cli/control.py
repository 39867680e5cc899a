"""Control of queues and jobs: `conveyor pause`, `resume`, `purge`, `delete`, `cancel` and `retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from conveyor.cli import exit_codes, options
from conveyor.cli.connection import existing_queue, open_actions, open_inspector
from conveyor.cli.control_targets import find_targets, send
from conveyor.cli.exit_codes import NotFound, Usage, WrongState
from conveyor.cli.jobs import known_job
from conveyor.cli.options import (
    Json,
    OnlyQueue,
    QueueName,
    QueueOrWorker,
    Reason,
    ReplyTimeout,
    Yes,
    argument,
    arguments,
    flag,
    option,
)
from conveyor.cli.output import document, is_terminal, note, progress_bar
from conveyor.cli.prompts import open_prompt
from conveyor.monitor import bulk
from conveyor.monitor.format import count_of
from conveyor.store.commands import links

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.cli.control_targets import TargetSet
    from conveyor.monitor import Inspector
    from conveyor.monitor.actions import Actions
    from conveyor.store.commands import Count


def pause(
    name: QueueOrWorker, *, reason: Reason = "", timeout: ReplyTimeout = 10.0, as_json: Json = False
) -> int:
    """Pause a queue or workers until resumed. Running jobs continue.

    A paused queue still accepts jobs. Any unambiguous prefix of the name of a worker or consumer works. Each paused
    worker replies, finishes its current job and stays.
    """
    inspector = open_inspector(quiet=as_json)
    if to := _worker_targets(inspector, name):
        code = send(inspector.client, to, "pause", reason=reason, timeout=timeout, as_json=as_json)
    else:
        existing_queue(inspector, name)
        _, count, *_ = open_actions(inspector.client).pause_queue(name, reason)
        code = exit_codes.OK
        if as_json:
            document("pause/v1", queue=name, state="paused", was_paused=bool(count.paused))
        else:
            _print_state(name, "was already paused" if count.paused else "is paused", count)
    if not as_json and code != exit_codes.INTERRUPTED:
        note(f"To resume: conveyor resume {name}")
    return code


def resume(
    name: QueueOrWorker, *, reason: Reason = "", timeout: ReplyTimeout = 10.0, as_json: Json = False
) -> int:
    """Resume paused workers, or a queue that was paused or shut down."""
    inspector = open_inspector(quiet=as_json)
    if to := _worker_targets(inspector, name):
        return send(inspector.client, to, "resume", reason=reason, timeout=timeout, as_json=as_json)
    existing_queue(inspector, name)
    _, count, *_ = open_actions(inspector.client).resume_queue(name, reason)
    was_paused, was_shut = bool(count.paused), bool(count.shutdown)
    if as_json:
        document("resume/v1", queue=name, state="open", was_paused=was_paused, was_shut=was_shut)
    else:
        changed = was_paused or was_shut
        _print_state(name, "is resumed" if changed else "was neither paused nor shut down", count)
    return exit_codes.OK


def _worker_targets(inspector: Inspector, name: str) -> TargetSet | None:
    """Return the workers with a name, or None for the name of a queue, also if a consumer's name begins with it."""
    consumers = inspector.consumers()
    if "/" not in name:
        is_queue = not name or any(name in one.queues for one in consumers) or name in inspector.queues()
        if is_queue or not any(one.name.startswith(name) for one in consumers):
            return None
    return find_targets(consumers, [name])


def _print_state(queue: str, state: str, count: Count) -> None:
    print(f"{queue} {state}: {count.ready:,} waiting, {count.leased:,} running.")


def purge(queue: QueueName, *, yes: Yes = False, reason: Reason = "", as_json: Json = False) -> None:
    """Cancel all queued jobs of a queue. Running jobs continue.

    Waiting, deferred and delayed ones are queued.
    """
    inspector = open_inspector(quiet=as_json)
    count = existing_queue(inspector, queue)
    question = f"Cancel {count_of(count.qsize, 'queued job')} of {queue}?"
    if not yes and not _confirm(question, f"purge cancels every queued job of {queue}", ask=count.qsize > 0):
        note("Nothing was cancelled.")
        return
    cancelled = run_operation(open_actions(inspector.client), "purge", queue, reason)
    if as_json:
        document("purge/v1", queue=queue, cancelled=cancelled, running=count.leased)
    else:
        running = f"; {count.leased:,} still running" if count.leased else ""
        print(f"{queue}: {count_of(cancelled, 'job')} cancelled{running}.")


def delete(
    queue: QueueName,
    *,
    purge: Annotated[bool, flag("Cancel waiting jobs and discard dead ones first.", "--purge")] = False,
    yes: Yes = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Delete an empty queue with its settings, histories and outcomes."""
    inspector = open_inspector(quiet=as_json)
    count = existing_queue(inspector, queue)
    jobs = count.live + count.dead
    question = f"Delete {queue} and its {count_of(jobs, 'job')}?"
    if purge and jobs and not yes and not _confirm(question, f"--purge drops every job of {queue}"):
        note("Nothing was deleted.")
        return
    open_actions(inspector.client).delete_queue(queue, reason, purge=purge)
    cancelled, discarded = (count.live, count.dead) if purge else (0, 0)
    if as_json:
        document("delete/v1", queue=queue, cancelled=cancelled, discarded=discarded)
    else:
        dropped = f" {count_of(cancelled, 'job')} cancelled, {discarded:,} discarded." if jobs else ""
        print(f"{queue} is deleted.{dropped}")


def _confirm(question: str, consequence: str, *, ask: bool = True) -> bool:
    """Return True if the user agrees, or need not be asked. Raises Usage without a terminal."""
    if not is_terminal():
        raise Usage(f"{consequence}, and without a terminal it cannot be confirmed", hint="add --yes")
    return not ask or open_prompt().confirm(question, default=False)


def run_operation(actions: Actions, kind: str, queue: str, reason: str) -> int:
    """Run an operation on all jobs of a queue in chunks, so that the server stays responsive; return their number."""
    operation = actions.begin(kind, queue, reason=reason)
    done = 0
    with progress_bar(f"{kind} in {queue}", operation.total) as advance:
        for step in bulk.run(actions.client, operation, pause=0):
            advance(step.done - done)
            done = step.done
    return done


_FINISHED = {"done", "failed", "lost", "cancelled", "expired"}


def cancel(
    ids: Annotated[list[str], argument("JOB", "Ids of the jobs.", options.jobs)],
    *,
    queue: OnlyQueue = "",
    reason: Reason = "",
    as_json: Json = False,
) -> int:
    """Cancel jobs: queued ones immediately, running ones through their worker."""
    inspector = open_inspector(quiet=as_json)
    actions = open_actions(inspector.client)

    def cancel_one(job_id: str) -> str:
        details = known_job(inspector, job_id, queue)
        state = details.state
        if state not in _FINISHED:
            state = actions.cancel_job(details.queue, job_id, reason).state
            if state in {"cancelled", "running"}:
                return "told to stop" if state == "running" else "cancelled"
            ended = inspector.job(job_id)  # meanwhile
            state = "gone" if ended is None else ended.state
        raise WrongState(f"job {job_id} has already finished: {state}", hint=f"see `conveyor job {job_id}`")

    labels = {"told to stop": f"running; its worker will stop it{f': {reason}' if reason else ''}"}
    return _each(ids, cancel_one, labels, "cancel/v1" if as_json else "")


def signal(
    job_id: Annotated[str, argument("JOB", "Id of the job.", options.jobs)],
    name: Annotated[str, argument("NAME", "Name of the signal, as the task waits for it.")],
    value: Annotated[
        str, argument("VALUE", "Value for the task: JSON, or otherwise a string. Without it: null.")
    ] = "null",
    *,
    queue: OnlyQueue = "",
    reason: Reason = "",
    as_json: Json = False,
) -> int:
    """Send a signal to a job that waits for it, or will.

    The first value of a name counts. If the job is suspended until this signal, it runs again.
    """
    inspector = open_inspector(quiet=as_json)
    details = known_job(inspector, job_id, queue)
    try:
        sent = msgspec.json.decode(value)
    except msgspec.DecodeError:
        sent = value
    result = open_actions(inspector.client).signal_job(details.queue, job_id, name, sent, reason)
    if not result.changed:
        why = (
            f"it has finished: {details.state}"
            if details.settled
            else "the first value counts, and a timeout is final"
        )
        hint = f"see `conveyor job {job_id}`"
        raise WrongState(f"job {job_id} does not accept the signal {name}: {why}", hint=hint)
    if as_json:
        document("signal/v1", id=job_id, queue=details.queue, signal=name, state="sent")
    else:
        print(f"{job_id}: signal {name} sent")
    return exit_codes.OK


def retry(
    ids: Annotated[
        list[str],
        arguments("JOB", "Ids of the jobs.", options.dead_jobs),
    ],
    *,
    every: Annotated[
        str,
        option("QUEUE", "Queue whose dead jobs to retry.", "--all", autocompletion=options.queues),
    ] = "",
    queue: OnlyQueue = "",
    reason: Reason = "",
    as_json: Json = False,
) -> int:
    """Return dead jobs to their queue as if they had never run."""
    if bool(ids) == bool(every):
        hint = "list dead jobs with `conveyor jobs QUEUE --state dead`"
        raise Usage("retry takes either ids of jobs or --all QUEUE", hint=hint)
    inspector = open_inspector(quiet=as_json)
    actions = open_actions(inspector.client)

    followed: list[str] = []

    def retry_one(job_id: str) -> str:
        details = known_job(inspector, job_id, queue)
        result = actions.retry_job(details.queue, job_id, reason)
        if result.holder:
            hint = f"retry it once that has finished, or cancel that first: `conveyor cancel {result.holder}`"
            raise WrongState(
                f"job {job_id} is not retried: job {result.holder} has its unique key", hint=hint
            )
        if not result.changed:
            hint = "retry only dead jobs, which failed or were lost for good"
            raise WrongState(f"job {job_id} is not dead, it is {details.state}", hint=hint)
        linked = [] if as_json else inspector.client.run(links(details.queue, job_id))
        if not all(one.is_before for one in linked):
            followed.append(job_id)
        return "waiting"

    if ids:
        code = _each(ids, retry_one, {"waiting": "waiting again"}, "retry/v1" if as_json else "")
        if followed:
            note(f"Cancelled jobs that came after {', '.join(followed)} stay cancelled.")
        return code
    existing_queue(inspector, every)
    retried = run_operation(actions, "retry", every, reason)
    if as_json:
        document("retry-all/v1", queue=every, retried=retried)
    elif retried:
        print(f"{every}: {count_of(retried, 'job')} waiting again.")
    else:
        note(f"No dead jobs in {every}.")
    return exit_codes.OK


def _each(ids: list[str], act: Callable[[str], str], labels: dict[str, str], schema: str) -> int:
    """Act on jobs one by one and return the exit code; an error of one does not stop the others.

    The code is that of an unknown job, if any; WRONG_STATE if no job was in a state for it; else OK.
    """
    results: list[dict[str, Any]] = []
    codes = set()
    for job_id in ids:
        try:
            state = act(job_id)
        except (NotFound, WrongState) as error:
            if len(ids) == 1:
                raise
            codes.add(exit_codes.report_error(error, as_json=bool(schema)))
            results.append({"id": job_id, "state": "error", "message": str(error)})
        else:
            codes.add(exit_codes.OK)
            results.append({"id": job_id, "state": state})
            if not schema:
                print(f"{job_id}: {labels.get(state, state)}")
    if schema:
        document(schema, jobs=results)
    return next(
        code for code in (exit_codes.NOT_FOUND, exit_codes.OK, exit_codes.WRONG_STATE) if code in codes
    )
