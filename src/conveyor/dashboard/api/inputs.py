"""What requests may say: queries and bodies. A field that is not here is refused, and every number has bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from conveyor.monitor.actions import VERBS  # noqa: TC001 - msgspec reads the annotations
from conveyor.monitor.bulk import MOST_IDS, MOST_QUEUES
from conveyor.wire import ids
from conveyor.wire.audit_entry import KINDS  # noqa: TC001 - msgspec reads the annotations
from conveyor.wire.call import HIGHEST_PRIORITY

#: Rows of one page at most, and those without `count`.
MOST_ROWS, ROWS = 200, 50
#: Jobs that one request puts at most, counted before any is split.
MOST_COUNT = 1000
_YEAR = 366 * 86400.0

Queue = Annotated[str, Meta(pattern=f"^{ids.QUEUE_PATTERN}$", max_length=100)]
MaybeQueue = Annotated[str, Meta(pattern=f"^({ids.QUEUE_PATTERN})?$", max_length=100)]
JobId = Annotated[str, Meta(pattern=f"^{ids.ID_PATTERN}$", max_length=64)]
Short = Annotated[str, Meta(max_length=200)]
Cursor = Annotated[str, Meta(max_length=1000)]
Reason = Annotated[str, Meta(max_length=500)]
Text = Annotated[str, Meta(max_length=200_000)]
Rows = Annotated[int, Meta(ge=1, le=MOST_ROWS)]
Times = Annotated[int, Meta(ge=1, le=MOST_COUNT)]
Priority = Annotated[int, Meta(ge=0, le=HIGHEST_PRIORITY)]
Delay = Annotated[float, Meta(ge=0, le=_YEAR)]
LIVE = ("waiting", "delayed", "running", "dead")
OUTCOMES = ("done", "failed", "retried", "timed out", "lost", "cancelled")
JOB_STATES = (*LIVE, "ended", *OUTCOMES)


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class RowsQuery(Query, frozen=True):
    """A page of a list."""

    cursor: Cursor = ""
    """`next` of the page before."""
    count: Rows = ROWS
    fields: Short = ""
    """Fields of each row that are wanted, separated by commas; empty: all."""


class QueueRows(RowsQuery, frozen=True):
    """A page of a list, of one queue or of all."""

    queue: MaybeQueue = ""


class JobRows(QueueRows, frozen=True):
    """A page of jobs, of a queue or of all. `ended` are all runs that ended, those below it the ones that did so."""

    state: Literal[JOB_STATES] = "waiting"  # type: ignore[valid-type]
    outcome: Literal["", *OUTCOMES] = ""  # type: ignore[valid-type]
    """How it ended; goes with the state `ended` alone."""
    task: Short = ""
    worker: Short = ""
    text: Short = ""
    """Stands in id, arguments or error; needs the right to inspect."""


class OneJob(Query, frozen=True):
    """Where a job is; without `queue` all are looked through."""

    queue: MaybeQueue = ""


class LogQuery(OneJob, frozen=True):
    """Which lines are wanted: those after the line with the id `after`."""

    after: Annotated[str, Meta(max_length=50)] = ""
    count: Annotated[int, Meta(ge=1, le=500)] = 500


class ScalingQuery(Query, frozen=True):
    """How many waiting jobs one worker is to be there for."""

    jobs_per_worker: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class SeriesQuery(Query, frozen=True, kw_only=True):
    """The last `count` minutes, hours or days of a queue or of all, the one that goes on included."""

    queue: MaybeQueue = ""
    """Empty: all queues together, without gauges; for those who may look at all."""
    tier: Literal["minute", "hour", "day"] = "minute"
    count: Annotated[int, Meta(ge=1, le=180)] = 60


class Why(Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is done, for the audit trail."""

    reason: Reason = ""


class Bound(Why, frozen=True, kw_only=True):
    """How many jobs may wait; 0: any number."""

    maxsize: Annotated[int, Meta(ge=0, le=1_000_000_000)]


class AboutJob(Why, frozen=True):
    """Which queue the job is in; without it all are looked through."""

    queue: MaybeQueue = ""


class Tell(Why, frozen=True, kw_only=True):
    """What workers (`host-ab12/3`) or whole consumers (`host-ab12`) are told."""

    verb: Literal[VERBS]  # type: ignore[valid-type]
    targets: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(min_length=1, max_length=500)
    ]
    jobs: Annotated[dict[Short, JobId], Meta(max_length=500)] = {}
    """The job that a worker was seen at: kill and stack do nothing where it runs another by then."""


class Matching(Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs are meant; what is empty does not narrow it."""

    task: Short = ""
    ids: Annotated[tuple[JobId, ...], Meta(max_length=MOST_IDS)] = ()
    group: Short = ""
    """A fingerprint, as `failures` gives it."""


class Begin(Why, frozen=True, kw_only=True):
    """An operation over many jobs. retry, discard: dead ones. cancel: those that wait. purge: all that wait."""

    kind: Literal[KINDS]  # type: ignore[valid-type]
    queue: MaybeQueue = ""
    queues: Annotated[tuple[Queue, ...], Meta(max_length=MOST_QUEUES)] = ()
    """Several queues, to retry or discard dead jobs there. If none is named, all that have dead jobs and where you may
    do so; then `matching` names a group or a task."""
    matching: Matching = Matching()


class Preview(Struct, frozen=True, forbid_unknown_fields=True):
    """An order as it is being typed: the text of each argument that is given. Its bounds are looked at later."""

    arguments: Annotated[dict[Short, Text], Meta(max_length=100)] = {}
    queue: Short = ""
    priority: float | None = None
    delay: float | None = None
    count: float = 1
    split: bool = False


class Options(Struct, frozen=True):
    """The options of an order that can be put."""

    queue: MaybeQueue = ""
    priority: Priority | None = None
    delay: Delay | None = None
    count: Times = 1


class Enqueue(Why, frozen=True, kw_only=True):
    """Jobs to put: `count` times the same. A text for an argument that is none counts as typed."""

    task: Annotated[str, Meta(min_length=1, max_length=200)]
    arguments: Annotated[dict[Short, Any], Meta(max_length=100)] = {}
    queue: MaybeQueue = ""
    """Empty: the task's own."""
    priority: Priority | None = None
    delay: Delay | None = None
    """Seconds before it may run."""
    count: Times = 1
    id: JobId | None = None
    """The job's own id; 409 if it is known already."""
    split: bool = False
    """Split each into the jobs that `conveyor produce` would make of it; the arguments are those of the order."""
