"""Everything about one job."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages import job_rows
from conveyor.dashboard.pages.asked import careful, job_path, story, story_anywhere
from conveyor.dashboard.pages.job_worker import runner_of
from conveyor.dashboard.pretty import pretty
from conveyor.dashboard.rendering import Bar
from conveyor.errors import ConveyorError
from conveyor.monitor import job_record
from conveyor.wire import codec, failure
from conveyor.wire.redaction import redacted, redacted_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.dashboard.pages.job_worker import Runner
    from conveyor.monitor.job_record import JobStory, LogLine
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query
    from conveyor.wire.control_messages import Progress
    from conveyor.wire.outcome import Attempt, Settled

#: Log lines that the page begins with, characters of all of them, and of one.
LINES, LOG_ROOM, LINE_ROOM = 200, 24_000, 1000
#: Characters of an argument and of a result; bytes up to which a result is shown at all.
VALUE_ROOM, RESULT_ROOM, MOST_RESULT = 2000, 6000, 65_536
RAW_ROOM = 4000
#: Characters of a traceback, the last ones.
TRACEBACK_ROOM = 12_000


class Result(NamedTuple):
    """What the task returned."""

    size: int
    text: str
    """Empty where it is so large that it is only to be downloaded."""


class Failure(NamedTuple):
    """What the last run ended with."""

    kind: str
    message: str
    where: str
    pieces: list[failure.Piece]
    """Of the traceback."""

    @property
    def folds(self) -> bool:
        """Whether code of libraries is folded away: where there is own code to be found beside it."""
        return any(one.of == "own" for one in self.pieces)


class Line(NamedTuple):
    """A log line; its moment in the form of HTML, and as a clock shows it in UTC."""

    id: str
    moment: str
    clock: str
    text: str


class JobView(NamedTuple):
    """What the page shows."""

    job: JobStory
    runner: Runner
    progress: Progress | None
    arguments: list[tuple[str, str]]
    result: Result | None
    failure: Failure | None
    lines: list[Line]
    cut: bool
    """The job logged more than is shown."""
    bars: list[Bar]
    begin: float
    end: float
    ended: float | None
    eta: float | None
    """When it will be done if it goes on like this."""
    due_at: float | None
    workers: int
    """Of its queue."""
    paused: bool
    head: str
    """The first bytes of what is no job."""
    raw: str
    """The job as it was put, without secrets."""

    @property
    def address(self) -> str:
        """Where the page goes on from now: one that was found by its id alone stays with its queue."""
        return job_path(self.job.queue, self.job.id)

    def version_key(self) -> object:
        """Give what counts as news: not what follows from the time of looking."""
        job = self.job
        return (
            *(job.state, job.queue, job.task, job.dead, job.place, job.worker, job.since, job.put_at),
            *(job.retries, job.crashes, job.progress, job.undecodable, job.size, job.run, self.result),
            *(len(job.attempts), self.lines[-1:], bool(self.workers), self.paused),
            *(job.cancelling, job.cancelled_by, job.cancel_reason, self.runner.version_key()),
        )


def _queue(wanted: PageRequest) -> str:
    return wanted.parts.get("queue", "") or wanted.filters.get("queue", "")


def _question(wanted: PageRequest, snapshot: Snapshot) -> Query[Any]:
    job_id, queue = wanted.parts["id"], _queue(wanted)
    if queue:
        return careful(lambda: story(queue, job_id))
    return careful(lambda: story_anywhere(job_id, list(snapshot.queues)))


def _view(wanted: PageRequest, snapshot: Snapshot, job: JobStory | ConveyorError | None) -> JobView:
    if isinstance(job, ConveyorError):
        raise job
    if job is None:
        message = f"Nothing is known of the job {wanted.parts['id']}"
        elsewhere = "" if _queue(wanted) else job_record.not_everywhere(len(snapshot.queues))
        hint = elsewhere or "Outcomes are kept for an hour unless the job says otherwise."
        raise NoSuchThing(message, hint=hint)
    lines, cut = _log(job.lines)
    runner = runner_of(job, snapshot)
    bars, begin, end = _bars(job, (runner.heard or job.since or 0.0) if runner.silent else snapshot.at)
    count = snapshot.queues.get(job.queue)
    return JobView(
        job=job,
        runner=runner,
        progress=job_rows.shown(job.progress),
        arguments=[(name, pretty(value, VALUE_ROOM)) for name, value in job.arguments],
        result=_result(job.settled),
        failure=_failure(job.settled),
        lines=lines,
        cut=cut,
        bars=bars,
        begin=begin,
        end=end,
        ended=_ended(job),
        eta=None if runner.silent or job.cancelling else _eta(job, snapshot.at),
        due_at=snapshot.at + job.due_in if job.due_in is not None else None,
        workers=len(snapshot.workers_of(job.queue)),
        paused=bool(count.paused) if count is not None else False,
        head=_dump(job.head),
        raw=_raw(job),
    )


def _log(lines: Sequence[LogLine]) -> tuple[list[Line], bool]:
    """Give the last lines there is room for, and whether there are more or longer ones."""
    shown: list[Line] = []
    room, cut = LOG_ROOM, len(lines) > LINES
    for line in reversed(lines[-LINES:]):
        text = redacted_text(line.text)[:LINE_ROOM]
        cut = cut or len(line.text) > LINE_ROOM
        room -= len(text)
        if room < 0:
            return shown[::-1], True
        when = dt.datetime.fromtimestamp(line.at, dt.UTC)
        shown.append(Line(line.id, f"{when:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z", f"{when:%H:%M:%S}", text))
    return shown[::-1], cut


def _raw(job: JobStory) -> str:
    call = job.call
    if call is None:
        return ""
    options = msgspec.structs.asdict(call.options)
    told = {"task": call.task, "arguments": job.arguments, "put_at": call.put_at, "options": options}
    return pretty(told, RAW_ROOM)


def _result(settled: Settled | None) -> Result | None:
    if settled is None or settled.state != "done":
        return None
    size = len(bytes(settled.value))
    if size > MOST_RESULT:
        return Result(size, "")
    try:
        return Result(size, pretty(redacted(settled.result()), RESULT_ROOM))
    except (msgspec.MsgspecError, ValueError, TypeError, ConveyorError):
        return Result(size, "(cannot be read)")


def _failure(settled: Settled | None) -> Failure | None:
    if settled is None or settled.state not in {"failed", "lost"}:
        return None
    try:
        kind, message, traceback = map(str, codec.decode(settled.value))
    except (msgspec.MsgspecError, ValueError, TypeError, ConveyorError):
        return Failure("?", "what is kept of it cannot be read", "", [])
    where = str(failure.innermost(traceback) or "")
    text = redacted_text(traceback)[-TRACEBACK_ROOM:]
    return Failure(kind, redacted_text(message), where, failure.pieces(text) if text.strip() else [])


def _bars(job: JobStory, now: float) -> tuple[list[Bar], float, float]:
    """Give the runs as bars, and when the first began and the last ended."""
    known = [one for one in job.attempts if one.started]
    bars = [Bar(_words(one), one.started, one.started + one.elapsed, one.state) for one in known]
    if job.since is not None:
        bars.append(Bar("running", job.since, max(now, job.since), "running"))
    begin = min((bar.start for bar in bars), default=0.0)
    if job.put_at is not None:
        begin = min(begin, job.put_at)
    return bars, begin, max((bar.end for bar in bars), default=0.0)


def _words(one: Attempt) -> str:
    return f"attempt {one.attempt}: {one.state} after {one.elapsed:.3g} s"


def _ended(job: JobStory) -> float | None:
    if job.run is not None and job.settled is not None:
        return job.run.started + job.settled.elapsed
    last = job.attempts[-1] if job.attempts else None
    return (
        last.started + last.elapsed if job.settled is not None and last is not None and last.started else None
    )


def _eta(job: JobStory, now: float) -> float | None:
    progress = job.progress
    if job.since is None or progress is None or not progress.fraction or progress.fraction == 1:
        return None
    return now + (now - job.since) * (1 / progress.fraction - 1)


def _dump(data: bytes) -> str:
    """Give bytes as people read them: sixteen a line, in hexadecimal and as text."""
    lines = []
    for first in range(0, len(data), 16):
        some = data[first : first + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in some)  # noqa: PLR2004 - what is printable
        lines.append(f"{first:04x}  {some.hex(' '):<47}  {text}")
    return "\n".join(lines)


JOB = Page("job", "/queues/{queue}/jobs/{id}", "Job", _view, _question, section="Jobs")
FOUND = Page(
    *("job", "/jobs/{id}", "Job", _view, _question),
    costly=lambda wanted: not _queue(wanted),
    section="Jobs",
)
