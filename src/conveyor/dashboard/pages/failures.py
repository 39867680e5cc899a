"""Dead jobs, grouped by task, error and location in the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.page import NoSuchThing, Page, href, job_path
from conveyor.monitor import failures
from conveyor.monitor.format import shorten
from conveyor.wire.failure import LOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.failures import GroupCount, GroupSample, Overview
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query

#: Queues of a group that are named; the others are counted.
MAX_NAMED = 3
#: Characters of a message.
MESSAGE = 200


class Group(NamedTuple):
    """Dead jobs that failed alike. Without a fingerprint nothing is known of why they died."""

    counts: GroupCount
    address: str
    """Of the job that died last."""
    task: str
    kind: str
    message: str
    where: str

    @property
    def named(self) -> Sequence[str]:
        """The queues that are named."""
        return self.counts.queues[:MAX_NAMED]


class FailuresView(NamedTuple):
    """What the page shows."""

    queue: str
    queues: list[str]
    """All queues, those with dead jobs first."""
    groups: list[Group]
    all: int
    """Number of groups, those of other pages included."""
    next: str
    """Addresses of the groups behind these, and of the first ones; "" without any."""
    front: str
    counted: int
    """Dead jobs in the known groups."""
    dead: int
    """Dead jobs in all."""
    clear: str
    """The address without a filter; "" on it."""


def _question(request: PageRequest, snapshot: Snapshot) -> Query[Overview]:
    queue = request.filters.get("queue", "").strip()
    dead = {name: count.dead for name, count in snapshot.queues.items() if not queue or name == queue}
    return failures.overview(failures.read_counts(dead), request.filters.get("after", ""))


def _view(request: PageRequest, snapshot: Snapshot, found: Overview) -> FailuresView:
    queue = request.filters.get("queue", "").strip()
    snapshot = snapshot.with_queue(queue)
    if queue and queue not in snapshot.queues:
        raise NoSuchThing(
            f"Unknown queue {queue!r:.110}", hint="A queue begins when a job is put on it.", may_come="queue"
        )
    dead = {name: count.dead for name, count in snapshot.queues.items()}
    return FailuresView(
        queue=queue,
        queues=sorted(dead, key=lambda name: (not dead[name], name)),
        groups=[_group(one) for one in found.samples],
        all=found.groups,
        next=href("/failures", queue=queue, after=found.next) if found.next else "",
        front=href("/failures", queue=queue) if request.filters.get("after") else "",
        counted=found.counted,
        dead=dead[queue] if queue else sum(dead.values()),
        clear=href("/failures") if queue else "",
    )


def _group(one: GroupSample) -> Group:
    lost = one.group.fingerprint == LOST
    return Group(
        counts=one.group,
        address=job_path(one.group.queue, one.group.newest),
        task=shorten(one.task, MESSAGE),
        kind=shorten(one.kind, MESSAGE) or ("lost" if lost else "not known"),
        message=shorten(" ".join(one.message.split()), MESSAGE),
        where=shorten(one.where, MESSAGE),
    )


FAILURES = Page("failures", "/failures", "Failures", _view, _question, menu="Failures", key="f")
