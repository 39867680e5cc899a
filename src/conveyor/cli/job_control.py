"""`conveyor cancel` and `conveyor retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.cli import exits
from conveyor.cli.desk import existing_queue, open_actions, open_inspector
from conveyor.cli.exits import NotFound, Usage, WrongState
from conveyor.cli.job import known_job
from conveyor.cli.long_work import long_work
from conveyor.cli.output import count_of, document, note
from conveyor.monitor import bulk

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.cli.commands.act import Cancel, Retry
    from conveyor.monitor import Inspector
    from conveyor.monitor.actions import Actions

_OVER = {"done", "failed", "lost", "cancelled"}


def cancel(asked: Cancel) -> int:
    """Cancel jobs, each as its state allows."""
    inspector = open_inspector(quiet=asked.json)
    actions = open_actions(inspector.client)

    def one(job_id: str) -> str:
        details = known_job(inspector, job_id, asked.queue)
        state = "over"
        if details.state not in _OVER:
            state = actions.cancel_job(details.queue, job_id, asked.reason).state
        if state not in {"cancelled", "running"}:
            hint = f"`conveyor job {job_id}` tells how it ended"
            raise WrongState(f"job {job_id} is over already: {inspector_state(inspector, job_id)}", hint=hint)
        return "told to stop" if state == "running" else "cancelled"

    words = {
        "told to stop": f"it runs; its worker is told to stop it{f': {asked.reason}' if asked.reason else ''}"
    }
    return _each(asked.ids, one, words, "cancel/v1" if asked.json else "")


def retry(asked: Retry) -> int:
    """Put dead jobs back."""
    if bool(asked.ids) == bool(asked.every):
        raise Usage(
            "retry takes either ids of jobs or --all QUEUE",
            hint="`conveyor jobs QUEUE --state dead` lists them",
        )
    inspector = open_inspector(quiet=asked.json)
    actions = open_actions(inspector.client)
    if asked.every:
        queue = existing_queue(inspector, asked.every)
        return _retry_all(actions, queue, asked)

    def one(job_id: str) -> str:
        details = known_job(inspector, job_id, asked.queue)
        if not actions.retry_job(details.queue, job_id, asked.reason).changed:
            hint = "only dead jobs, those that failed or were lost for good, can be retried"
            raise WrongState(f"job {job_id} is not dead, it is {details.state}", hint=hint)
        return "waiting"

    return _each(asked.ids, one, {"waiting": "it waits again"}, "retry/v1" if asked.json else "")


def inspector_state(inspector: Inspector, job_id: str) -> str:
    """Give a job's state as it is now, in a word."""
    details = inspector.job(job_id)
    return "gone" if details is None else details.state


def _each(ids: list[str], act: Callable[[str], str], words: dict[str, str], schema: str) -> int:
    """Act on jobs one by one and return the exit code; what is wrong with one does not keep the others.

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
            codes.add(exits.tell(error, as_json=bool(schema)))
            results.append({"id": job_id, "state": "error", "message": str(error)})
        else:
            codes.add(exits.OK)
            results.append({"id": job_id, "state": state})
            if not schema:
                print(f"{job_id}: {words.get(state, state)}")
    if schema:
        document(schema, jobs=results)
    return next(code for code in (exits.NOT_FOUND, exits.OK, exits.WRONG_STATE) if code in codes)


def _retry_all(actions: Actions, queue: str, asked: Retry) -> int:
    begun = actions.begin("retry", queue, reason=asked.reason)
    revived = 0
    with long_work(f"retrying in {queue}", begun.total) as advance:
        for step in bulk.run(actions.client, begun, pause=0):
            advance(step.done - revived)
            revived = step.done
    if asked.json:
        document("retry-all/v1", queue=queue, retried=revived)
    elif revived:
        print(f"{queue}: {count_of(revived, 'job')} put back.")
    else:
        note(f"There are no dead jobs in {queue}.")
    return exits.OK
