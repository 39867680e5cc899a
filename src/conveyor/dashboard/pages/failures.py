"""Dead letters by what they died of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages.asked import href, job_path
from conveyor.dashboard.rendering import short
from conveyor.monitor import failures
from conveyor.wire.failure import LOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.failures import Overview, Sample
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query

#: Queues of a group that are named; the others are counted.
MOST_NAMED = 3
#: Characters of a message.
MESSAGE = 200


class Group(NamedTuple):
    """Dead letters that failed alike."""

    queue: str
    """Where the one is that died last."""
    queues: Sequence[str]
    """All queues that have some, those with the most first."""
    fingerprint: str
    """Empty where nothing is known of why they died; then there is nothing to tell them by."""
    jobs: int
    task: str
    kind: str
    message: str
    where: str
    newest: str
    address: str
    """Of the job that died last."""
    first_seen: float
    last_seen: float

    @property
    def named(self) -> Sequence[str]:
        """The queues that are named."""
        return self.queues[:MOST_NAMED]

    def body(self, kind: str) -> dict[str, Any]:
        """Return what begins an operation over the group: on its queue, or on all queues that have some."""
        where = {"queue": self.queue} if len(self.queues) == 1 else {"queues": list(self.queues)}
        return {"kind": kind, **where, "matching": {"group": self.fingerprint}}


class FailuresView(NamedTuple):
    """What the page shows."""

    queue: str
    queues: list[str]
    """All that there are, those with dead letters first."""
    groups: list[Group]
    all: int
    """Groups there are, those of other pages included."""
    next: str
    """Addresses of the groups behind these, and of the first ones; empty where there are none."""
    front: str
    counted: int
    """Dead letters in the groups that are known."""
    dead: int
    """Dead letters there are."""
    clear: str
    """The address without a filter; empty where there is none."""


def _question(wanted: PageRequest, snapshot: Snapshot) -> Query[Overview]:
    queue = wanted.filters.get("queue", "").strip()
    dead = {name: count.dead for name, count in snapshot.queues.items() if not queue or name == queue}
    return failures.overview(failures.looked_at(dead), wanted.filters.get("after", ""))


def _view(wanted: PageRequest, snapshot: Snapshot, found: Overview) -> FailuresView:
    queue = wanted.filters.get("queue", "").strip()
    snapshot = snapshot.with_queue(queue)
    if queue and queue not in snapshot.queues:
        message = f"There is no queue {queue!r:.110}"
        raise NoSuchThing(message, hint="A queue begins when a job is put on it.", may_come="queue")
    dead = {name: count.dead for name, count in snapshot.queues.items()}
    return FailuresView(
        queue=queue,
        queues=sorted(dead, key=lambda name: (not dead[name], name)),
        groups=[_group(one) for one in found.samples],
        all=found.groups,
        next=href("/failures", queue=queue, after=found.next) if found.next else "",
        front=href("/failures", queue=queue) if wanted.filters.get("after") else "",
        counted=found.counted,
        dead=dead[queue] if queue else sum(dead.values()),
        clear=href("/failures") if queue else "",
    )


def _group(one: Sample) -> Group:
    group = one.group
    lost = group.fingerprint == LOST
    return Group(
        queue=group.queue,
        queues=group.queues,
        fingerprint=group.fingerprint,
        jobs=group.count,
        task=short(one.task, MESSAGE),
        kind=short(one.kind, MESSAGE) or ("lost" if lost else "not known"),
        message=short(" ".join(one.message.split()), MESSAGE),
        where=short(one.where, MESSAGE),
        newest=group.newest,
        address=job_path(group.queue, group.newest),
        first_seen=group.first_seen,
        last_seen=group.last_seen,
    )


FAILURES = Page(
    "failures", "/failures", "Failures", _view, _question, menu="Failures", key="f", section="Failures"
)
