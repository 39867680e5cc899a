"""Dead letters by what they died of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages.asked import href, job_path
from conveyor.dashboard.rendering import short
from conveyor.failure import LOST
from conveyor.inspector import failures
from conveyor.store.records import MOST_ENTRIES

if TYPE_CHECKING:
    from conveyor.dashboard.page import Wanted
    from conveyor.inspector.failures import Sample
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.store.query import Query

#: Slices of a thousand dead letters that one look counts; of each queue at least one.
SLICES = 10
#: Queues that are looked at, those with the most dead letters.
MOST_GROUPED = 20
#: Characters of a message.
MESSAGE = 200


class Group(NamedTuple):
    """Dead letters that failed alike."""

    queue: str
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


class FailuresView(NamedTuple):
    """What the page shows."""

    queue: str
    queues: list[str]
    """All that there are, those with dead letters first."""
    groups: list[Group]
    more: int
    """Groups that are not shown."""
    counted: int
    """Dead letters in the groups that are known."""
    dead: int
    """Dead letters there are."""
    clear: str
    """The address without a filter; empty where there is none."""


def _queues(wanted: Wanted, snapshot: Snapshot) -> list[str]:
    queue = wanted.filters.get("queue", "").strip()
    if queue:
        return [queue] if queue in snapshot.queues else []
    dead = [name for name, count in snapshot.queues.items() if count.dead]
    return sorted(dead, key=lambda name: (-snapshot.queues[name].dead, name))[:MOST_GROUPED]


def _question(wanted: Wanted, snapshot: Snapshot) -> Query[Any]:
    queues = _queues(wanted, snapshot)
    if not queues:
        return failures.overview([])
    largest = max(snapshot.queues[name].dead for name in queues)
    slices = min(-(-largest // MOST_ENTRIES), max(SLICES // len(queues), 1))
    return failures.overview(queues, max(slices, 1) * MOST_ENTRIES)


def _view(wanted: Wanted, snapshot: Snapshot, answer: tuple[list[Sample], int]) -> FailuresView:
    queue = wanted.filters.get("queue", "").strip()
    snapshot = snapshot.with_queue(queue)
    if queue and queue not in snapshot.queues:
        message = f"There is no queue {queue!r:.110}"
        raise NoSuchThing(message, hint="A queue begins when a job is put on it.", may_come=True)
    samples, known = answer
    dead = {name: count.dead for name, count in snapshot.queues.items()}
    return FailuresView(
        queue=queue,
        queues=sorted(dead, key=lambda name: (not dead[name], name)),
        groups=[_group(one) for one in samples],
        more=known - len(samples),
        counted=sum(one.group.count for one in samples),
        dead=dead[queue] if queue else sum(dead.values()),
        clear=href("/failures") if queue else "",
    )


def _group(one: Sample) -> Group:
    group = one.group
    lost = group.fingerprint == LOST
    return Group(
        queue=group.queue,
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
