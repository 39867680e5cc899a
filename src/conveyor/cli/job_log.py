"""The log of a job on the command line: its lines, and following them until the job has finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from conveyor.cli import exit_codes
from conveyor.cli.output import note, screen
from conveyor.monitor.follow import WorkerMonitor, follow_log
from conveyor.monitor.format import LEVEL_COLORS, duration, safe, utc
from conveyor.monitor.job_record import log_rows
from conveyor.wire.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conveyor.monitor import Inspector
    from conveyor.monitor.job_record import JobRecord, LogLine


def print_log(lines: Iterable[LogLine], indent: str = "") -> None:
    """Print log lines as they come, with time and level, and a heading before each further attempt."""
    show = screen()
    for head, level, text in log_rows(lines):
        color = LEVEL_COLORS.get(level, "")
        show.print(Text.assemble(indent, (head, color or "dim"), (text, color)), soft_wrap=True)


def line_document(line: LogLine) -> dict[str, Any]:
    """Return a log line for JSON, without secrets."""
    return {
        "at": utc(line.at),
        "level": line.level or None,
        "attempt": line.attempt or None,
        "number": line.number or None,
        "text": redacted_text(line.text),
    }


def follow_job(inspector: Inspector, job: JobRecord, *, as_json: bool) -> int:
    """Print the log of a job and each new line until the job has finished, and return the exit code.

    In JSON, each line is a document.
    """
    lines = _new_lines(inspector, job)
    try:
        if as_json:
            for line in lines:
                print(msgspec.json.encode(line_document(line)).decode(), flush=True)
        else:
            print_log(lines)
    except KeyboardInterrupt:
        note(f"\nNo longer following; the job continues. To cancel it: conveyor cancel {job.id}")
        return exit_codes.INTERRUPTED
    ended = inspector.job(job.id, job.queue)
    if ended is None or not as_json:
        note(_end(ended))
    return exit_codes.OK if ended is not None and ended.state == "done" else exit_codes.FAILED


def _new_lines(inspector: Inspector, job: JobRecord) -> Iterator[LogLine]:
    """Yield log lines until the job has finished; note if no worker is there to run it."""
    monitor = WorkerMonitor(lambda: len(inspector.workers(job.queue)))
    is_noted = False
    for is_waiting, lines in follow_log(inspector.client, job.queue, job.id):
        yield from lines
        if lines or not is_waiting:
            monitor.progressed()
        elif monitor.check() > 0 and not is_noted:
            is_noted = True
            note(f"No workers on {job.queue} yet. Hint: conveyor consume {job.queue}")


def _end(job: JobRecord | None) -> str:
    if job is None:
        return "Nothing is known of the job any more."
    end = f"{'' if job.lines else 'No log lines. '}{job.state.capitalize()}"
    if job.settled is None:
        return end
    took = f" after {duration(job.settled.elapsed)}" if job.settled.elapsed else ""
    error = job.settled.error()
    return f"{end}{took}" if error is None else f"{end}{took}: {safe(str(error))}"
