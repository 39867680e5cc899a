"""The endpoint that enqueues jobs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.api import enqueue_request as requests
from conveyor.dashboard.api.endpoint import Reply, endpoint
from conveyor.dashboard.api.enqueue_request import Enqueue
from conveyor.dashboard.api.problems import PartlyPut
from conveyor.errors import ConveyorError, DuplicateJob
from conveyor.monitor import job_record
from conveyor.queue import Queue
from conveyor.store import records
from conveyor.wire.audit_entry import AuditEntry, Facts

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import ApiRequest
    from conveyor.tasks import Task

#: Seconds that a request waits for room in a queue, and jobs that are put in one go.
PATIENCE, SLICE = 2.0, 1000
#: Prefix of job ids that are made of a key.
KEYED = "key-"


class Put(Struct, frozen=True):
    """Jobs that were put."""

    jobs: list[str]
    queue: str
    message: str
    go: str
    """The page that shows it."""
    recorded: bool = True


@endpoint("POST", "/jobs", "act", Put, body=Enqueue, status=201, keyed=True)
def enqueue_jobs(request: ApiRequest) -> Put | Reply:
    """Enqueue jobs."""
    body = request.body
    task = requests.task_for(body.task, body, requests.options_of(body))
    queue = task.put.queue
    own_id = _own_id(request, request.allowed("act").who)
    arguments = requests.read(task, body.arguments)
    requests.check(task, arguments)
    parts = requests.parts_of(task, arguments, body.count)
    if request.key:
        queue = _kept_queue(request, own_id, queue)
    if own_id:
        task = task.options(id=own_id, queue=queue)
    facts: Facts = {"task": task.name, "jobs": len(parts)}
    act = AuditEntry("enqueue", own_id or task.name, queue, body.reason, after=facts)
    actions = request.actions
    try:
        jobs = _put_all(request, task, parts)
    except PartlyPut as error:
        facts = {"task": task.name, "jobs": error.accepted, "wanted": len(parts)}
        actions.record(replace(act, after=facts, outcome=f"partly: {error}"))
        raise
    except DuplicateJob:
        if not request.key:
            raise
        return Reply(_put_before(request, task, queue, own_id), 200)
    except ConveyorError as error:
        actions.record(replace(act, outcome=f"refused: {error}"))
        raise
    recorded = actions.record(replace(act, outcome="done", target=jobs[0] if len(jobs) == 1 else task.name))
    return _put(jobs, queue, recorded=recorded)


def _own_id(request: ApiRequest, who: str) -> str:
    """Return the requested id of the job, or the one made of the key; "" for any."""
    body, key = request.body, request.key
    if key and body.id:
        raise refused(422, "bad-key", "Give an id or an Idempotency-Key, not both.")
    if (key or body.id) and (body.count != 1 or body.split):
        raise refused(422, "bad-key", "An id or an Idempotency-Key is for one job, without count and split.")
    return f"{KEYED}{hashlib.sha256(repr((who, key)).encode()).hexdigest()[:40]}" if key else body.id or ""


def _kept_queue(request: ApiRequest, own_id: str, queue: str) -> str:
    """Return the queue of the key's first request. Refuses a key that was used for another request.

    It is kept before the put: should the put be lost, the next request with the key puts the same job.
    """
    digest = hashlib.sha256(msgspec.json.encode(request.body, order="sorted")).hexdigest()
    command = records.keep_request(own_id.removeprefix(KEYED), f"{digest} {queue} {own_id}")
    kept = request.context.acting.run(command)
    first, queue, _ = kept.split(" ") if kept else (digest, queue, own_id)
    if first != digest:
        raise refused(422, "key-reused", "The Idempotency-Key was used for another request.")
    return queue


def _put_all(request: ApiRequest, task: Task[..., Any], parts: list[dict[str, Any]]) -> list[str]:
    queue = Queue(task.put.queue, store=request.context.acting)
    jobs: list[str] = []
    try:
        for first in range(0, len(parts), SLICE):
            some = queue.submit_parts(task, parts[first : first + SLICE], timeout=PATIENCE)
            jobs += [one.id for one in some]
    except ConveyorError as error:
        jobs += error.ids
        if jobs:
            raise PartlyPut(queue.name, jobs, len(parts), error) from error
        raise
    return jobs


def _put_before(request: ApiRequest, task: Task[..., Any], queue: str, job: str) -> Put:
    """Respond as the first time; a key older than what is kept of it may have been for another task."""
    record = request.context.ask(job_record.record(queue, job))
    if record is not None and record.task not in {"", task.name}:
        raise refused(422, "key-reused", "The Idempotency-Key was used for another task.")
    return _put([job], queue, recorded=True)


def _put(jobs: list[str], queue: str, *, recorded: bool) -> Put:
    one = len(jobs) == 1
    message = f"Job {jobs[0]} is on {queue}" if one else f"{len(jobs):,} jobs are on {queue}"
    go = f"/jobs/{jobs[0]}?queue={queue}" if one else f"/queues/{queue}"
    return Put(jobs, queue, message, go, recorded)
