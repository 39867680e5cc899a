"""`conveyor jobs` lists the jobs of a queue, `conveyor job` shows one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from rich.text import Text

from conveyor import clock
from conveyor.cli import options
from conveyor.cli.connection import existing_queue, open_inspector
from conveyor.cli.control_targets import stack_of
from conveyor.cli.exit_codes import OK, NotFound, Usage
from conveyor.cli.job_log import follow_job, line_document, print_log
from conveyor.cli.options import Json, OnlyQueue, QueueName, TaskModules, argument, flag, option
from conveyor.cli.output import document, note, screen, table, value_lines
from conveyor.cli.tasks import labels_of
from conveyor.errors import JobFailed
from conveyor.monitor import job_record, workers
from conveyor.monitor.format import STATE_COLORS, count_of, duration, printable, progress, safe, utc
from conveyor.monitor.snapshot import in_state
from conveyor.monitor.waits import key_text
from conveyor.store import commands
from conveyor.wire.call import ITEM_WORD
from conveyor.wire.control_messages import SILENT
from conveyor.wire.redaction import no_labels, redacted, redacted_arguments, redacted_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.errors import JobCancelled
    from conveyor.monitor import Inspector
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobRecord, JobStep
    from conveyor.monitor.waits import Wait
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Attempt, Settled
    from conveyor.wire.redaction import Labels, LabelsOf

    Row = dict[str, Any]

#: The facts about a job in each state: field of the document to title of the column.
_FACTS = {
    "waiting": {"place": "POSITION"},
    "deferred": {"waits_for": "WAITS FOR"},
    "delayed": {"due_in": "DUE IN"},
    "running": {"worker": "WORKER", "running_for": "FOR", "progress": "PROGRESS"},
    "dead": {"died": "DIED", "error": "ERROR"},
}


def jobs(
    queue: QueueName,
    *,
    state: Annotated[
        Literal["waiting", "deferred", "delayed", "running", "dead"], typer.Option(help="State of the jobs.")
    ] = ("waiting"),
    first: Annotated[int, option("N", "Skip the first N.", min=0)] = 0,
    count: Annotated[int, option("N", "Show at most N jobs.", min=1, max=1000)] = 50,
    tasks: TaskModules,
    as_json: Json = False,
) -> None:
    """List a queue's unfinished or dead jobs."""
    inspector = open_inspector(quiet=as_json)
    total = in_state(existing_queue(inspector, queue), state)
    found = inspector.jobs(queue, state, first, count, labels_of(tasks))
    facts = {
        "waiting": _waiting,
        "deferred": _deferred,
        "delayed": _delayed,
        "running": _running,
        "dead": _dead,
    }[state]
    rows = [
        {"id": job.id, "task": job.task, "arguments": job.arguments, **more}
        for job, more in zip(found, facts(inspector, found, first), strict=True)
    ]
    if as_json:
        document("jobs/v1", queue=queue, state=state, first=first, total=total, jobs=rows)
        return
    if not rows:
        note(f"No {state} jobs in {queue}{f' after the first {first:,}' if first else ''}.")
        return
    table(
        [_cells(state, row) for row in rows],
        numbers=("POSITION", "DUE IN", "FOR", "DIED"),
        may_shrink=("TASK", "ARGUMENTS", "WORKER", "PROGRESS", "ERROR", "WAITS FOR"),
    )
    last = first + len(rows)
    if last < total or first:
        more = f"; next: --first {last}" if last < total else ""
        note(f"{first + 1:,} to {last:,} of {count_of(total, state + ' job')}{more}")


def _cells(state: str, row: Row) -> dict[str, str | Text]:
    cells = {"JOB": row["id"], "TASK": row["task"] or ITEM_WORD, "ARGUMENTS": row["arguments"]}
    return cells | {title: _fact_text(name, row) for name, title in _FACTS[state].items()}


def _fact_text(name: str, row: Row) -> str:
    value, is_silent = row[name], row.get("silent_since") is not None
    if value is None:
        return "a signal" if name == "due_in" else ""
    if name == "worker" and is_silent:
        return f"{value} (silent)"
    if name == "running_for" and is_silent:
        return f"at least {duration(value)}"
    if name in {"due_in", "running_for"}:
        return duration(value)
    if name == "died":
        return f"{duration(max(0.0, clock.wall() - value.timestamp()))} ago"
    return str(value)


def _waiting(_: Inspector, found: Sequence[JobRow], first: int) -> list[Row]:
    return [{"place": place} for place, _ in enumerate(found, first + 1)]


def _deferred(_: Inspector, found: Sequence[JobRow], __: int) -> list[Row]:
    return [{"waits_for": job.waits_for} for job in found]


def _delayed(inspector: Inspector, found: Sequence[JobRow], _: int) -> list[Row]:
    now = inspector.client.run(commands.server_time())
    return [{"due_in": None if job.due_at is None else round(max(0.0, job.due_at - now), 3)} for job in found]


def _dead(_: Inspector, found: Sequence[JobRow], __: int) -> list[Row]:
    return [
        {
            "died": utc(job.since or 0.0),
            "error": ": ".join(filter(None, (job.kind, job.message))) or None,
        }
        for job in found
    ]


def _running(inspector: Inspector, found: Sequence[JobRow], _: int) -> Iterator[Row]:
    """Yield what the workers report about their jobs, or what the lease shows about the job of a silent worker.

    All is None for a job that has just finished.
    """
    seen = inspector.presence()
    by_job = {worker.job: worker for worker in seen.workers() if worker.job and worker.state != SILENT}
    for job in found:
        facts: Row = dict.fromkeys(("worker", "running_for", "progress", "silent_since"))
        if worker := by_job.get(job.id):
            ran = worker.busy_for
            facts |= {"worker": worker.name, "progress": progress(worker), "running_for": round(ran, 3)}
        elif job.since is not None:
            since = seen.job_silent_since(job.worker, job.since)
            ran = max(0.0, (seen.at if since is None else since) - job.since)
            step = progress(job.progress) if job.progress else ""
            facts |= {"worker": job.worker, "progress": step, "running_for": round(ran, 3)}
            facts["silent_since"] = None if since is None else utc(since)
        yield facts


def job(
    job_id: Annotated[str, argument("JOB", "Id of the job.", options.jobs)],
    *,
    queue: OnlyQueue = "",
    stack: Annotated[bool, flag("Show only the Python stacks of its worker.", "--stack")] = False,
    follow: Annotated[
        bool, flag("Show only its log, and new lines until it has finished.", "--follow", "-f")
    ] = False,
    tasks: TaskModules,
    as_json: Json = False,
) -> int:
    """Show all about a job: state, arguments, progress, result or error, log."""
    inspector = open_inspector(quiet=as_json)
    labels = labels_of(tasks)
    details = known_job(inspector, job_id, queue, labels)
    if follow:
        if stack:
            raise Usage("--stack and --follow exclude each other", hint="use one of them")
        return follow_job(inspector, details, as_json=as_json)
    stacks = stack_of(inspector, details) if stack else ""
    if as_json:
        batch = _batch(inspector, details) or None
        document("job/v1", **_document(details, labels), batch=batch, **({"stack": stacks} if stack else {}))
    elif stack:
        for line in stacks.splitlines():
            print(printable(line))
    else:
        facts = dict(job_record.facts(details, _batch(inspector, details)))
        width = max(map(len, facts)) + 2
        for title, text in facts.items():
            color = STATE_COLORS.get(details.state, "") if title == "State" else ""
            _print(Text.assemble((title.ljust(width), "bold"), (text, color)))
        _print_outcome(details)
    return OK


def _batch(inspector: Inspector, details: JobRecord) -> int:
    """Return how many jobs the worker of a running job runs together, or 0 if it is not running."""
    if details.state != "running":
        return 0
    worker = workers.running_job(inspector.consumers(), details.id, details.worker)
    return 0 if worker is None else worker.batch


def known_job(inspector: Inspector, job_id: str, queue: str = "", labels: LabelsOf = no_labels) -> JobRecord:
    """Return what is known of a job. Raises NotFound."""
    details = inspector.job(job_id, queue or None, labels)
    if details is not None:
        return details
    message = f"no job {job_id!r}{f' in {queue}' if queue else ''}"
    raise NotFound(
        message, hint="list unfinished jobs with `conveyor jobs QUEUE`; outcomes are kept for an hour"
    )


def _print(*parts: Text | str) -> None:
    for part in parts:
        screen().print(part, soft_wrap=True)


def _print_outcome(details: JobRecord) -> None:
    """Print result or error, and the log."""
    result, error = _outcome(details.settled)
    if details.settled is not None and error is None:
        _print(Text("\nResult", style="bold"), *(f"  {line}" for line in value_lines(result)))
    elif isinstance(error, JobFailed):
        _print(Text("\nError", style="bold"), f"  {safe(str(error))}")
        traceback = redacted_text(error.traceback).splitlines()
        _print(*(Text(f"  {printable(line)}", style="dim") for line in traceback))
    if details.lines:
        _print(Text("\nLog", style="bold"))
        print_log(details.lines, indent="  ")


def _outcome(settled: Settled | None) -> tuple[Any, JobFailed | JobCancelled | None]:
    """Return the result of a finished job for people, or its error, also if the result is unreadable."""
    error = None if settled is None else settled.error()
    if settled is None or error is not None:
        return None, error
    try:
        return redacted(settled.result_data()), None
    except ValueError as unreadable:
        return None, JobFailed("Undecodable", f"the bytes of its result are invalid: {unreadable}")


def _document(details: JobRecord, labels: LabelsOf) -> dict[str, Any]:
    call, step, settled = details.call, details.progress, details.settled
    progressed = step and {"done": step.done, "total": step.total, "message": redacted_text(step.message)}
    value, error = _outcome(settled)
    return {
        "id": details.id,
        "queue": details.queue,
        "state": details.state,
        "task": details.task or (None if call is None else call.task),
        "arguments": None if call is None else _arguments(call, labels(call.task)),
        "headers": None if call is None else details.headers,
        "put_at": None if call is None else utc(call.put_at),
        "place": details.place,
        "due_in": details.due_in,
        "waits": None if details.waits is None else _wait_document(details.waits),
        "worker": details.worker or (details.run.worker if details.run else None) or None,
        "progress": progressed,
        "attempts": [_attempt_document(one) for one in details.attempts],
        "steps": [_step_document(one) for one in details.steps],
        "expires_at": None if details.expires_at is None else utc(details.expires_at),
        "last_error": job_record.last_error(details) or None,
        "retries": details.retries,
        "crashes": details.crashes,
        "cancelled_by": details.cancelled_by or None,
        "cancel_reason": details.cancel_reason or None,
        "killed": details.killed,
        "log": [line_document(line) for line in details.lines],
        "took": None if settled is None else settled.elapsed,
        "result": value,
        "error": error_document(error),
    }


def _attempt_document(attempt: Attempt) -> Row:
    return {
        "attempt": attempt.attempt,
        "started": utc(attempt.started) if attempt.started else None,
        "took": attempt.elapsed,
        "worker": attempt.worker or None,
        "state": attempt.state,
        "error": ": ".join(filter(None, (attempt.kind, redacted_text(attempt.message)))) or None,
    }


def _wait_document(wait: Wait) -> dict[str, Any]:
    limit = wait.limit
    return {
        "text": wait.text(),
        "until": None if wait.until is None else utc(wait.until),
        "jobs": list(wait.jobs),
        "jobs_before": wait.before,
        "limit": None if limit is None else key_text(limit.key),
        "ahead": wait.ahead,
    }


def _step_document(step: JobStep) -> Row:
    until = None if step.until is None else utc(step.until)
    return {
        "kind": step.kind,
        "name": redacted_text(step.name),
        "state": step.state,
        "until": until,
        "size": step.size,
        "value": step.value,
    }


def _arguments(call: Call, labels: Labels) -> dict[str, Any]:
    try:
        if not call.task:
            return {"item": redacted(call.item_data())}
        arguments = redacted_arguments(call, labels)
        count = len(call.positional())
        return {"positional": [value for _, value in arguments[:count]], "named": dict(arguments[count:])}
    except (msgspec.MsgspecError, ValueError) as error:
        return {"undecodable": str(error)}


def error_document(error: BaseException | None) -> dict[str, Any] | None:
    """Return the error of a job for JSON, without secrets, or None without an error."""
    if isinstance(error, JobFailed):
        message, traceback = redacted_text(error.reason), redacted_text(error.traceback)
        return {"type": error.kind, "message": message, "traceback": traceback}
    if error is None:
        return None
    return {"type": type(error).__name__, "message": redacted_text(str(error)), "traceback": ""}
