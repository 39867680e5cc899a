"""What the API answers. `hidden` says that something is left out (null) for want of the right to inspect."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import Struct

from conveyor.wire.audit_entry import Facts  # noqa: TC001 - msgspec reads the annotations
from conveyor.wire.control_messages import Answer as WorkerAnswer  # noqa: TC001 - msgspec reads the annotations
from conveyor.wire.control_messages import ConsumerReport  # noqa: TC001 - msgspec reads the annotations

S = TypeVar("S", bound=Struct)


def made(wanted: type[S], given: object, /, **more: Any) -> S:
    """Give a Struct whose fields are the attributes of that name of another value, or those that are named."""
    names = (name for name in wanted.__struct_fields__ if name not in more and hasattr(given, name))
    return wanted(**{name: getattr(given, name) for name in names}, **more)


class Done(Struct, frozen=True):
    """What became of an act."""

    message: str
    """For people."""
    state: str = ""
    """Of a job: where it is now."""
    changed: bool = True
    """False if all was so already, and nothing was done."""
    recorded: bool = True
    """Whether the audit trail has it; it has happened either way."""


class QueueLine(Struct, frozen=True):
    """A queue: how many jobs are where, and since it began."""

    name: str
    ready: int
    """The same as `waiting`."""
    delayed: int
    """Jobs that are not due yet."""
    waiting: int
    """Jobs that are due, and wait for a worker."""
    qsize: int
    """Waiting and delayed ones together: what `maxsize` bounds."""
    running: int
    dead: int
    blocked: int
    """Producers that wait for room."""
    maxsize: int
    paused: bool
    shutdown: bool
    accepted: int
    finished: int
    cancelled: int
    discarded: int
    rate_in: float
    rate_out: float
    """Jobs per second, in the last step."""
    workers: int
    busy: int


class Queues(Struct, frozen=True):
    """Queues, by name."""

    queues: list[QueueLine]
    next: str


class Scaling(Struct, frozen=True):
    """For autoscalers: running jobs, and a worker for each `jobs_per_worker` that are due; none for a paused queue."""

    desired_workers: int
    running: int
    waiting: int
    workers: int


class Workers(Struct, frozen=True):
    """Who works: consumers that were heard of in the last 20 seconds, by host and name.

    `count` counts workers. A consumer whose workers are on several pages is on each, with those of that page.
    """

    consumers: list[ConsumerReport]
    next: str


class Order(Struct, frozen=True):
    """What workers were told; `orders/{order}` has their answers."""

    order: str
    targets: list[str]
    recorded: bool


class Answers(Struct, frozen=True):
    """The latest answer of each worker that gave one, in the last minute."""

    answers: list[WorkerAnswer]
    hidden: bool


class Operation(Struct, frozen=True):
    """A piece of work over many jobs."""

    id: str
    kind: str
    queue: str
    """Empty if it is about several."""
    queues: list[str]
    """The queues, if they are several."""
    state: str
    """running, done, stopped, failed, or stalled."""
    total: int
    done: int
    skipped: int
    started: float
    changed: float
    reason: str
    who: str
    error: str


class Operations(Struct, frozen=True):
    """Operations, those that began last first."""

    operations: list[Operation]
    next: str


class Begun(Struct, frozen=True):
    """An operation that was begun."""

    operation: str
    total: int
    message: str
    go: str


class AuditLine(Struct, frozen=True):
    """What somebody did."""

    id: str
    at: float
    action: str
    target: str
    queue: str
    reason: str
    before: Facts
    after: Facts
    outcome: str
    who: str
    origin: str
    answers: dict[str, str]
    """Of an order to workers, what was said last of each target: acknowledged, done, or why nothing came of it.
    None where those of the acts before it in the page are too many: 500 come with one page."""


class Audit(Struct, frozen=True):
    """What was done, the newest first. A page of one queue's may be empty and still have a `next`."""

    acts: list[AuditLine]
    next: str


class System(Struct, frozen=True):
    """The server, and this page."""

    release: str
    server: str
    kind: str
    version: str
    uptime: int
    clients: int
    used_memory: int
    maxmemory: int
    """Bytes; 0: no bound of its own."""
    policy: str
    queues: int
    consumers: int
    workers: int
    busy: int
    """Workers that run a job, leaving ones included."""
    leaving: int
    sample_seconds: float


class Point(Struct, frozen=True):
    """What a queue did in one minute, hour or day."""

    at: float
    succeeded: int
    failed: int
    cancelled: int
    lost: int
    retried: int
    started: int
    depth: int
    oldest: float | None
    """Seconds since the job at the head was put; null where no consumer has noted it."""
    running: int
    run_p50: float | None
    run_p95: float | None
    wait_p50: float | None
    wait_p95: float | None


class Series(Struct, frozen=True):
    """What a queue did, the oldest first."""

    queue: str
    tier: str
    points: list[Point]
