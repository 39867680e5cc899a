"""Follows an order to its end and tells what came of it: exact wall time, the jobs' own times, the result."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from conveyor import clock
from conveyor.cli import exits
from conveyor.cli.job import error_document
from conveyor.cli.output import clean, count_of, document, duration, is_lively, margin, note, screen
from conveyor.cli.values import value_lines
from conveyor.errors import ConveyorError, JobCancelled, JobFailed, StoreUnavailable
from conveyor.monitor import Inspector
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.order import Order, OrderProgress

#: Seconds between two lines of progress where they cannot be overwritten, and between two looks for workers.
LINE_EVERY, LOOK_EVERY = 1.0, 2.0
#: Jobs whose ids are written out in a hint.
FEW = 8
#: Seconds of work below which a comparison with the wall time says nothing.
WORTH_COMPARING = 0.1
#: ListenReply of what a job says about its progress.
_ROOM = 36


def follow(order: Order, queue: str, *, as_json: bool) -> int:
    """Follow an order, then tell what came of it; gives the exit code."""
    try:
        watch(order, queue, quiet=as_json)
    except KeyboardInterrupt:
        note(f"\nNo longer following; the jobs go on. To cancel them: {how_to_cancel(order, queue)}")
        return exits.INTERRUPTED
    return _report(order, queue, as_json=as_json)


def watch(order: Order, queue: str, *, quiet: bool) -> None:
    """Show the progress until all jobs are over."""
    if quiet:
        order.wait()
    elif is_lively():
        _with_bar(order, queue)
    else:
        _with_lines(order, queue)


def how_to_cancel(order: Order, queue: str) -> str:
    """Give the command that cancels what is left of an order."""
    left = [job.id for job in order.jobs if job.settled is None]
    if len(left) <= FEW:
        return f"conveyor cancel {' '.join(left)}"
    return f"conveyor purge {queue}  (all that wait there)"


def _with_bar(order: Order, queue: str) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[step]}"),
        TimeElapsedColumn(),
    )
    waits = _waiting_note(queue)
    with Progress(*columns, console=margin()) as bars:
        bar = bars.add_task(order.task.name, total=1.0, step="")
        told = False
        for step in order.watch():
            nobody = waits(step)
            if nobody and not told:
                bars.console.print(nobody)
            told = bool(nobody)
            words = "waiting for a worker" if nobody else clean(redacted_text(step.message))[:_ROOM]
            bars.update(
                bar, completed=step.fraction, step=f"{step.over:,}/{step.jobs:,} jobs  {words}".rstrip()
            )


def _with_lines(order: Order, queue: str) -> None:
    waits = _waiting_note(queue)
    said, told, at = "", -1, float("-inf")
    for step in order.watch():
        words = waits(step)
        if words and words != said:
            note(words)
        said = words
        if step.over != told and (step.over == step.jobs or clock.monotonic() - at >= LINE_EVERY):
            told, at = step.over, clock.monotonic()
            note(
                f"{step.over:,} of {count_of(step.jobs, 'job')} done, {step.fraction:.0%}, {duration(order.seconds)}"
            )


def _waiting_note(queue: str) -> Callable[[OrderProgress], str]:
    """Give a function that says so while nothing moves for want of workers."""
    inspector = Inspector()
    words, looked, last = "", clock.monotonic(), -1.0

    def waiting_note(step: OrderProgress) -> str:
        nonlocal words, looked, last
        now = clock.monotonic()
        if step.fraction != last:
            words, last, looked = "", step.fraction, now
        elif now - looked >= LOOK_EVERY:
            looked, words = now, ""
            with contextlib.suppress(StoreUnavailable):
                if not inspector.workers(queue):
                    words = f"No worker listens on {queue} yet. Hint: conveyor consume {queue}"
        return words

    return waiting_note


def _report(order: Order, queue: str, *, as_json: bool) -> int:
    """Print times and result; what failed goes to standard error."""
    error: ConveyorError | None = None
    result: Any = None
    try:
        result = order.result()
    except ConveyorError as raised:
        error = raised
    if as_json:
        _print_document(order, queue, result, error)
        return exits.OK if error is None else exits.FAILED
    show = screen()
    show.print(f"Execution time: {exact(order.seconds)}")
    if len(order.jobs) > 1:
        worth = order.job_seconds >= WORTH_COMPARING and order.seconds
        gain = f", {order.job_seconds / order.seconds:.2f} times the execution time" if worth else ""
        show.print(f"Work of {count_of(len(order.jobs), 'job')}: {exact(order.job_seconds)}{gain}")
    if error is not None:
        _tell_failure(order, error)
        return exits.FAILED
    show.print("Result:")
    for line in value_lines(result):
        show.print(f"  {line}", soft_wrap=True)
    return exits.OK


def exact(seconds: float) -> str:
    """Give a time with its hundredths, and in minutes as well where it is long."""
    return f"{seconds:.2f} s" if seconds < 120 else f"{seconds:.2f} s ({duration(seconds)})"  # noqa: PLR2004 - two minutes


def _tell_failure(order: Order, error: ConveyorError) -> None:
    failed = order.failed()
    if not failed:  # the jobs are fine, joining them was not
        exits.write(str(error), error.hint, exits.FAILED, as_json=False)
        return
    kinds = {JobCancelled: "cancelled", JobFailed: "failed"}
    word = next((word for kind, word in kinds.items() if isinstance(error, kind)), "gone")
    message = f"{len(failed):,} of {count_of(len(order.jobs), 'job')} {word}: {clean(str(error))}"
    exits.write(message, f"conveyor job {failed[0].id}", exits.FAILED, as_json=False)


def _print_document(order: Order, queue: str, result: Any, error: ConveyorError | None) -> None:
    document(
        "order/v1",
        task=order.task.name,
        queue=queue,
        state="done" if error is None else "failed",
        jobs=[
            {"id": job.id, "state": job.settled.state if job.settled is not None else None}
            for job in order.jobs
        ],
        wall_seconds=round(order.seconds, 6),
        job_seconds=round(order.job_seconds, 6),
        result=result,
        error=error_document(error),
    )
