"""Dead jobs, grouped by task, error and location in the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conveyor.dashboard.page import Page, href, with_queue
from conveyor.monitor import failures

if TYPE_CHECKING:
    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.failures import FailureGroup, Overview
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query


class FailuresView(NamedTuple):
    """What the page shows."""

    queue: str
    queues: list[str]
    """All queues, those with dead jobs first."""
    groups: list[FailureGroup]
    """Without a fingerprint nothing is known of why the jobs died."""
    all: int
    """Number of groups, those of other pages included."""
    next: str
    """Addresses of the groups behind these, and of the first ones; "" without any."""
    front: str
    counted: int
    """Dead jobs in the known groups."""
    dead: int
    """Dead jobs in all."""


def _question(request: PageRequest, snapshot: Snapshot) -> Query[Overview]:
    queue = request.filters.get("queue", "").strip()
    dead = {name: count.dead for name, count in snapshot.queues.items() if not queue or name == queue}
    return failures.overview(failures.read_counts(dead), request.filters.get("after", ""))


def _view(request: PageRequest, snapshot: Snapshot, found: Overview) -> FailuresView:
    queue = request.filters.get("queue", "").strip()
    snapshot = with_queue(snapshot, queue)
    dead = {name: count.dead for name, count in snapshot.queues.items()}
    return FailuresView(
        queue=queue,
        queues=sorted(dead, key=lambda name: (not dead[name], name)),
        groups=found.groups,
        all=found.total,
        next=href("/failures", queue=queue, after=found.next) if found.next else "",
        front=href("/failures", queue=queue) if request.filters.get("after") else "",
        counted=found.counted,
        dead=dead[queue] if queue else sum(dead.values()),
    )


FAILURES = Page("failures", "/failures", "Failures", _view, _question, menu="Failures", key="f")
