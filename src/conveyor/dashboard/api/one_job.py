"""Endpoints about one job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from conveyor.dashboard import known_tasks
from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.api import answers, inputs, job_answers
from conveyor.dashboard.api.endpoint import Endpoint
from conveyor.dashboard.pages.asked import job_path
from conveyor.errors import BadCall
from conveyor.monitor import job_record, workers
from conveyor.store import records
from conveyor.wire import ids
from conveyor.wire.redaction import redacted, redacted_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.dashboard.api.endpoint import Asked
    from conveyor.monitor.actions import Actions
    from conveyor.monitor.job_record import JobStory, LogLine
    from conveyor.wire.outcome import Settled


def _unknown(job: str, elsewhere: str = "") -> Exception:
    hint = elsewhere or "Outcomes are kept as long as the job said, an hour by default."
    return refused(404, "unknown-job", f"Nothing is known of a job {job!r:.80}.", hint)


def _found(asked: Asked) -> tuple[str, str]:
    """Return queue and id of the job that the path names."""
    try:
        job = ids.checked_id(asked.parts["id"])
    except BadCall:
        raise _unknown(asked.parts["id"]) from None
    queue = asked.queue
    if not queue:
        known = sorted(asked.desk.snapshot().queues)
        queue = asked.desk.ask(job_record.locate(job, known))
        if not queue:
            raise _unknown(job, job_record.not_everywhere(len(known)))
    return queue, job


def _one(asked: Asked) -> job_answers.Job:
    queue, job = _found(asked)
    story: JobStory | None = asked.desk.ask(job_record.story(queue, job, known_tasks.labels))
    if story is None:
        raise _unknown(job)
    shown = asked.may("inspect")
    result, error = _outcome(story.settled, shown=shown)
    return answers.made(
        job_answers.Job,
        story,
        arguments=_arguments(story) if shown else None,
        preview=story.preview if shown else None,
        result=result,
        error=error,
        attempts=[
            answers.made(job_answers.Attempt, one, message=one.message if shown else None)
            for one in story.attempts
        ],
        progress=job_answers.progress_of(story.progress),
        elapsed=story.settled.elapsed if story.settled is not None else None,
        lines=len(story.lines),
        cancelled_by=story.cancelled_by if shown else None,
        cancel_reason=story.cancel_reason if shown else None,
        hidden=not shown,
    )


def _arguments(story: JobStory) -> list[job_answers.Argument]:
    return [job_answers.Argument(name, job_answers.as_json(value)) for name, value in story.arguments]


def _outcome(settled: Settled | None, *, shown: bool) -> tuple[Any, job_answers.Failure | None]:
    """Give result and error of a job that is over, as far as they may be seen."""
    if settled is None:
        return None, None
    try:
        error = settled.error()
        if error is not None:
            kind, reason = getattr(error, "kind", ""), redacted_text(getattr(error, "reason", ""))
            traceback = redacted_text(getattr(error, "traceback", ""))
            return None, job_answers.Failure(kind, reason if shown else None, traceback if shown else None)
        return (job_answers.as_json(redacted(settled.result())) if shown else None), None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None, job_answers.Failure("undecodable", None, None)


def _log(asked: Asked) -> job_answers.Log:
    queue, job = _found(asked)
    after = asked.query.after
    if not asked.may("inspect"):
        return job_answers.Log(None, after, hidden=True)
    lines = _seen_lines(asked, queue, job)
    if lines is None:
        lines = asked.desk.ask(job_record.log_after(queue, job, after, asked.query.count))
    shown = [job_answers.LogLine(one.id, one.at, redacted_text(one.text)) for one in lines]
    return job_answers.Log(shown, shown[-1].id if shown else after, hidden=False)


def _seen_lines(asked: Asked, queue: str, job: str) -> list[LogLine] | None:
    """Give the lines from the job's page as somebody has just seen it; None where it may not have them all.

    So many who follow a log cost the server no more than the one look at the page that each of them is told of.
    """
    after = records.place_of(asked.query.after)
    found = asked.desk.poller.registry.find(job_path(queue, job))
    sight = found and asked.desk.poller.cached(*found)
    if not sight:
        return None
    known = sight.view.job.lines
    wanted = [line for line in known if records.place_of(line.id) > after]
    is_whole = len(known) < job_record.MOST_LINES or len(wanted) < len(known)
    return wanted[: asked.query.count] if is_whole else None


def _acting(
    do: Callable[[Actions], Callable[[str, str, str], Any]], words: str
) -> Callable[[Asked], answers.Done]:
    def act(asked: Asked) -> answers.Done:
        queue, job = _found(asked)
        told = do(asked.actions)(queue, job, asked.body.reason)
        if told.state == "gone":
            raise _unknown(job)
        changed = getattr(told, "changed", told.state in {"cancelled", "running"})
        if not changed:
            raise refused(409, "wrong-state", f"The job is {told.state}, so there is nothing to {words}.")
        message = "Its worker is told to stop it" if told.state == "running" else f"The job is {told.state}"
        return answers.Done(message, told.state, changed, told.recorded)

    return act


def _stack(asked: Asked) -> answers.Order:
    queue, job = _found(asked)
    asked.allowed("inspect")
    running = workers.running_job(asked.desk.snapshot().consumers, job)
    story: JobStory | None = asked.desk.ask(job_record.story(queue, job))
    if story is None:
        raise _unknown(job)
    name = running.name if running is not None else story.worker
    if not name:
        raise refused(409, "wrong-state", "The job is not running, so there is no stack to show.")
    acting, jobs = asked.actions, {name: job}
    told = acting.tell_workers("stack", [name], asked.body.reason, jobs=jobs, queue=queue)
    return answers.Order(told.id, list(told.targets), told.recorded)


_ONE = "/jobs/{id}"
_cancel = _acting(lambda actions: actions.cancel_job, "cancel")
_retry = _acting(lambda actions: actions.retry_job, "retry")
_discard = _acting(lambda actions: actions.discard_job, "discard")
ENDPOINTS = (
    Endpoint("GET", _ONE, "Show a job", "look", _one, job_answers.Job, inputs.OneJob),
    Endpoint(
        "GET",
        f"{_ONE}/log",
        "Give what a job logged",
        "look",
        _log,
        job_answers.Log,
        inputs.LogQuery,
    ),
    Endpoint(
        "POST",
        f"{_ONE}/cancel",
        "Cancel a job",
        "act",
        _cancel,
        answers.Done,
        body=inputs.AboutJob,
    ),
    Endpoint(
        *("POST", f"{_ONE}/retry", "Put a dead job back", "act", _retry, answers.Done),
        body=inputs.AboutJob,
    ),
    Endpoint(
        *("POST", f"{_ONE}/discard", "Remove a dead job for good", "act", _discard, answers.Done),
        body=inputs.AboutJob,
    ),
    Endpoint(
        *(
            "POST",
            f"{_ONE}/stack",
            "Ask where the code of a running job is",
            "act",
            _stack,
            answers.Order,
        ),
        body=inputs.AboutJob,
        status=202,
    ),
)
