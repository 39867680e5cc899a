"""Questions about one job: everything that is known of it, where it is, what it logged since."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import structs

from conveyor.monitor import previews, tries
from conveyor.monitor.jobs import OVER, read_call, read_progress
from conveyor.monitor.lease import lease_of
from conveyor.store import commands, records
from conveyor.store.query import Query
from conveyor.wire.outcome import (
    Attempt,
    Cancellation,
    Settled,
    decode_attempt,
    decode_cancellation,
    decode_settled,
)
from conveyor.wire.redaction import Labels, no_labels, preview, redacted_arguments, redacted_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.store.commands import State
    from conveyor.store.records import Entry
    from conveyor.wire import control_messages
    from conveyor.wire.call import Call
    from conveyor.wire.outcome import Run
    from conveyor.wire.redaction import LabelsOf

#: Log lines of one story, and of one look for new ones.
MOST_LINES = 500
#: Queues in which a job is looked for where nobody says in which it is, in one round trip.
MOST_LOOKED_IN = 1000
#: Bytes that are kept of a job that is none.
HEAD = 256
#: Characters of a story's preview.
PREVIEW_ROOM = 2000
#: The states of the indexes in the words for people.
_WORDS = {"ready": "waiting", "leased": "running"}


class LogLine(NamedTuple):
    """A line that a job logged. Lines after it are asked for with its id."""

    id: str
    at: float
    """Seconds since 1970, by the server's clock."""
    text: str


@dataclass(frozen=True, slots=True)
class JobStory:
    """Everything that is known about one job."""

    id: str
    queue: str
    state: str
    """waiting, delayed, running or dead; done or cancelled; failed or lost of one that was dead and is discarded.

    gone where only attempts or lines are left.
    """
    task: str
    """Empty where nothing tells; also for an item that only `Queue.get` takes."""
    call: Call | None
    """The job as it was put; None once it is over, and where its bytes are no job."""
    undecodable: int
    """How many bytes it has, where they are no job or its arguments none; else 0."""
    arguments: list[tuple[str, Any]]
    """Name (empty: not known) and value of each, without secrets; empty once the job is over."""
    preview: str
    """The arguments as text, without secrets; once the job is over, what its last run kept of it."""
    settled: Settled | None
    run: Run | None
    """The run it ended with."""
    attempts: list[Attempt]
    """All runs that are remembered, with the one it ended with last; the oldest first."""
    progress: control_messages.Progress | None
    lines: list[LogLine]
    """The last 500 that it logged."""
    place: int | None
    """How many jobs are before it, while it waits."""
    due_in: float | None
    """Seconds until it may run, while it is delayed."""
    worker: str
    """Who runs it now."""
    retries: int
    """That were used."""
    crashes: int
    """Workers that were lost under it."""
    attempt: int
    """Which attempt it is at, waits for or ended with, from 1."""
    put_at: float | None
    """Seconds since 1970, by the producer's clock."""
    dead: bool = False
    """Whether it is a dead letter, that can be retried or discarded."""
    since: float | None = None
    """When it was claimed by who runs it now, seconds since 1970 by the server's clock."""
    size: int = 0
    """Bytes of the job; 0 once it is over."""
    cancelling: bool = False
    """Whether it runs and somebody wants it cancelled."""
    cancelled_by: str = ""
    """Who cancelled it, or wants it cancelled; empty where they did not say."""
    cancel_reason: str = ""
    killed: bool = False
    """Whether it was cancelled, and its worker killed since it did not end the run in time."""
    head: bytes = b""
    """The first 256 of them, where they are no job."""

    @property
    def waited(self) -> float | None:
        """Seconds from the put to the start of the first run, as far as both are known."""
        first = next((one for one in self.attempts if one.started), None)
        if first is None or first.attempt != 1 or self.put_at is None:
            return None
        return max(0.0, first.started - self.put_at)


def story(queue: str, job_id: str, labels_of: LabelsOf = no_labels) -> Query[JobStory | None]:
    """What is known of a job; None if nothing is.

    `labels_of` says what is known here of a task's arguments, as `conveyor.tasks.registry.labels`, in addition to what
    the producer put with the call.
    """
    asked = (
        commands.state(queue, job_id),
        records.attempts(queue, job_id),
        records.last_lines(queue, job_id, MOST_LINES),
        records.cancellation(queue, job_id),
    )

    def read(answers: Sequence[Any]) -> JobStory | None:
        state, attempts, lines, cancelled = answers
        if state.state == "gone" and not attempts and not lines:
            return None
        told = _told(queue, job_id, state, _attempts(attempts), _lines(lines), labels_of)
        return _with_cancellation(told, cancelled)

    return Query(asked, read)


def locate(job_id: str, queues: Sequence[str]) -> Query[str]:
    """Which of these queues, of the first 1,000 of them, has or remembers the job; an empty text if none does."""
    asked = [records.knows(queue, job_id) for queue in queues[:MOST_LOOKED_IN]]

    def read(answers: Sequence[Any]) -> str:
        """One that has the job comes before one that only remembers another of this id."""
        for known in (answers[::2], answers[1::2]):
            for queue, knows in zip(queues, known, strict=False):  # of the others nothing was asked
                if knows:
                    return queue
        return ""

    return Query(tuple(command for pair in asked for command in pair), read)


def not_everywhere(queues: int) -> str:
    """Say that a job was not looked for in all of so many queues; empty where it was."""
    if queues <= MOST_LOOKED_IN:
        return ""
    return f"It was looked for in {MOST_LOOKED_IN:,} of the {queues:,} queues; say in which queue it is."


def log_after(queue: str, job_id: str, after_id: str = "", count: int = MOST_LINES) -> Query[list[LogLine]]:
    """Which lines a job logged after the one with this id, at most `count`, the oldest first."""
    command = records.lines_after(queue, job_id, records.checked_entry(after_id), count)
    return Query((command,), lambda answers: _lines(answers[0]))


def _told(
    queue: str,
    job_id: str,
    state: State,
    attempts: list[Attempt],
    lines: list[LogLine],
    labels_of: LabelsOf,
) -> JobStory:
    settled = _settled(state)
    run = settled.run if settled is not None else None
    call = read_call(state.data)
    labels = labels_of(call.task) if call is not None and call.task else Labels()
    arguments, readable = _arguments(call, labels)
    attempts, lease = _with_last(attempts, settled, run), lease_of(state)
    return JobStory(
        id=job_id,
        queue=queue,
        state=settled.state if settled and state.state == "over" else _WORDS.get(state.state, state.state),
        task=call.task if call is not None else run.task if run is not None else "",
        call=call,
        undecodable=0 if readable else len(state.data),
        arguments=arguments,
        preview=_preview(call, run, labels),
        settled=settled,
        run=run,
        attempts=attempts,
        progress=read_progress(state.progress),
        lines=lines,
        place=int(state.detail) if state.state == "ready" else None,
        due_in=int(state.detail) / 1000 if state.state == "delayed" else None,
        worker=lease.owner,
        **_tries(state, attempts, settled)._asdict(),
        put_at=_put_at(call, run),
        dead=state.state == "dead",
        since=lease.since,
        cancelling=lease.cancelling,
        size=len(state.data),
        head=b"" if readable else _head(state.data),
    )


def _with_cancellation(told: JobStory, data: bytes | None) -> JobStory:
    if told.state != "cancelled" and not told.cancelling:
        return told
    killed, found = told.settled is not None and told.settled.was_killed, cancellation_of(data)
    return replace(told, killed=killed, cancelled_by=found.who, cancel_reason=redacted_text(found.reason))


def cancellation_of(data: bytes | None) -> Cancellation:
    """Return who cancelled a job and why; empty texts if unknown."""
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        return decode_cancellation(data or b"")
    return Cancellation()


def _tries(state: State, attempts: list[Attempt], settled: Settled | None) -> tries.Tries:
    if state.state in {"over", "gone"}:
        return tries.told_by(attempts)
    return tries.counted(state.tries, settled.state if settled is not None else "")


def _with_last(attempts: list[Attempt], settled: Settled | None, run: Run | None) -> list[Attempt]:
    if settled is None or run is None:
        return attempts
    if settled.state in {"failed", "lost"} and attempts and attempts[-1].attempt == run.attempt:
        return attempts  # the script that buried the job has added it; no other does that to a last run
    return [*attempts, _last(settled, run)]


def _put_at(call: Call | None, run: Run | None) -> float | None:
    if call is not None:
        return call.put_at
    return run.started - run.waited if run is not None and run.waited else None


def _arguments(call: Call | None, labels: Labels) -> tuple[list[tuple[str, Any]], bool]:
    """Give the arguments, and whether they could be read."""
    if call is None:
        return [], False
    try:
        return redacted_arguments(call, labels), True
    except (msgspec.MsgspecError, ValueError):
        return [], False


def _preview(call: Call | None, run: Run | None, labels: Labels) -> str:
    if call is not None:
        return preview(call, labels, PREVIEW_ROOM)
    return run.arguments if run is not None else ""


def _head(data: bytes) -> bytes:
    """Return the first bytes of a job that cannot be read here, or nothing if a secret may be in it."""
    return b"" if previews.may_hide(data) else data[:HEAD]


def _settled(state: State) -> Settled | None:
    if state.state not in OVER or not isinstance(state.detail, bytes):
        return None
    try:
        return decode_settled(state.detail)
    except (msgspec.MsgspecError, ValueError):
        return None


def _last(settled: Settled, run: Run) -> Attempt:
    """Give the run that a job ended with in the form of those before it."""
    kind = message = ""
    if settled.state in {"failed", "lost"}:
        error = settled.error()
        kind, message = getattr(error, "kind", ""), getattr(error, "reason", "")
    message = redacted_text(message)
    return Attempt(run.attempt, run.started, settled.elapsed, run.worker, settled.state, kind, message)


def _attempts(items: Sequence[bytes]) -> list[Attempt]:
    found = []
    for data in items:
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            one = decode_attempt(data)
            found.append(structs.replace(one, message=redacted_text(one.message)))
    return found


def _lines(entries: Sequence[Entry]) -> list[LogLine]:
    return [LogLine(entry.id, entry.at, entry.data.decode(errors="replace")) for entry in entries]
