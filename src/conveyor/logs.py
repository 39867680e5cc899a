"""Events as log lines on standard error: the only messages about what happens in a consumer."""

from __future__ import annotations

import contextlib
import select
import sys

from conveyor import events
from conveyor.wire.redaction import printable, redacted_text

#: Max characters of a line.
MAX_LENGTH = 4000
_LEAVING = {
    1: "exits after the current jobs (again: cancel and release them; a third time: kill)",
    2: "cancels the current jobs and releases them",
    3: "kills its workers",
}

_STOPPED = {"stop": "was stopped", "kill": "was killed", "release": "released its job and exited"}
_USUAL = (events.ServerLevels, events.ConsumerStarted, events.ConsumerLeaving, events.ConsumerLeft)


def to_standard_error(*, usual: bool = True) -> None:
    """Write a line for each event of this process; without `usual`, only for those that need attention.

    Never blocks: the caller renews leases. Drops lines while nothing reads them, and reports their number in the next.
    """
    dropped = 0

    def write(event: events.Event) -> None:
        nonlocal dropped
        expected = isinstance(event, _USUAL) or (isinstance(event, events.WorkerStopped) and not event.reason)
        if usual or not expected:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # nothing reads it
                if dropped and _write(f"{dropped:,} lines were dropped, since nothing read them"):
                    dropped = 0
                dropped += not _write(line_for(event))

    events.subscribe(write)


def _write(line: str) -> bool:
    """Write a line to standard error. Return False if that would block, as a pipe that nothing reads does."""
    with contextlib.suppress(OSError, ValueError):  # it has no file descriptor
        if not select.select([], [sys.stderr.fileno()], [], 0)[1]:
            return False
    sys.stderr.write(f"conveyor: {_fitting(line)}\n")
    sys.stderr.flush()
    return True


def _fitting(line: str) -> str:
    """Return a line cut to the bytes that a pipe accepts without blocking."""
    encoding, room = sys.stderr.encoding or "utf-8", select.PIPE_BUF - len("conveyor: \n")
    data = line.encode(encoding, "backslashreplace")
    if len(data) <= room:
        return line
    end = "…".encode(encoding, "backslashreplace")
    return (data[: room - len(end)] + end).decode(encoding, "ignore")


def line_for(event: events.Event) -> str:
    """Return the line for an event: printable whatever names jobs and people chose, and not too long."""
    line = printable(_line_for(event))
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"


def _line_for(event: events.Event) -> str:  # noqa: C901, PLR0911, PLR0912 - one return per event
    match event:
        case events.ConsumerStarted(consumer, queues, workers, _):
            many = "worker" if workers == 1 else "workers"
            return f"{consumer}: {workers} {many} on {', '.join(queues)}. Ctrl-C to exit."
        case events.ConsumerLeaving(consumer, step):
            return f"{consumer} {_LEAVING[min(step, 3)]}"
        case events.ConsumerLeft(consumer, jobs_done):
            return f"{consumer} has exited, {jobs_done:,} {'job' if jobs_done == 1 else 'jobs'} done"
        case events.WorkerDied(worker, how, job, task, reason):
            why = f": {reason}" if reason else ""
            return f"worker {worker} crashed ({how}{why}){f' while it ran {task} {job}' if job else ''}"
        case events.WorkerLeft(worker, reason):
            return f"worker {worker} has exited and is replaced: {reason}"
        case events.WorkerUnstarted(worker, reason):
            return f"worker {worker} cannot be started: {reason}; retrying"
        case events.ThreadRefused(worker, reason):
            return f"worker {worker} claims one job at a time until it can start a thread: {reason}"
        case events.StepFailed(error, place):
            return f"error in Conveyor itself, at {place}: {error}. The consumer continues; please report it"
        case events.WorkerStopped(worker, verb, reason):
            return f"worker {worker} {_STOPPED[verb]}{f': {redacted_text(reason)}' if reason else ''}"
        case events.JobRecovered(job, became):
            return f"job {job} of a crashed worker: {became}"
        case events.CancelAsked(job, reason):
            return f"job {job} was requested to stop{f': {redacted_text(reason)}' if reason else ''}"
        case events.TimeLimitReached(job, task, limit):
            return f"job {job} ({task}) reached its time limit of {limit:g} s; its worker is killed"
        case events.FinishedLate(worker, job):
            return f"worker {worker} finished job {job} after its lease had expired; the result was refused"
        case events.LeaseLost(worker, job):
            return f"worker {worker} lost its lease of job {job}; this run is ended, and the job is not cancelled"
        case events.TasksUnloadable(reason):
            return f"the tasks cannot be loaded: {reason}"
        case events.ServerUnfit(reason):
            return f"warning: {reason}"
        case events.ServerLevels(levels):
            lost = "; a restart of the server loses all jobs" if levels == ("memory",) else ""
            return f"the server keeps jobs at the level {', '.join(levels)}{lost}"
        case events.ServerAway(reason):
            return f"{reason}; retrying"
        case events.ServerBack():
            return "the server is available again"
