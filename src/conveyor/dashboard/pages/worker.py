"""One worker: what it is at, where its code is, and what it did last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages.workers import Crew, WorkerRow, crew_of, row_of
from conveyor.monitor import history
from conveyor.monitor.workers import find
from conveyor.store.query import Query, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.monitor.history import Finish, HistoryPage
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.monitor.workers import Found

#: Runs that are shown.
MOST_RUNS = 10
#: Queues whose history is searched, 1000 entries each.
MOST_HISTORIES = 3


class Run(NamedTuple):
    """A run that this worker ended."""

    queue: str
    finish: Finish


class Worker(NamedTuple):
    """What the page shows."""

    crew: Crew
    row: WorkerRow
    runs: Sequence[Run]
    searched: int
    """Ended runs that were looked at."""
    queues: Sequence[str]
    """Where they were looked for."""


def _name(wanted: PageRequest) -> str:
    return f"{wanted.parts['consumer']}/{wanted.parts['number']}"


def _queues(found: Found | None) -> list[str]:
    if found is None or found.worker is None:
        return []
    first = [found.worker.queue] if found.worker.queue else []
    return list(dict.fromkeys(first + list(found.consumer.queues)))[:MOST_HISTORIES]


def _slow(wanted: PageRequest, snapshot: Snapshot) -> Query[Any]:
    name = _name(wanted)
    queues = _queues(find(snapshot.consumers, name))
    matching = history.Matching(worker=name, exact=True)
    asked = together([history.finishes(queue, count=MOST_RUNS, matching=matching) for queue in queues])
    return Query(asked.commands, lambda answers: dict(zip(queues, asked.read(answers), strict=True)))


def _view(wanted: PageRequest, snapshot: Snapshot, answers: tuple[None, dict[str, HistoryPage]]) -> Worker:
    pages = answers[1]
    name = _name(wanted)
    found = find(snapshot.consumers, name)
    if found is None or found.worker is None:
        raise NoSuchThing(
            f"no worker is called {name:.120}",
            hint="It has left, or was not heard of for 20 seconds; its jobs are under Jobs.",
            may_come="worker",
        )
    runs = [Run(queue, finish) for queue, page in pages.items() for finish in page.finishes]
    return Worker(
        crew=crew_of(found.consumer, ()),
        row=row_of(found.worker, found.consumer, snapshot.at),
        runs=sorted(runs, key=lambda run: -run.finish.note.at)[:MOST_RUNS],
        searched=sum(page.searched for page in pages.values()),
        queues=list(pages),
    )


WORKER = Page("worker", "/workers/{consumer}/{number}", "Worker", _view, slow=_slow, section="Workers")
