"""`conveyor job ID` shows all that is known of one job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from conveyor.cli import exits
from conveyor.cli.desk import open_inspector
from conveyor.cli.exits import NotFound
from conveyor.cli.output import clean, count_of, document, duration, moment, screen
from conveyor.cli.tasks import labels_of
from conveyor.cli.values import value_lines
from conveyor.cli.worker_control import stack_of
from conveyor.errors import JobFailed
from conveyor.wire import codec
from conveyor.wire.redaction import Labels, preview, redacted, redacted_arguments, redacted_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.cli.commands.look import JobShown
    from conveyor.monitor import Inspector, JobDetails
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Settled

_COLOURS = {"running": "green", "done": "green", "failed": "red", "lost": "red", "cancelled": "yellow"}


def show(asked: JobShown) -> int:
    """Show one job."""
    inspector = open_inspector(quiet=asked.json)
    details = known_job(inspector, asked.id, asked.queue)
    stack = stack_of(inspector, details) if asked.stack else None
    labels = labels_of(asked.tasks)(details.call.task) if details.call is not None else Labels()
    if asked.json:
        document("job/v1", **_document(details, labels), **({} if stack is None else {"stack": stack}))
        return exits.OK
    if stack is not None:
        for line in stack.splitlines():
            print(clean(line))
        return exits.OK
    lines = list(_facts(details, labels))
    width = max(len(title) for title, _ in lines)
    for title, text in lines:
        screen().print(Text.assemble((title.ljust(width + 2), "bold"), text), soft_wrap=True)
    _print_rest(details)
    return exits.OK


def known_job(inspector: Inspector, job_id: str, queue: str = "") -> JobDetails:
    """Give what is known of a job; raises NotFound."""
    details = inspector.job(job_id, queue or None)
    if details is not None:
        return details
    message = f"nothing is known of job {job_id!r}{f' in {queue}' if queue else ''}"
    raise NotFound(
        message, hint="outcomes are forgotten after an hour; `conveyor jobs QUEUE` lists those that live"
    )


def _facts(details: JobDetails, labels: Labels) -> Iterator[tuple[str, Text]]:
    yield "Job", Text(details.id)
    yield "Queue", Text(details.queue)
    yield "State", Text(_state(details), style=_COLOURS.get(details.state, ""))
    call = details.call
    if call is not None:
        yield "Task", Text(clean(call.task or "none: an item for Queue.get"))
        yield "Arguments", Text(clean(preview(call, labels, 2000)) or "none")
        yield "Put", Text(f"{moment(call.put_at):%Y-%m-%d %H:%M:%S} UTC")
    if details.cancelled.who or details.cancelled.reason:
        who, reason = details.cancelled.who or "unknown", redacted_text(details.cancelled.reason)
        yield "Cancelled", Text(clean(f"by {who}{reason and f': {reason}'}"))
    if details.settled is not None and details.settled.was_killed:
        yield "Killed", Text("its worker was killed: the task did not end in time")
    if details.worker:
        yield "Worker", Text(clean(details.worker))
    if details.progress is not None:
        step = details.progress
        share = "" if step.fraction is None else f"{step.fraction:.0%} "
        yield "Progress", Text(share + clean(redacted_text(step.message)))
    if details.retries or details.crashes:
        yield (
            "Tries",
            Text(
                f"{count_of(details.retries, 'retry', 'retries')}, {count_of(details.crashes, 'lost worker')}"
            ),
        )
    if details.settled is not None and details.settled.elapsed:
        yield "Took", Text(f"{details.settled.elapsed:.2f} s")


def _state(details: JobDetails) -> str:
    if details.place is not None:
        return f"waiting, {count_of(details.place, 'job')} before it"
    if details.due_in is not None:
        return f"delayed, due in {duration(details.due_in)}"
    return details.state


def _print_rest(details: JobDetails) -> None:
    """Write what takes more than a line: result or error, and the log."""
    show = screen()
    if details.settled is not None:
        error = details.settled.error()
        if error is None:
            show.print(Text("\nResult", style="bold"))
            for line in value_lines(redacted(codec.decode(details.settled.value))):
                show.print(Text(f"  {line}"), soft_wrap=True)
        elif isinstance(error, JobFailed):
            show.print(
                Text.assemble(("\nError", "bold"), f"\n  {clean(redacted_text(str(error)))}"), soft_wrap=True
            )
            for line in redacted_text(error.traceback).splitlines():
                show.print(Text(f"  {clean(line)}", style="dim"), soft_wrap=True)
    if details.lines:
        show.print(Text("\nLog", style="bold"))
        for line in details.lines:
            show.print(Text(f"  {clean(redacted_text(line))}"), soft_wrap=True)


def _document(details: JobDetails, labels: Labels) -> dict[str, Any]:
    call = details.call
    progress = details.progress
    return {
        "id": details.id,
        "queue": details.queue,
        "state": details.state,
        "task": None if call is None else call.task,
        "arguments": None if call is None else _arguments(call, labels),
        "put_at": None if call is None else moment(call.put_at),
        "place": details.place,
        "due_in": details.due_in,
        "worker": details.worker or None,
        "progress": None
        if progress is None
        else {"done": progress.done, "total": progress.total, "message": redacted_text(progress.message)},
        "retries": details.retries,
        "crashes": details.crashes,
        "cancelled_by": details.cancelled.who or None,
        "cancel_reason": redacted_text(details.cancelled.reason) or None,
        "killed": details.settled is not None and details.settled.was_killed,
        "log": list(map(redacted_text, details.lines)),
        **_ending(details.settled),
    }


def _arguments(call: Call, labels: Labels) -> dict[str, Any]:
    try:
        if not call.task:
            return {"item": redacted(call.item())}
        arguments = redacted_arguments(call, labels)
        count = len(call.positional())
        return {"positional": [value for _, value in arguments[:count]], "named": dict(arguments[count:])}
    except (msgspec.MsgspecError, ValueError) as error:
        return {"undecodable": str(error)}


def _ending(settled: Settled | None) -> dict[str, Any]:
    if settled is None:
        return {"took": None, "result": None, "error": None}
    error = settled.error()
    result = redacted(codec.decode(settled.value)) if error is None else None
    return {"took": settled.elapsed, "result": result, "error": error_document(error)}


def error_document(error: BaseException | None) -> dict[str, Any] | None:
    """Give what a job failed with for JSON, without secrets; None where it did not."""
    if isinstance(error, JobFailed):
        message, traceback = redacted_text(error.reason), redacted_text(error.traceback)
        return {"type": error.kind, "message": message, "traceback": traceback}
    if error is None:
        return None
    return {"type": type(error).__name__, "message": redacted_text(str(error)), "traceback": ""}
