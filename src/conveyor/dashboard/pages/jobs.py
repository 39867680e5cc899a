"""The jobs of all queues or of one, in one state, fifty at a time; and one job by its id, wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard import known_tasks
from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages import job_rows
from conveyor.dashboard.pages.asked import careful, story_anywhere
from conveyor.dashboard.pages.job_filters import STATES, Filters, filters_of
from conveyor.errors import ConveyorError
from conveyor.monitor import history, job_list, job_record, merging, silence
from conveyor.monitor.history import Matching
from conveyor.monitor.snapshot import fullest, in_state
from conveyor.store.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.dashboard.pages.job_rows import Row
    from conveyor.monitor.snapshot import Snapshot

#: Rows of a page, jobs that one search looks at, and runs that one of all queues looks at.
ROWS, BUDGET, RUNS = 50, 1000, 2000
#: Runs that have ended that a queue remembers, about.
REMEMBERED = 5000


class Tab(NamedTuple):
    """One state, and how many jobs are in it."""

    state: str
    jobs: int
    more: bool
    """There are more than are counted."""
    address: str


class Listed(NamedTuple):
    """The answers, in one form for all lists."""

    filters: Filters
    rows: list[Row]
    next: str = ""
    previous: str = ""
    first: int = 0
    total: int = 0
    searched: int = 0
    asked: int = 1


class JobsView(NamedTuple):
    """What the page shows."""

    filters: Filters
    queues: list[str]
    tabs: list[Tab]
    rows: list[Row]
    next: str
    """Addresses of the pages after and before, and of the first; empty where there is none."""
    previous: str
    front: str
    first: int
    """Place of the first row, from 1; 0 where it is not known."""
    total: int
    searched: int
    """How many were looked at; 0 where nothing had to be searched."""
    asked: int
    """Queues whose jobs were asked for."""
    holding: int
    """Queues that have jobs in this state."""
    all_matching: bool
    """An operation on this queue and task means the jobs that this list shows, and no others."""
    workers: int
    paused: bool
    waiting: int
    elsewhere: str
    """That the job which was not found was not looked for everywhere; else empty."""

    def version_key(self) -> object:
        """Give what counts as news: counts of workers are said in words only when there are none."""
        return self._replace(workers=bool(self.workers), waiting=bool(self.waiting))


def _question(wanted: PageRequest, snapshot: Snapshot) -> Query[Any]:
    return careful(lambda: _asked(filters_of(wanted), snapshot))


def _asked(filters: Filters, snapshot: Snapshot) -> Query[Any]:
    if filters.id:
        found = story_anywhere(filters.id, list(snapshot.queues))

        def read(answers: Any) -> Listed:
            story = found.read(answers)
            return Listed(filters, [job_rows.of_story(story)] if story is not None else [])

        return Query(found.commands, read)
    names = filters.names(snapshot)
    if not filters.queue and len(names) != 1:
        return _merged(filters, fullest(snapshot.queues, names, filters.state))
    if not names:
        return Query((), lambda _: Listed(filters, []))
    ask = _ended if filters.state == "ended" else _searched if filters.narrowed else _paged
    return ask(filters._replace(queue=names[0]))


def _paged(filters: Filters) -> Query[Listed]:
    asked = job_list.page(filters.queue, filters.state, filters.cursor, ROWS, labels_of=known_tasks.labels)

    def read(answers: Any) -> Listed:
        page = asked.read(answers)
        rows = [job_rows.of_live(one) for one in page.rows]
        return Listed(filters, rows, page.next, page.previous, page.first + 1, page.total)

    return Query(asked.commands, read)


def _searched(filters: Filters) -> Query[Listed]:
    place = (filters.queue, filters.state)
    limits = job_list.Limits(BUDGET, ROWS)
    asked = job_list.search(*place, _wanted(filters), filters.cursor, limits, known_tasks.labels)

    def read(answers: Any) -> Listed:
        found = asked.read(answers)
        rows = [job_rows.of_live(one) for one in found.rows]
        return Listed(filters, rows, found.next, total=found.total, searched=found.searched)

    return Query(asked.commands, read)


def _ended(filters: Filters) -> Query[Listed]:
    asked = history.finishes(filters.queue, filters.cursor, ROWS, _matching(filters))

    def read(answers: Any) -> Listed:
        page = asked.read(answers)
        rows = [job_rows.of_finish(filters.queue, one) for one in page.finishes]
        searched = page.searched if filters.narrowed else 0
        return Listed(filters, rows, page.next, searched=searched)

    return Query(asked.commands, read)


def _merged(filters: Filters, names: Sequence[str]) -> Query[Listed]:
    """Ask for the jobs of several queues."""
    asked: Query[merging.Merged[Any]]
    row: Callable[[Any], Row]
    if filters.state == "ended":
        asked = merging.finishes(names, filters.cursor, _matching(filters), merging.Limits(ROWS, RUNS))
        row = _of_ended
    else:
        limits = merging.Limits(ROWS, BUDGET)
        asked = merging.jobs(
            names, filters.state, filters.cursor, _wanted(filters), limits, known_tasks.labels
        )
        row = job_rows.of_live

    def read(answers: Any) -> Listed:
        page = asked.read(answers)
        searched = page.searched if filters.narrowed else 0
        rows = [row(one) for one in page.rows]
        return Listed(filters, rows, page.next, searched=searched, asked=min(len(names), merging.MOST_QUEUES))

    return Query(asked.commands, read)


def _of_ended(one: merging.Ended) -> Row:
    return job_rows.of_finish(one.queue, one.finish)


def _wanted(filters: Filters) -> job_list.Wanted:
    return job_list.Wanted(filters.task, filters.worker, filters.text)


def _matching(filters: Filters) -> Matching:
    return Matching(filters.task, filters.outcome, filters.worker, "", filters.text)


def _view(_: PageRequest, snapshot: Snapshot, listed: Listed | ConveyorError) -> JobsView:
    if isinstance(listed, ConveyorError):
        raise listed
    filters = listed.filters
    snapshot = snapshot.with_queue(filters.queue)
    if filters.queue and filters.queue not in snapshot.queues:
        message = f"There is no queue {filters.queue!r:.110}"
        raise NoSuchThing(message, hint="A queue begins when a job is put on it.", may_come="queue")
    names = filters.names(snapshot)
    counts = [snapshot.queues[name] for name in names]
    known = 0 if filters.state == "ended" else sum(in_state(count, filters.state) for count in counts)
    consumers = [one for one in snapshot.consumers if not set(names).isdisjoint(one.queues)]
    return JobsView(
        filters=filters,
        queues=sorted(snapshot.queues),
        tabs=[_tab(filters, names, snapshot, state) for state in STATES],
        rows=[_seen(row, snapshot) for row in listed.rows],
        next=filters.at(cursor=listed.next) if listed.next else "",
        previous=filters.at(cursor=listed.previous) if listed.previous else "",
        front=filters.at() if filters.cursor else "",
        first=listed.first,
        total=listed.total or known,
        searched=listed.searched,
        asked=listed.asked,
        holding=sum(in_state(count, filters.state) > 0 for count in counts),
        all_matching=not (filters.worker or filters.text or filters.outcome)
        and all(row.task == filters.task for row in listed.rows if filters.task),
        workers=sum(len(one.workers) for one in consumers),
        paused=bool(filters.queue and counts[0].paused),
        waiting=sum(count.ready for count in counts),
        elsewhere=job_record.not_everywhere(len(snapshot.queues)),
    )


def _seen(row: Row, snapshot: Snapshot) -> Row:
    if row.state != "running":
        return row
    return row._replace(silent_since=silence.of_job(snapshot, row.worker, row.since))


def _tab(filters: Filters, names: Sequence[str], snapshot: Snapshot, state: str) -> Tab:
    most = REMEMBERED if state == "ended" else 10**9
    numbers = [in_state(snapshot.queues[name], state) for name in names]
    shown = sum(min(number, most) for number in numbers)
    return Tab(state, shown, shown < sum(numbers), filters.at(state=state, outcome="", id=""))


def _searches(wanted: PageRequest) -> bool:
    return any(wanted.filters.get(name) for name in ("id", "task", "worker", "text", "outcome"))


JOBS = Page(
    *("jobs", "/jobs", "Jobs", _view, _question),
    costly=_searches,
    inspects=lambda wanted: bool(wanted.filters.get("text", "").strip()),
    menu="Jobs",
    key="j",
    section="Jobs",
)
