"""`conveyor cancel` and `conveyor retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.cli import exits
from conveyor.cli.desk import existing_queue, open_inspector
from conveyor.cli.exits import NotFound, Usage, WrongState
from conveyor.cli.job import known_job
from conveyor.cli.long_work import long_work
from conveyor.cli.output import count_of, document, note
from conveyor.inspector import MOST_ON_PAGE
from conveyor.job import Job
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.cli.commands.act import Cancel, Retry
    from conveyor.inspector import Inspector

#: Dead jobs that one step of `retry --all` puts back.
SLICE = 500
_OVER = {"done", "failed", "lost", "cancelled"}


def cancel(asked: Cancel) -> int:
    """Cancel jobs, each as its state allows."""
    inspector = open_inspector(quiet=asked.json)

    def one(job_id: str) -> str:
        details = known_job(inspector, job_id, asked.queue)
        if details.state in _OVER or not Job(job_id, details.queue, client=inspector.client).cancel(
            asked.reason
        ):
            hint = f"`conveyor job {job_id}` tells how it ended"
            raise WrongState(f"job {job_id} is over already: {inspector_state(inspector, job_id)}", hint=hint)
        return "told to stop" if details.state == "running" else "cancelled"

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
    if asked.every:
        return _retry_all(inspector, existing_queue(inspector, asked.every), as_json=asked.json)

    def one(job_id: str) -> str:
        details = known_job(inspector, job_id, asked.queue)
        if not inspector.client.run(commands.revive(details.queue, [job_id])):
            hint = "only dead jobs, those that failed or were lost for good, can be retried"
            raise WrongState(f"job {job_id} is not dead, it is {details.state}", hint=hint)
        return "waiting"

    return _each(asked.ids, one, {"waiting": "it waits again"}, "retry/v1" if asked.json else "")


def inspector_state(inspector: Inspector, job_id: str) -> str:
    """Give a job's state as it is now, in a word."""
    details = inspector.job(job_id)
    return "gone" if details is None else details.state


def _each(ids: list[str], act: Callable[[str], str], words: dict[str, str], schema: str) -> int:
    """Act on jobs one by one. What is wrong with one does not keep the others; the first fault gives the exit code."""
    results: list[dict[str, Any]] = []
    code = exits.OK
    for job_id in ids:
        try:
            state = act(job_id)
        except (NotFound, WrongState) as error:
            if len(ids) == 1:
                raise
            told = exits.tell(error, as_json=bool(schema))
            code = code or told
            results.append({"id": job_id, "state": "error", "message": str(error)})
        else:
            results.append({"id": job_id, "state": state})
            if not schema:
                print(f"{job_id}: {words.get(state, state)}")
    if schema:
        document(schema, jobs=results)
    return code


def _retry_all(inspector: Inspector, queue: str, *, as_json: bool) -> int:
    dead = inspector.queues()[queue].dead if queue in inspector.queues() else 0
    revived = 0
    with long_work(f"retrying in {queue}", dead) as advance:
        for ids in _slices(inspector, queue, dead):
            moved = inspector.client.run(commands.revive(queue, ids))
            revived += moved
            advance(moved)
    if as_json:
        document("retry-all/v1", queue=queue, retried=revived)
    elif revived:
        print(f"{queue}: {count_of(revived, 'job')} put back.")
    else:
        note(f"There are no dead jobs in {queue}.")
    return exits.OK


def _slices(inspector: Inspector, queue: str, dead: int) -> Iterator[list[str]]:
    """Give the ids that are dead now, page by page; one that dies again meanwhile is not taken twice."""
    ids: list[str] = []
    for first in range(0, dead, MOST_ON_PAGE):
        ids += [line.id for line in inspector.jobs(queue, "dead", first, min(MOST_ON_PAGE, dead - first))]
    for first in range(0, len(ids), SLICE):
        yield ids[first : first + SLICE]
