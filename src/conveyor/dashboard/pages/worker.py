"""One worker: what it is doing, where its code is, and its last runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages.workers import ConsumerView, WorkerRow, consumer_of, row_of
from conveyor.monitor import merged_list
from conveyor.monitor.history import HistoryFilter
from conveyor.monitor.merged_list import MergeLimits
from conveyor.monitor.workers import find
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.history import Finish
    from conveyor.monitor.merged_list import MergedPage
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.monitor.workers import NamedWorker

#: Runs that are shown.
MAX_RUNS = 10
#: Queues whose history is searched, 1000 entries each.
MAX_HISTORIES = 3


class WorkerView(NamedTuple):
    """What the page shows."""

    consumer: ConsumerView
    row: WorkerRow
    runs: Sequence[Finish]
    searched: int
    """Ended runs that were searched."""
    queues: Sequence[str]
    """The queues whose history was searched."""


def _name(request: PageRequest) -> str:
    return f"{request.parts['consumer']}/{request.parts['number']}"


def _queues(found: NamedWorker | None) -> list[str]:
    if found is None or found.worker is None:
        return []
    first = [found.worker.queue] if found.worker.queue else []
    return list(dict.fromkeys(first + list(found.consumer.queues)))[:MAX_HISTORIES]


def _slow(request: PageRequest, snapshot: Snapshot) -> Query[Any]:
    name = _name(request)
    queues = _queues(find(snapshot.consumers, name))
    matching, limits = HistoryFilter(worker=name, exact=True), MergeLimits(MAX_RUNS)
    query = together([merged_list.finishes([queue], wanted=matching, limits=limits) for queue in queues])
    return query.map(lambda pages: dict(zip(queues, pages, strict=True)))


def _view(
    request: PageRequest, snapshot: Snapshot, replies: tuple[None, dict[str, MergedPage[Finish]]]
) -> WorkerView:
    pages, name = replies[1], _name(request)
    found = find(snapshot.consumers, name)
    if found is None or found.worker is None:
        hint = "find its jobs under Jobs; it has left, or missed its heartbeats for 20 seconds"
        raise NoSuchThing(f"no worker is called {name:.120}", hint=hint, may_come="worker")
    runs = [run for page in pages.values() for run in page.rows]
    return WorkerView(
        consumer=consumer_of(found.consumer, ()),
        row=row_of(found.worker, found.consumer, snapshot.at),
        runs=sorted(runs, key=lambda run: -run.note.at)[:MAX_RUNS],
        searched=sum(page.searched for page in pages.values()),
        queues=list(pages),
    )


WORKER = Page("worker", "/workers/{consumer}/{number}", "Worker", _view, slow=_slow, section="Workers")
