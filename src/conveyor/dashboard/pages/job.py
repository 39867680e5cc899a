"""Everything about one job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.dashboard import known_tasks
from conveyor.dashboard.api.models import progress_of
from conveyor.dashboard.flow_picture import picture_of
from conveyor.dashboard.page import NoSuchThing, Page, job_path
from conveyor.dashboard.pages.workers import row_of
from conveyor.dashboard.rendering import Bar, pretty
from conveyor.errors import BadCall, ConveyorError, JobFailed
from conveyor.monitor import flow as flows
from conveyor.monitor import job_record, workers
from conveyor.store.query import Query, known, together
from conveyor.store.records import MAX_LINES
from conveyor.wire import control_messages, failure, ids
from conveyor.wire.redaction import redacted, redacted_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.dashboard.api.models import Progress
    from conveyor.dashboard.flow_picture import Picture
    from conveyor.dashboard.page import PageRequest
    from conveyor.dashboard.pages.workers import WorkerRow
    from conveyor.monitor.flow import Flow
    from conveyor.monitor.job_record import JobRecord, LogLine
    from conveyor.monitor.snapshot import Snapshot

#: Log lines that the page begins with, characters of all of them, and of one.
LINES, LOG_ROOM, LINE_ROOM = 200, 24_000, 5000
#: Characters of an argument and of a result; bytes up to which a result is shown at all.
VALUE_ROOM, RESULT_ROOM, MAX_RESULT = 2000, 6000, 65_536
RAW_ROOM = 4000
#: Jobs of the graph around it that are read, and round trips that this takes at most.
FLOW_JOBS, FLOW_TRIPS = 300, 20
#: Characters of a traceback, the last ones.
TRACEBACK_ROOM = 12_000


class Runner(NamedTuple):
    """The worker of a running job."""

    silent: bool = False
    """True if its consumer missed its heartbeats: the job may not run at all."""
    heard: float | None = None
    """When a silent one last reported, seconds since 1970, or None if unknown."""
    row: WorkerRow | None = None
    """What it reports while it runs the job."""
    host: str = ""

    def version_key(self) -> object:
        """Return what makes a new version: of what the process uses only a change that matters to people."""
        row = self.row
        usage = row and row.memory and (round(row.cpu, 1), f"{row.memory:.1e}", row.pid)
        return self.silent, self.heard, row and row.kill_at, usage


class Result(NamedTuple):
    """What the task returned."""

    size: int
    text: str
    """Empty if it is so large that it can only be downloaded."""


class FailureView(NamedTuple):
    """What the last run ended with."""

    kind: str
    message: str
    where: str
    pieces: list[failure.TracebackPart]
    """Of the traceback."""

    @property
    def folds(self) -> bool:
        """True if code of libraries is folded away: there is also own code."""
        return any(one.of == "own" for one in self.pieces)


class JobView(NamedTuple):
    """What the page shows."""

    job: JobRecord
    runner: Runner
    progress: Progress | None
    bars: list[Bar]
    begin: float
    end: float
    eta: float | None
    """When it will be done at its pace so far."""
    due_at: float | None
    workers: int
    """Of its queue."""
    paused: bool
    flow: Flow | None = None
    """The graph that it is part of, or None if it comes neither before nor after another job."""

    @property
    def picture(self) -> Picture | None:
        """The graph as a picture."""
        return None if self.flow is None else picture_of(self.flow)

    @property
    def arguments(self) -> list[tuple[str, str]]:
        """Name and value of each argument."""
        return [(name, pretty(value, VALUE_ROOM)) for name, value in self.job.arguments]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Name and value of each header."""
        return [(name, value[:VALUE_ROOM]) for name, value in self.job.headers.items()]

    @property
    def result(self) -> Result | None:
        """What the task returned, or None if it has not returned."""
        settled = self.job.settled
        if settled is None or settled.state != "done":
            return None
        size = len(bytes(settled.value))
        if size > MAX_RESULT:
            return Result(size, "")
        try:
            return Result(size, pretty(redacted(settled.result_data()), RESULT_ROOM))
        except (msgspec.MsgspecError, ValueError, TypeError, ConveyorError):
            return Result(size, "(cannot be read)")

    @property
    def error(self) -> FailureView | None:
        """Why the job failed, or None if it has not failed."""
        error = None if self.job.settled is None else self.job.settled.error()
        if not isinstance(error, JobFailed):
            return None
        where = str(failure.innermost(error.traceback) or "")
        text = redacted_text(error.traceback)[-TRACEBACK_ROOM:]
        pieces = failure.traceback_parts(text) if text.strip() else []
        return FailureView(error.kind, redacted_text(error.reason), where, pieces)

    @property
    def last_error(self) -> str:
        """What the attempt before this one ended with, or ""."""
        return job_record.last_error(self.job)

    @property
    def expires_at(self) -> float | None:
        """When it expires unless it has started before, seconds since 1970; None for never."""
        return self.job.expires_at

    @property
    def ended(self) -> float | None:
        """When the last run of a finished job ended, or None if unknown."""
        last = self.job.attempts[-1] if self.job.settled is not None and self.job.attempts else None
        return last.started + last.elapsed if last is not None and last.started else None

    @property
    def log(self) -> tuple[list[LogLine], bool]:
        """The last log lines for which there is room, without secrets, and True if there are more or longer ones."""
        lines = self.job.lines
        shown: list[LogLine] = []
        room, cut = LOG_ROOM, len(lines) > LINES
        for line in reversed(lines[-LINES:]):
            text = redacted_text(line.text)[:LINE_ROOM]
            cut = cut or len(line.text) > LINE_ROOM
            room -= len(text)
            if room < 0:
                return shown[::-1], True
            shown.append(line._replace(text=text))
        return shown[::-1], cut

    @property
    def logged(self) -> int:
        """Number of lines of the last run that logged some, if they are too many to keep, or 0."""
        number = self.job.lines[-1].number if self.job.lines else 0
        return number if number > MAX_LINES else 0

    @property
    def raw(self) -> str:
        """The job as it was put, without secrets; "" for one that has finished or is unreadable."""
        call = self.job.call
        if call is None:
            return ""
        options = msgspec.structs.asdict(call.options) | {"headers": self.job.headers}
        facts = {"task": call.task, "arguments": self.job.arguments, "put_at": call.put_at}
        return pretty({**facts, "options": options}, RAW_ROOM)

    @property
    def head(self) -> str:
        """The first bytes of an unreadable job, sixteen a line, in hexadecimal and as text."""
        lines = []
        for first in range(0, len(self.job.head), 16):
            some = self.job.head[first : first + 16]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in some)  # noqa: PLR2004 - printable ones
            lines.append(f"{first:04x}  {some.hex(' '):<47}  {text}")
        return "\n".join(lines)

    @property
    def address(self) -> str:
        """The address with the queue, for a job that was found by its id alone."""
        return job_path(self.job.queue, self.job.id)

    def version_key(self) -> object:
        """Return what makes a new version: not what follows from the current time."""
        last = self.job.lines[-1:]
        job = replace(self.job, call=None, arguments=[], settled=None, attempts=[], lines=last, due_in=None)
        lasting = self._replace(
            job=job,
            runner=Runner(),
            bars=[],
            end=0.0,
            eta=None,
            due_at=None,
            workers=0,
        )
        return lasting, self.runner.version_key(), len(self.job.attempts), bool(self.workers)


def query_or_error(make: Callable[[], Query[Any]]) -> Query[Any]:
    """Return the query that `make` returns or, if it refuses the visitor's input, one whose value is the error.

    So the view can report it, and the queries of other viewers in the same round trip are not held up.
    """
    try:
        return make()
    except BadCall as error:
        return known(error)


def _with_flow(record: JobRecord | None) -> Query[tuple[JobRecord | None, Flow | None]]:
    """Query the graph around a job whose queue was not known."""
    if record is None:
        return known((None, None))
    return flows.flow(record.queue, record.id, FLOW_JOBS, FLOW_TRIPS).map(lambda flow: (record, flow))


def job_query(queue: str, job_id: str) -> Query[JobRecord | None]:
    """Query what is known of a job of one queue. Raises BadCall."""
    return job_record.record(ids.checked_queue(queue), ids.checked_id(job_id), known_tasks.labels)


def find_job(job_id: str, queues: Sequence[str]) -> Query[JobRecord | None]:
    """Query what is known of a job in any queue; one that has it comes before one that remembers it. Raises BadCall.

    As many queues are searched as `job_record.MAX_SEARCHED_QUEUES`, which is much work.
    """
    ids.checked_id(job_id)
    some = together([job_query(queue, job_id) for queue in queues[: job_record.MAX_SEARCHED_QUEUES]])
    return some.map(lambda found: min((one for one in found if one is not None), key=_rank, default=None))


def _rank(one: JobRecord) -> int:
    return 2 if one.state == "gone" else 1 if one.settled is not None else 0


def _queue(request: PageRequest) -> str:
    return request.parts.get("queue", "") or request.filters.get("queue", "")


def _question(request: PageRequest, snapshot: Snapshot) -> Query[Any]:
    job_id, queue = request.parts["id"], _queue(request)

    def both() -> Query[Any]:
        if not queue:
            return _then(find_job(job_id, list(snapshot.queues)), _with_flow)
        return together([job_query(queue, job_id), flows.flow(queue, job_id, FLOW_JOBS, FLOW_TRIPS)])

    return query_or_error(both)


def _then(query: Query[Any], following: Callable[[Any], Query[Any]]) -> Query[Any]:
    """Return the query that asks another one with the value of this one."""

    def read(replies: Sequence[Any]) -> Any:
        value = query.read(replies)
        return _then(value, following) if isinstance(value, Query) else following(value)

    return Query(query.commands, read)


def _view(request: PageRequest, snapshot: Snapshot, replies: Any) -> JobView:
    if isinstance(replies, ConveyorError):
        raise replies
    job: JobRecord | None
    job, flow = replies
    if job is None:
        elsewhere = "" if _queue(request) else job_record.not_everywhere(len(snapshot.queues))
        hint = elsewhere or "outcomes are kept for an hour unless the job says otherwise"
        raise NoSuchThing(f"Nothing is known of the job {request.parts['id']}", hint=hint)
    runner = _runner(job, snapshot)
    bars, begin, end = _bars(job, (runner.heard or job.since or 0.0) if runner.silent else snapshot.at)
    count = snapshot.queues.get(job.queue)
    return JobView(
        job=job,
        runner=runner,
        progress=progress_of(job.progress),
        bars=bars,
        begin=begin,
        end=end,
        eta=None if runner.silent or job.cancelling else _eta(job, snapshot.at),
        due_at=snapshot.at + job.due_in if job.due_in is not None else None,
        workers=len(snapshot.workers_of(job.queue)),
        paused=bool(count.paused) if count is not None else False,
        flow=flow if flow is not None and (len(flow.jobs) > 1 or flow.left_out) else None,
    )


def _runner(job: JobRecord, snapshot: Snapshot) -> Runner:
    """Return what is known of the worker; nothing for a job that a program took by `Queue.get`."""
    if job.state != "running" or not job.worker or not job.task:
        return Runner()
    consumer = control_messages.consumer_of(job.worker)
    if snapshot.job_silent_since(job.worker, job.since) is not None:
        return Runner(silent=True, heard=snapshot.silent_since(consumer))
    for report in snapshot.consumers:
        worker = workers.running_job([report], job.id, job.worker) if report.name == consumer else None
        if worker is not None:
            return Runner(row=row_of(worker, report, snapshot.at), host=report.host)
    return Runner()


def _bars(job: JobRecord, now: float) -> tuple[list[Bar], float, float]:
    """Return the runs as bars, and when the first began and the last ended."""
    bars = [
        Bar(
            f"attempt {one.attempt}: {one.state} after {one.elapsed:.3g} s",
            one.started,
            one.started + one.elapsed,
            one.state,
        )
        for one in job.attempts
        if one.started
    ]
    if job.since is not None:
        bars.append(Bar("running", job.since, max(now, job.since), "running"))
    begin = min((bar.start for bar in bars), default=0.0)
    if job.put_at is not None:
        begin = min(begin, job.put_at)
    return bars, begin, max((bar.end for bar in bars), default=0.0)


def _eta(job: JobRecord, now: float) -> float | None:
    progress = job.progress
    if job.since is None or progress is None or not progress.fraction or progress.fraction == 1:
        return None
    return now + (now - job.since) * (1 / progress.fraction - 1)


JOB = Page("job", "/queues/{queue}/jobs/{id}", "Job", _view, _question, section="Jobs")
FOUND = replace(JOB, path="/jobs/{id}", costly=lambda request: not _queue(request))
