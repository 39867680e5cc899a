"""Endpoints about one job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from conveyor.dashboard import known_tasks
from conveyor.dashboard.access.problems import Problem
from conveyor.dashboard.api.endpoint import endpoint
from conveyor.dashboard.api.models import (
    Done,
    MaybeQueue,
    Order,
    Progress,
    Query,
    Why,
    as_json,
    progress_of,
    struct_from,
)
from conveyor.dashboard.page import job_path
from conveyor.errors import BadCall
from conveyor.monitor import flow as flows
from conveyor.monitor import job_record, workers
from conveyor.store import records
from conveyor.wire import ids
from conveyor.wire.redaction import redacted, redacted_text

if TYPE_CHECKING:
    from conveyor.dashboard.api.endpoint import ApiRequest
    from conveyor.monitor.actions import JobResult
    from conveyor.monitor.job_record import JobRecord
    from conveyor.monitor.job_record import LogLine as Line
    from conveyor.wire.outcome import Settled


class Argument(Struct, frozen=True):
    """One argument, without secrets; the name is empty if it is unknown."""

    name: str
    value: Any


class Failure(Struct, frozen=True):
    """How a job failed."""

    kind: str
    message: str | None
    traceback: str | None


class Attempt(Struct, frozen=True):
    """A run of a job."""

    attempt: int
    started: float
    elapsed: float
    worker: str
    state: str
    kind: str
    message: str | None


class Step(Struct, frozen=True):
    """What one of the job's steps has kept, or waits for."""

    kind: str
    """step, signal, sleep or cursor."""
    name: str
    state: str
    """done; waiting or timed out."""
    size: int
    """Bytes of its value."""
    value: Any
    """Its value without secrets; null if it is large or has none."""
    until: float | None
    """When a wait or a sleep ends, seconds since 1970; null for never."""


class Job(Struct, frozen=True):
    """All that is known of a job."""

    id: str
    queue: str
    state: str
    task: str
    arguments: list[Argument] | None
    headers: dict[str, str] | None
    """Strings that travel beside the arguments, without secrets; empty once the job has finished."""
    preview: str | None
    result: Any
    error: Failure | None
    attempts: list[Attempt]
    steps: list[Step] | None
    progress: Progress | None
    place: int | None
    """How many are before it, while it waits."""
    due_in: float | None
    waits_for: str | None
    """What it waits for, while it is deferred; the key of a limit only for those with the right to inspect."""
    waits_until: float | None
    """When its limit lets the next one start, seconds since 1970, if only time decides."""
    expires_at: float | None
    """When it expires unless it has started before; null if it does not, or has started."""
    worker: str
    cancelling: bool
    """Whether it runs and its cancellation was requested."""
    cancelled_by: str | None
    """The person who cancelled it, or wants it cancelled; empty if unknown."""
    cancel_reason: str | None
    """That person's reason, or why the server cancelled it, such as the failure of a job before it."""
    killed: bool
    """Whether it was cancelled, and its worker killed since it did not end the run in time."""
    retries: int
    crashes: int
    attempt: int
    """Which attempt it is at, waits for or ended with, from 1."""
    put_at: float | None
    elapsed: float | None
    lines: int
    """How many of the lines it logged are remembered, 500 at most."""
    hidden: bool


class LogLine(Struct, frozen=True):
    """A line that a job logged."""

    id: str
    at: float
    text: str
    level: str
    """The name of its level in Python's logging; `out` or `err` if it was printed; empty if unknown."""
    attempt: int
    """Number of the attempt that logged it; 0 if unknown."""
    number: int
    """Number of the line in its run, from 1; about the last 1,000 are kept. 0 if unknown."""


class Log(Struct, frozen=True):
    """Lines, the oldest first; `next` is the `after` of those that follow."""

    lines: list[LogLine] | None
    next: str
    hidden: bool


class JobName(Struct, frozen=True):
    """Where a job is."""

    queue: str
    id: str


class FlowJob(Struct, frozen=True):
    """A job of a graph; all times are seconds since 1970."""

    id: str
    queue: str
    state: str
    task: str
    """Empty if it is unknown, as of a job that was cancelled before it ran."""
    level: int
    """How many jobs are in a row before it."""
    before: list[JobName]
    after: list[JobName]
    waits_for: str | None
    """What a deferred one waits for; the key of a limit only for those with the right to inspect."""
    since: float | None
    """When its worker claimed it, while it is running."""
    ended: float | None
    elapsed: float | None


class Flow(Struct, frozen=True):
    """The graph around a job: 300 jobs at most, the nearest ones, by level."""

    jobs: list[FlowJob]
    left_out: int
    """Jobs next to these that are left out; beyond them there may be more."""


class OneJob(Query, frozen=True):
    """Where a job is; without `queue` all are searched."""

    queue: MaybeQueue = ""


class LogQuery(OneJob, frozen=True):
    """Which lines are wanted: those after the line with the id `after`."""

    after: Annotated[str, Meta(max_length=50)] = ""
    count: Annotated[int, Meta(ge=1, le=500)] = 500


class AboutJob(Why, frozen=True):
    """Which queue the job is in; without it all are searched."""

    queue: MaybeQueue = ""


class SignalToJob(AboutJob, frozen=True, kw_only=True):
    """The signal, and its value for the task."""

    name: Annotated[str, Meta(min_length=1, max_length=ids.MAX_STEP_NAME)]
    value: Any = None


@endpoint("GET", "/jobs/{id}", "look", Job, query=OneJob)
def show_job(request: ApiRequest) -> Job:
    """Show a job."""
    queue, job = _find(request)
    record: JobRecord | None = request.context.ask(job_record.record(queue, job, known_tasks.labels))
    if record is None:
        raise _unknown(job)
    shown = request.may("inspect")
    result, error = _outcome(record.settled, shown=shown)
    return struct_from(
        Job,
        record,
        arguments=[Argument(name, as_json(value)) for name, value in record.arguments] if shown else None,
        headers=record.headers if shown else None,
        preview=record.preview if shown else None,
        result=result,
        error=error,
        attempts=[
            struct_from(Attempt, one, message=one.message if shown else None) for one in record.attempts
        ],
        steps=[
            struct_from(Step, one, name=redacted_text(one.name), value=as_json(one.value))
            for one in record.steps
        ]
        if shown
        else None,
        progress=progress_of(record.progress),
        waits_for=None if record.waits is None else record.waits.text(shown=shown),
        waits_until=None if record.waits is None else record.waits.until,
        elapsed=record.settled.elapsed if record.settled is not None else None,
        lines=len(record.lines),
        cancelled_by=record.cancelled_by if shown else None,
        cancel_reason=record.cancel_reason if shown else None,
        hidden=not shown,
    )


@endpoint("GET", "/jobs/{id}/flow", "look", Flow, query=OneJob)
def show_flow(request: ApiRequest) -> Flow:
    """Show the jobs before and after a job, and which waits for which."""
    queue, job = _find(request)
    found = request.context.ask(flows.flow(queue, job))
    shown = request.may("inspect")
    jobs = [
        struct_from(
            FlowJob,
            one,
            before=[JobName(*key) for key in one.before],
            after=[JobName(*key) for key in one.after],
            waits_for=one.waits_text(shown=shown) or None,
        )
        for one in found.jobs
    ]
    return Flow(jobs, found.left_out)


@endpoint("GET", "/jobs/{id}/log", "look", Log, query=LogQuery)
def show_log(request: ApiRequest) -> Log:
    """Show what a job logged."""
    queue, job = _find(request)
    last = request.query.after
    if not request.may("inspect"):
        return Log(None, last, hidden=True)
    lines = _cached_lines(request, queue, job)
    if lines is None:
        lines = request.context.ask(job_record.log_after(queue, job, last, request.query.count))
    shown = [struct_from(LogLine, one, text=redacted_text(one.text)) for one in lines]
    return Log(shown, shown[-1].id if shown else last, hidden=False)


@endpoint("POST", "/jobs/{id}/cancel", "act", Done, body=AboutJob)
def cancel_job(request: ApiRequest) -> Done:
    """Cancel a job."""
    queue, job = _find(request)
    return _done(job, request.actions.cancel_job(queue, job, request.body.reason), "cancel")


@endpoint("POST", "/jobs/{id}/signal", "act", Done, body=SignalToJob)
def signal_job(request: ApiRequest) -> Done:
    """Send a signal to a job that waits for it, or will."""
    queue, job = _find(request)
    body = request.body
    answer = request.actions.signal_job(queue, job, body.name, body.value, body.reason)
    if not answer.changed:
        raise Problem(
            409, "wrong-state", "The job had this signal before, no longer waits for it, or has finished."
        )
    return Done("The signal was sent", answer.state, answer.changed, answer.recorded)


@endpoint("POST", "/jobs/{id}/retry", "act", Done, body=AboutJob)
def retry_job(request: ApiRequest) -> Done:
    """Put a dead job back."""
    queue, job = _find(request)
    return _done(job, request.actions.retry_job(queue, job, request.body.reason), "retry")


@endpoint("POST", "/jobs/{id}/discard", "act", Done, body=AboutJob)
def discard_job(request: ApiRequest) -> Done:
    """Remove a dead job for good."""
    queue, job = _find(request)
    return _done(job, request.actions.discard_job(queue, job, request.body.reason), "discard")


@endpoint("POST", "/jobs/{id}/stack", "act", Order, body=AboutJob, status=202)
def request_stack(request: ApiRequest) -> Order:
    """Request the stack of a running job."""
    queue, job = _find(request)
    request.allowed("inspect")
    record: JobRecord | None = request.context.ask(job_record.record(queue, job))
    if record is None:
        raise _unknown(job)
    running = workers.running_job(request.context.snapshot().consumers, job, record.worker)
    name = running.name if running is not None else record.worker
    if not name:
        raise Problem(409, "wrong-state", "The job is not running, so it has no stack.")
    order = request.actions.control_workers(
        "stack", [name], request.body.reason, jobs={name: job}, queue=queue
    )
    return Order(order.id, list(order.targets), order.recorded)


def _unknown(job: str, elsewhere: str = "") -> Exception:
    hint = elsewhere or "outcomes are kept as long as the job said, an hour by default"
    return Problem(404, "unknown-job", f"Nothing is known of a job {job!r:.80}.", hint)


def _find(request: ApiRequest) -> tuple[str, str]:
    """Return queue and id of the job that the path names."""
    try:
        job = ids.checked_id(request.parts["id"])
    except BadCall:
        raise _unknown(request.parts["id"]) from None
    queue = request.queue
    if not queue:
        known = sorted(request.context.snapshot().queues)
        queue = request.context.ask(job_record.locate(job, known))
        if not queue:
            raise _unknown(job, job_record.not_everywhere(len(known)))
    return queue, job


def _outcome(settled: Settled | None, *, shown: bool) -> tuple[Any, Failure | None]:
    """Return result and error of a finished job, as far as they may be seen."""
    if settled is None:
        return None, None
    try:
        error = settled.error()
        if error is not None:
            kind = getattr(error, "kind", type(error).__name__)
            reason = redacted_text(getattr(error, "reason", str(error)))
            traceback = redacted_text(getattr(error, "traceback", ""))
            return None, Failure(kind, reason if shown else None, traceback if shown else None)
        return (as_json(redacted(settled.result_data())) if shown else None), None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None, Failure("undecodable", None, None)


def _cached_lines(request: ApiRequest, queue: str, job: str) -> list[Line] | None:
    """Return the lines from the cached page of the job, or None if it may not have them all.

    So any number of viewers of a log cost the server no more than the one poll that notifies them.
    """
    poller, after = request.context.poller, records.place_of(request.query.after)
    found = poller.registry.find(job_path(queue, job))
    cached = found and poller.cached(*found)
    if not cached:
        return None
    known: list[Line] = cached.view.job.lines
    wanted = [line for line in known if records.place_of(line.id) > after]
    is_whole = len(known) < job_record.MAX_LINES or len(wanted) < len(known)
    return wanted[: request.query.count] if is_whole else None


def _done(job: str, answer: JobResult, verb: str) -> Done:
    if answer.state == "gone":
        raise _unknown(job)
    if answer.holder:
        why = f"The job {answer.holder} has its unique key. Retry this one once that has finished, or cancel that."
        raise Problem(409, "wrong-state", why)
    if not answer.changed:
        raise Problem(409, "wrong-state", f"The job is {answer.state}, so there is nothing to {verb}.")
    message = "Its worker stops it now" if answer.state == "running" else f"The job is {answer.state}"
    return Done(message, answer.state, answer.changed, answer.recorded)
