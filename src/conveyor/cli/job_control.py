"""`conveyor cancel` and `conveyor retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from conveyor.cli import completion, exit_codes
from conveyor.cli.connection import existing_queue, open_actions, open_inspector
from conveyor.cli.exit_codes import NotFound, Usage, WrongState
from conveyor.cli.jobs import known_job
from conveyor.cli.options import Json, OnlyQueue, Reason, argument, arguments, option
from conveyor.cli.output import document, note
from conveyor.cli.queue_control import run_operation
from conveyor.monitor.format import count_of

if TYPE_CHECKING:
    from collections.abc import Callable

_FINISHED = {"done", "failed", "lost", "cancelled"}


def cancel(
    ids: Annotated[list[str], argument("JOB", "Ids of the jobs.", completion.jobs)],
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


def retry(
    ids: Annotated[
        list[str],
        arguments("JOB", "Ids of the jobs.", completion.dead_jobs),
    ],
    *,
    every: Annotated[
        str,
        option("QUEUE", "Queue whose dead jobs to retry.", "--all", autocompletion=completion.queues),
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

    def retry_one(job_id: str) -> str:
        details = known_job(inspector, job_id, queue)
        if not actions.retry_job(details.queue, job_id, reason).changed:
            hint = "retry only dead jobs, which failed or were lost for good"
            raise WrongState(f"job {job_id} is not dead, it is {details.state}", hint=hint)
        return "waiting"

    if ids:
        return _each(ids, retry_one, {"waiting": "waiting again"}, "retry/v1" if as_json else "")
    retried = run_operation(actions, "retry", existing_queue(inspector, every), reason)
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
