"""Following an order to its result: progress, exact wall time, the jobs' own times, the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from conveyor import clock
from conveyor.cli import exit_codes
from conveyor.cli.jobs import error_document
from conveyor.cli.output import document, is_lively, margin, note, screen, value_lines
from conveyor.errors import ConveyorError, JobCancelled, JobExpired, JobFailed
from conveyor.monitor import Inspector
from conveyor.monitor.follow import WorkerMonitor
from conveyor.monitor.format import count_of, duration, printable, safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.order import Order, OrderProgress

#: Seconds between two lines of progress if they cannot be overwritten.
LINE_INTERVAL = 1.0
#: Ids listed in a hint.
MAX_IDS = 8
#: Seconds of work below which a comparison with the wall time is meaningless.
MIN_COMPARED = 0.1
#: Share of the execution time from which that of the split is shown.
MIN_SPLIT_SHARE = 0.05
#: Characters of a job's progress message.
_MAX_MESSAGE = 36


def follow(order: Order, queue: str, *, as_json: bool) -> int:
    """Show the progress of an order until it has finished, print the result and return the exit code."""
    try:
        if as_json:
            order.wait()
        elif is_lively():
            _show_bar(order, queue)
        else:
            _print_progress(order, queue)
    except KeyboardInterrupt:
        unfinished = [job.id for job in order.jobs if job.settled is None]
        few = len(unfinished) <= MAX_IDS
        cancel = (
            f"conveyor cancel {' '.join(unfinished)}" if few else f"conveyor purge {queue}  (all jobs there)"
        )
        note(f"\nNo longer following; the jobs continue. To cancel them: {cancel}")
        return exit_codes.INTERRUPTED
    try:
        result, error = order.result(), None
    except ConveyorError as raised:
        result, error = None, raised
    if as_json:
        _print_document(order, queue, result, error)
    else:
        _print_result(order, result, error)
    return exit_codes.OK if error is None else exit_codes.FAILED


def _show_bar(order: Order, queue: str) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[step]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=margin()) as bars:
        bar = bars.add_task(order.task.name, total=1.0, step="")
        for step, is_stuck in _steps(order, queue):
            label = "waiting for a worker" if is_stuck else safe(step.message)[:_MAX_MESSAGE]
            label = f"{step.over:,}/{step.jobs:,} jobs  {label}".rstrip()
            bars.update(bar, completed=step.fraction, step=label)


def _print_progress(order: Order, queue: str) -> None:
    reported, at = -1, float("-inf")
    for step, _ in _steps(order, queue):
        is_due = step.over == step.jobs or clock.monotonic() - at >= LINE_INTERVAL
        if step.over != reported and is_due:
            reported, at = step.over, clock.monotonic()
            done = f"{step.over:,} of {count_of(step.jobs, 'job')} done"
            note(f"{done}, {step.fraction:.0%}, {duration(order.seconds)}")


def _steps(order: Order, queue: str) -> Iterator[tuple[OrderProgress, bool]]:
    """Yield the progress of an order, and True while there is none for lack of workers, which a note reports."""
    inspector = Inspector()
    monitor = WorkerMonitor(lambda: len(inspector.workers(queue)))
    last, was_stuck = -1.0, False
    for step in order.watch():
        if step.fraction != last:
            monitor.progressed()
        is_stuck = step.fraction == last and monitor.check() > 0
        if is_stuck and not was_stuck:
            note(f"No workers on {queue} yet. Hint: conveyor consume {queue}")
        last, was_stuck = step.fraction, is_stuck
        yield step, is_stuck


def _print_result(order: Order, result: Any, error: ConveyorError | None) -> None:
    """Print times and result; an error goes to standard error."""
    show = screen()
    show.print(f"Execution time: {exact(order.seconds)}")
    if order.split_seconds > MIN_SPLIT_SHARE * order.seconds:
        show.print(f"Splitting, which it includes: {exact(order.split_seconds)}")
    if len(order.jobs) > 1:
        is_compared = order.job_seconds >= MIN_COMPARED and order.seconds
        gain = f", {order.job_seconds / order.seconds:.2f} times the execution time" if is_compared else ""
        show.print(f"Work of {count_of(len(order.jobs), 'job')}: {exact(order.job_seconds)}{gain}")
    if error is None:
        show.print("Result:")
        for line in value_lines(result):
            show.print(f"  {line}", soft_wrap=True)
        return
    message, hint = str(error), error.hint
    if failed := order.failed():  # otherwise joining their results failed
        kinds = {JobExpired: "expired", JobCancelled: "cancelled", JobFailed: "failed"}
        outcome = next((name for kind, name in kinds.items() if isinstance(error, kind)), "lost")
        message = f"{len(failed):,} of {count_of(len(order.jobs), 'job')} {outcome}: {printable(message)}"
        hint = f"conveyor job {failed[0].id}"
    exit_codes.write_error(message, hint, exit_codes.FAILED, as_json=False)


def exact(seconds: float) -> str:
    """Return a time with its microseconds, and in minutes as well if it is long."""
    return f"{seconds:.6f} s" if seconds < 120 else f"{seconds:.6f} s ({duration(seconds)})"  # noqa: PLR2004 - two minutes


def _print_document(order: Order, queue: str, result: Any, error: ConveyorError | None) -> None:
    document(
        "order/v1",
        task=order.task.name,
        queue=queue,
        state="done" if error is None else "failed",
        jobs=[{"id": job.id, "state": job.settled and job.settled.state} for job in order.jobs],
        wall_seconds=round(order.seconds, 6),
        job_seconds=round(order.job_seconds, 6),
        result=result,
        error=error_document(error),
    )
