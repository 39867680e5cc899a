"""Everything that is known about one job: its state, its runs, its log, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import structs

from conveyor import clock
from conveyor.monitor.format import (
    count_of,
    date_time,
    duration,
    printable,
    progress,
    safe,
    safe_lines,
    utc,
)
from conveyor.monitor.job_data import (
    SETTLED,
    STATES,
    AttemptCounts,
    count_attempts,
    lease_of,
    may_hide,
    read_attempt_counts,
    read_call,
)
from conveyor.monitor.waits import Wait, wait_of
from conveyor.store import commands, records
from conveyor.store.query import Query
from conveyor.wire.codec import decode_data, try_decode
from conveyor.wire.control_messages import decode_progress
from conveyor.wire.outcome import (
    Attempt,
    Cancellation,
    Settled,
    decode_attempt,
    decode_cancellation,
    decode_settled,
)
from conveyor.wire.redaction import (
    Labels,
    no_labels,
    preview,
    redacted,
    redacted_arguments,
    redacted_headers,
    redacted_text,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from conveyor.store.commands import State
    from conveyor.store.records import Entry, KeptStep
    from conveyor.wire import control_messages
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Run
    from conveyor.wire.redaction import LabelsOf

#: Log lines of one record, and of one query for new ones.
MAX_LINES = 500
#: Queues that one query searches for a job.
MAX_SEARCHED_QUEUES = 1000
#: Bytes that a record keeps of an unreadable job.
MAX_HEAD = 256
#: Digits of a number in a log line; one with more is corrupt.
MAX_DIGITS = 15
#: Characters of a record's preview.
PREVIEW_LENGTH = 2000


class LogLine(NamedTuple):
    """A line that a job logged."""

    id: str
    """Position in the log; `log_after` takes it."""
    at: float
    """When it was logged: seconds since 1970, by the server's clock."""
    text: str
    """It may have several lines, such as those of a traceback."""
    level: str
    """Name of its level in `logging`; `out` or `err` if it was printed; empty if unknown."""
    attempt: int
    """The attempt that logged it; 0 if unknown."""
    number: int
    """Number of the line in its run, from 1; 0 if unknown."""


class JobStep(NamedTuple):
    """What one of a job's steps has kept, or waits for."""

    kind: str
    """step, signal, sleep or cursor."""
    name: str
    """Empty for the cursor."""
    state: str
    """done; waiting or timed out."""
    size: int
    """Bytes of its value; 0 if it has none."""
    value: Any
    """Its value without secrets, for people; None if it is large, unreadable or missing."""
    until: float | None
    """When a wait or a sleep ends, seconds since 1970 by the server's clock; None for never."""

    @property
    def text(self) -> str:
        """Its value in one line; empty if it has none, or its value is not shown."""
        return "" if self.value is None and self.size != 1 else shown(self.value, PREVIEW_LENGTH)

    @property
    def awaited(self) -> str:
        """What it waits for, in words."""
        what = "a sleep" if self.kind == "sleep" else f"the signal {safe(self.name)}"
        return what if self.until is None else f"{what} until {date_time(self.until)}"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Everything that is known about one job."""

    id: str
    queue: str
    state: str
    """waiting, deferred, delayed, running or dead; done, cancelled or expired; failed or lost, if it was dead and is
    discarded.

    gone if only attempts or log lines are left.
    """
    task: str
    """Empty if unknown, and for an item that only `Queue.get` takes."""
    call: Call | None
    """The job as it was put; None once it has finished, or if its bytes are unreadable."""
    undecodable: int
    """Bytes of the job if they or its arguments are unreadable, else 0."""
    arguments: list[tuple[str, Any]]
    """Name (empty if unknown) and value of each, without secrets; empty once the job has finished."""
    headers: dict[str, str]
    """Without secrets; empty once the job has finished."""
    preview: str
    """The arguments as text, without secrets; once the job has finished, those that its last run kept."""
    settled: Settled | None
    run: Run | None
    """The run it ended with."""
    attempts: list[Attempt]
    """All remembered runs, oldest first; the run it ended with is last."""
    progress: control_messages.Progress | None
    lines: list[LogLine]
    """The last 500 log lines."""
    place: int | None
    """Number of jobs before it, while it is waiting."""
    due_in: float | None
    """Seconds until it may run, while it is delayed; None if it waits for a signal without a time limit."""
    worker: str
    """The worker that is running it."""
    retries: int
    """Retries used."""
    crashes: int
    """Workers that crashed while they ran it."""
    attempt: int
    """The attempt that it is at, waits for or ended with, from 1."""
    put_at: float | None
    """Seconds since 1970, by the producer's clock."""
    dead: bool = False
    """True if it is a dead job, which can be retried or discarded."""
    since: float | None = None
    """When its worker claimed it, seconds since 1970 by the server's clock."""
    size: int = 0
    """Bytes of the job; 0 once it has finished."""
    cancelling: bool = False
    """True if it is running and its cancellation was requested."""
    cancelled_by: str = ""
    """The user that cancelled it or requested so; empty if unknown."""
    cancel_reason: str = ""
    """The user's, or why the server cancelled it."""
    killed: bool = False
    """True if it was cancelled and its worker was killed, since the run did not end in time."""
    head: bytes = b""
    """The first 256 bytes of an unreadable job."""
    waits: Wait | None = None
    """What a deferred job waits for."""
    steps: tuple[JobStep, ...] = ()
    """What its steps have kept, in their order, and what they wait for."""

    @property
    def expires_at(self) -> float | None:
        """When it expires unless it has started before, seconds since 1970; None for never, or once it has started."""
        expires = None if self.call is None else self.call.options.expires
        was_started = (
            self.attempt > 1
            or bool(self.attempts)
            or self.state not in {"waiting", "deferred", "delayed"}
            or any(one.kind != "signal" for one in self.steps)
        )
        return None if self.put_at is None or expires is None or was_started else self.put_at + expires

    @property
    def waited(self) -> float | None:
        """Seconds from the put to the start of the first run, or None if either is unknown."""
        first = next((one for one in self.attempts if one.started), None)
        if first is None or first.attempt != 1 or self.put_at is None:
            return None
        return max(0.0, first.started - self.put_at)

    @property
    def waits_for(self) -> list[JobStep]:
        """The signals and sleeps that a suspended job waits for."""
        return [one for one in self.steps if one.state == "waiting"] if self.state == "delayed" else []


def record(queue: str, job_id: str, labels_of: LabelsOf = no_labels) -> Query[JobRecord | None]:
    """Return the record of a job, or None if nothing is known of it.

    `labels_of` returns what is known here of a task's arguments, as `conveyor.tasks.registry.labels` does, in addition
    to the labels that the producer put with the call.
    """
    queries = (
        commands.state(queue, job_id),
        records.attempts(queue, job_id),
        records.last_lines(queue, job_id, MAX_LINES),
        records.cancellation(queue, job_id),
        records.steps(queue, job_id),
    )

    def read(replies: Sequence[Any]) -> Any:
        state, attempts, lines, cancelled, steps = replies
        if state.state == "gone" and not attempts and not lines:
            return None
        found = _record(queue, job_id, state, _attempts(attempts), _lines(lines), labels_of)
        found = replace(found, steps=tuple(_steps(steps))) if steps else found
        if state.state != "deferred":
            return _with_cancellation(found, cancelled)
        terms = state.detail if isinstance(state.detail, bytes) else b""
        return wait_of(queue, job_id, terms).map(lambda wait: replace(found, waits=wait))

    return Query(queries, read)


def facts(record: JobRecord, batch: int = 0) -> Iterator[tuple[str, str]]:
    """Yield title and text of the known facts about a job, each in one line, printable and without secrets.

    `batch` is how many jobs its worker runs together with it, itself included.
    """
    yield "Job", record.id
    yield "Queue", record.queue
    yield "State", _state(record)
    if record.call is not None or record.task:
        yield "Task", safe(record.task) or "none: an item for Queue.get"
    if record.call is not None:
        yield "Arguments", printable(record.preview) or "none"
        yield from _headers(record)
        yield "Enqueued", date_time(record.call.put_at)
    yield from _expiry(record)
    if record.cancelled_by or record.cancel_reason:
        user = f"by {record.cancelled_by}" if record.cancelled_by else ""
        yield "Cancelled", safe(": ".join(filter(None, (user, record.cancel_reason))))
    if record.killed:
        yield "Killed", "with its worker: the task did not stop in time"
    if worker := record.worker or (record.run.worker if record.run is not None else ""):
        together = f", which runs {batch} jobs together" if batch > 1 else ""
        yield "Worker", safe(worker) + together
    if record.progress is not None:
        yield "Progress", progress(record.progress)
    yield from _step_facts(record)
    yield from _tries(record)
    if record.settled is not None and record.settled.elapsed:
        yield "Run time", f"{record.settled.elapsed:.2f} s"
    if record.undecodable:
        yield "Bytes", f"{record.undecodable:,}, not readable as a job"


def _step_facts(record: JobRecord) -> Iterator[tuple[str, str]]:
    if waits := record.waits_for:
        yield "Waits for", ", ".join(one.awaited for one in waits)
    done = [one.name for one in record.steps if one.state == "done" and one.name]
    if done:
        yield "Steps done", printable(redacted_text(", ".join(done)))
    for one in record.steps:
        if one.kind == "cursor":
            size = "" if one.value is not None else f"{one.size:,} bytes"
            yield "Cursor", size or printable(one.text)


def _expiry(record: JobRecord) -> Iterator[tuple[str, str]]:
    if record.expires_at is not None:
        yield "Expires", f"{date_time(record.expires_at)}, unless it has started before"
    if record.settled is not None and record.state == "expired":
        yield "Expired", safe(str(record.settled.error()))


def _tries(record: JobRecord) -> Iterator[tuple[str, str]]:
    if record.retries or record.crashes:
        retries = count_of(record.retries, "retry", "retries")
        yield "Retries", f"{retries}, {count_of(record.crashes, 'crashed worker')}"
    if error := last_error(record):
        yield "Last error", error


def last_error(record: JobRecord) -> str:
    """Return what the last attempt of an unfinished job ended with, in one line without secrets, or ""."""
    runs = [one for one in record.attempts if one.state != "suspended"]
    if record.settled is not None or not runs:
        return ""
    last = runs[-1]
    error = ": ".join(filter(None, (last.kind, last.message)))
    return safe(f"attempt {last.attempt} {last.state}: {error}" if error else "")


def _headers(record: JobRecord) -> Iterator[tuple[str, str]]:
    if record.headers:
        yield "Headers", safe(", ".join(f"{name}={value}" for name, value in record.headers.items()))


def _state(record: JobRecord) -> str:
    if record.place is not None:
        return f"waiting, {count_of(record.place, 'job')} ahead"
    if record.waits is not None:
        return f"deferred, {record.waits.sentence()}"
    if record.due_in is not None:
        return f"delayed, due in {duration(record.due_in)}"
    return "delayed until a signal" if record.state == "delayed" else record.state


def locate(job_id: str, queues: Sequence[str]) -> Query[str]:
    """Return the first of these queues that has the job, or else remembers it, or "".

    Searches the first 1,000 of them.
    """
    queries = [records.knows(queue, job_id) for queue in queues[:MAX_SEARCHED_QUEUES]]

    def read(replies: Sequence[Any]) -> str:
        for known in (replies[::2], replies[1::2]):
            for queue, knows in zip(queues, known, strict=False):  # the queues after 1,000 have no replies
                if knows:
                    return queue
        return ""

    return Query(tuple(command for pair in queries for command in pair), read)


def not_everywhere(queues: int) -> str:
    """Return a sentence on the queues that `locate` does not search, or "" if it searches all."""
    if queues <= MAX_SEARCHED_QUEUES:
        return ""
    return f"Only {MAX_SEARCHED_QUEUES:,} of the {queues:,} queues were searched; name the queue of the job."


def log_after(queue: str, job_id: str, after_id: str = "", count: int = MAX_LINES) -> Query[list[LogLine]]:
    """Return the log lines of a job after the line with this id, oldest first, at most `count`."""
    command = records.lines_after(queue, job_id, records.checked_entry(after_id), count)
    return Query((command,), lambda replies: _lines(replies[0]))


def _record(
    queue: str,
    job_id: str,
    state: State,
    attempts: list[Attempt],
    lines: list[LogLine],
    labels_of: LabelsOf,
) -> JobRecord:
    settled = _settled(state)
    run = settled.run if settled is not None else None
    call = read_call(state.data)
    labels = labels_of(call.task) if call is not None and call.task else Labels()
    arguments, readable = _arguments(call, labels)
    attempts, lease = _with_last(attempts, settled, run), lease_of(state)
    return JobRecord(
        id=job_id,
        queue=queue,
        state=settled.state if settled and state.state == "over" else STATES.get(state.state, state.state),
        task=call.task if call is not None else run.task if run is not None else "",
        call=call,
        undecodable=0 if readable else len(state.data),
        arguments=arguments,
        headers=redacted_headers(call, labels) if call is not None else {},
        preview=_preview(call, run, labels),
        settled=settled,
        run=run,
        attempts=attempts,
        progress=try_decode(decode_progress, state.progress),
        lines=lines,
        place=int(state.detail) if state.state == "ready" else None,
        due_in=_due_in(state),
        worker=lease.owner,
        **_attempt_counts(state, attempts, settled)._asdict(),
        put_at=_put_at(call, run),
        dead=state.state == "dead",
        since=lease.since,
        cancelling=lease.cancelling,
        size=len(state.data),
        head=b"" if readable or may_hide(state.data) else state.data[:MAX_HEAD],
    )


def _due_in(state: State) -> float | None:
    """Return the seconds until a delayed job is due, or None for another job, and for one that is never due."""
    if state.state != "delayed" or int(state.detail) > commands.NEVER_DUE / 2:
        return None
    return int(state.detail) / 1000


def _steps(found: Sequence[KeptStep]) -> Iterator[JobStep]:
    """Yield the steps; of a signal and the wait for it only one."""
    kept, now = {one.field: one for one in found}, clock.wall()
    for one in found:
        kind, _, name = one.field.partition(" ")
        if kind in {"wait", "sleep"}:
            if kind == "wait" and f"signal {name}" in kept:
                continue
            end = int(one.data) if one.data.isdigit() else 0
            until = None if end >= commands.NEVER_DUE else end / 1000
            state = "waiting" if kind == "wait" or until is None or until > now else "done"
            yield JobStep("sleep" if kind == "sleep" else "signal", name, state, 0, None, until)
            continue
        data = one.data.partition(b" ")[2] if kind == "cursor" else one.data
        state = "timed out" if kind == "signal" and not one.size else "done"
        value = redacted({name: try_decode(decode_data, data)}).get(name) if data else None
        yield JobStep(kind, name, state, len(data) or one.size, value, None)


def _with_cancellation(found: JobRecord, data: bytes | None) -> JobRecord:
    if found.state != "cancelled" and not found.cancelling:
        return found
    cancellation = try_decode(decode_cancellation, data) or Cancellation()
    reason = cancellation.reason or ("" if found.settled is None else found.settled.cancel_reason)
    return replace(
        found,
        killed=found.settled is not None and found.settled.was_killed,
        cancelled_by=cancellation.who,
        cancel_reason=redacted_text(reason),
    )


def _attempt_counts(state: State, attempts: list[Attempt], settled: Settled | None) -> AttemptCounts:
    if state.state in {"over", "gone"}:
        return count_attempts(attempts)
    return read_attempt_counts(state.tries, settled.state if settled is not None else "")


def _with_last(attempts: list[Attempt], settled: Settled | None, run: Run | None) -> list[Attempt]:
    if settled is None or run is None:
        return attempts
    if settled.state in {"failed", "lost"} and attempts and attempts[-1].attempt == run.attempt:
        return attempts  # the script that moved the job to the dead ones has added its last run
    return [*attempts, _last(settled, run)]


def _put_at(call: Call | None, run: Run | None) -> float | None:
    if call is not None:
        return call.put_at
    return run.started - run.waited if run is not None and run.waited else None


def _arguments(call: Call | None, labels: Labels) -> tuple[list[tuple[str, Any]], bool]:
    """Return the arguments, and True if they are readable."""
    if call is None:
        return [], False
    try:
        return redacted_arguments(call, labels), True
    except (msgspec.MsgspecError, ValueError):
        return [], False


def _preview(call: Call | None, run: Run | None, labels: Labels) -> str:
    if call is not None:
        return preview(call, labels, PREVIEW_LENGTH)
    return run.arguments if run is not None else ""


def _settled(state: State) -> Settled | None:
    if state.state not in SETTLED or not isinstance(state.detail, bytes):
        return None
    return try_decode(decode_settled, state.detail)


def _last(settled: Settled, run: Run) -> Attempt:
    """Return the run that a job ended with in the form of earlier ones."""
    kind = message = ""
    if settled.state in {"failed", "lost", "expired"}:
        error = settled.error()
        kind, message = getattr(error, "kind", ""), getattr(error, "reason", str(error))
    message = redacted_text(message)
    return Attempt(run.attempt, run.started, settled.elapsed, run.worker, settled.state, kind, message)


def _attempts(items: Sequence[bytes]) -> list[Attempt]:
    found = filter(None, (try_decode(decode_attempt, data) for data in items))
    return [structs.replace(one, message=redacted_text(one.message)) for one in found]


def _lines(entries: Sequence[Entry]) -> list[LogLine]:
    return [_line(entry) for entry in entries]


def _line(entry: Entry) -> LogLine:
    fields = entry.others
    return LogLine(
        entry.id,
        round(entry.at - _number(fields, "age") / 1000, 3),
        entry.data.decode(errors="replace"),
        fields.get("level", b"").decode(errors="replace"),
        _number(fields, "attempt"),
        _number(fields, "number"),
    )


def _number(fields: dict[str, bytes], name: str) -> int:
    digits = fields.get(name, b"")
    return int(digits) if digits.isdigit() and len(digits) <= MAX_DIGITS else 0


def log_rows(lines: Iterable[LogLine]) -> Iterator[tuple[str, str, str]]:
    """Yield time and level, the level, and the text of log lines, row by row, printable and without secrets.

    A row stands before the lines of each attempt but a single first one, and in place of lines that are missing.
    """
    attempt, number = 1, 0
    for line in lines:
        if line.attempt and line.attempt != attempt:
            attempt, number = line.attempt, 0
            yield "", "", f"Attempt {attempt}"
        if line.number:
            if line.number > number + 1:
                yield "", "", f"… {count_of(line.number - number - 1, 'line')} not shown"
            number = line.number
        level = f"{safe(line.level):<8} " if line.level else ""
        head = f"{utc(line.at):%H:%M:%S} {level}"
        for text in safe_lines(line.text).split("\n"):
            yield head, line.level, text
            head = " " * len(head)
