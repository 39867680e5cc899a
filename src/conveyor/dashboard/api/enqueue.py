"""The endpoint that puts jobs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.api import inputs, job_answers, ordering
from conveyor.dashboard.api.endpoint import Endpoint, Reply
from conveyor.dashboard.api.problems import PartlyPut
from conveyor.errors import ConveyorError, DuplicateJob
from conveyor.monitor import job_record
from conveyor.queue import Queue
from conveyor.store import plain
from conveyor.wire.audit_entry import Act

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import Asked
    from conveyor.tasks import Task

#: Seconds that a request waits for room in a queue, and jobs that are put in one go.
PATIENCE, SLICE = 2.0, 1000
#: What the ids of jobs begin with that are made of a key.
KEYED = "key-"


def _put(asked: Asked) -> job_answers.Put | Reply:
    body = asked.body
    task = ordering.task_for(body.task, body, ordering.options(body))
    queue = task.put.queue
    own_id = _own_id(asked, asked.allowed("act").who)
    arguments = ordering.read(task, body.arguments)
    ordering.check(task, arguments)
    parts = ordering.parts_of(task, arguments, body.count)
    if asked.key:
        queue = _kept_queue(asked, own_id, queue)
    if own_id:
        task = task.options(id=own_id, queue=queue)
    act = Act(
        "enqueue", own_id or task.name, queue, body.reason, after={"task": task.name, "jobs": len(parts)}
    )
    actions = asked.actions
    try:
        jobs = _put_all(asked, task, parts)
    except PartlyPut as error:
        after = {"task": task.name, "jobs": error.accepted, "wanted": len(parts)}
        actions.record(replace(act, after=after, outcome=f"partly: {error}"))
        raise
    except DuplicateJob:
        if not asked.key:
            raise
        return Reply(_put_before(asked, task, queue, own_id), 200)
    except ConveyorError as error:
        actions.record(replace(act, outcome=f"refused: {error}"))
        raise
    recorded = actions.record(replace(act, outcome="done", target=jobs[0] if len(jobs) == 1 else task.name))
    return _answer(jobs, queue, recorded=recorded)


def _own_id(asked: Asked, who: str) -> str:
    """Give the id that the job is to have: the one asked for, or one made of the key; empty for any."""
    body, key = asked.body, asked.key
    if key and body.id:
        raise refused(422, "bad-key", "Give an id or an Idempotency-Key, not both.")
    if (key or body.id) and (body.count != 1 or body.split):
        raise refused(422, "bad-key", "An id or an Idempotency-Key is for one job, without count and split.")
    return f"{KEYED}{hashlib.sha256(repr((who, key)).encode()).hexdigest()[:40]}" if key else body.id or ""


def _kept_queue(asked: Asked, own_id: str, queue: str) -> str:
    """Give the queue that the key's first request was for; refuses a key that was used for another request.

    It is kept before the put: should the put be lost, the next request with the key puts the same job.
    """
    digest = hashlib.sha256(msgspec.json.encode(asked.body, order="sorted")).hexdigest()
    kept = asked.desk.acting.run(plain.keep_request(own_id.removeprefix(KEYED), f"{digest} {queue} {own_id}"))
    first, queue, _ = kept.split(" ") if kept else (digest, queue, own_id)
    if first != digest:
        raise refused(422, "key-reused", "The Idempotency-Key was used for another request.")
    return queue


def _put_all(asked: Asked, task: Task[..., Any], parts: list[dict[str, Any]]) -> list[str]:
    queue = Queue(task.put.queue, store=asked.desk.acting)
    names: list[str] = []
    try:
        for first in range(0, len(parts), SLICE):
            names += [
                one.id for one in queue.submit_parts(task, parts[first : first + SLICE], timeout=PATIENCE)
            ]
    except ConveyorError as error:
        names += error.ids
        if names:
            raise PartlyPut(queue.name, names, len(parts), error) from error
        raise
    return names


def _put_before(asked: Asked, task: Task[..., Any], queue: str, job: str) -> job_answers.Put:
    """Answer as the first time; a key older than what is kept of it may have been for another task."""
    story = asked.desk.ask(job_record.story(queue, job))
    if story is not None and story.task not in {"", task.name}:
        raise refused(422, "key-reused", "The Idempotency-Key was used for another task.")
    return _answer([job], queue, recorded=True)


def _answer(jobs: list[str], queue: str, *, recorded: bool) -> job_answers.Put:
    one = len(jobs) == 1
    message = f"Job {jobs[0]} is on {queue}" if one else f"{len(jobs):,} jobs are on {queue}"
    go = f"/jobs/{jobs[0]}?queue={queue}" if one else f"/queues/{queue}"
    return job_answers.Put(jobs, queue, message, go, recorded)


ENDPOINTS = (
    Endpoint(
        *("POST", "/jobs", "Put jobs", "act", _put, job_answers.Put),
        body=inputs.Enqueue,
        status=201,
        keyed=True,
    ),
)
