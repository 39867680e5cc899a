"""The jobs of all queues or of one, in one state, fifty at a time; and one job by its id, in any queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from conveyor.dashboard import known_tasks
from conveyor.dashboard.api.jobs import LIVE, OUTCOMES
from conveyor.dashboard.page import Page, href, with_queue
from conveyor.dashboard.pages import job_rows
from conveyor.dashboard.pages.job import find_job, query_or_error
from conveyor.errors import BadCall, ConveyorError
from conveyor.monitor import history, job_list, job_record, merged_list
from conveyor.monitor.snapshot import fullest, in_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.dashboard.page import PageRequest
    from conveyor.dashboard.pages.job_rows import JobRowView
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.query import Query

STATES = (*LIVE, "ended")
#: Rows of a page, jobs that one search reads, and runs that one of all queues reads.
ROWS, BUDGET, RUNS = 50, 1000, 2000
#: Ended runs that a queue remembers, about.
REMEMBERED = 5000
#: Characters of a filter.
MAX_FILTER = 200


class Filters(NamedTuple):
    """What the visitor chose; what is empty does not narrow."""

    queue: str = ""
    state: str = "running"
    task: str = ""
    worker: str = ""
    text: str = ""
    outcome: str = ""
    id: str = ""
    cursor: str = ""

    @property
    def narrowed(self) -> bool:
        """True if jobs must be read to find the wanted ones."""
        return bool(self.task or self.worker or self.text or (self.outcome and self.state == "ended"))

    def at(self, **changes: str) -> str:
        """Return the address of the first page of the same list with some filters changed."""
        return href("/jobs", **{**self._asdict(), "cursor": "", **changes})

    def page(self, cursor: str) -> str:
        """Return the address of the page of the same list at a cursor, or "" without one."""
        return self.at(cursor=cursor) if cursor else ""

    def names(self, snapshot: Snapshot) -> list[str]:
        """Return the queues whose jobs are listed."""
        if self.queue:
            return [self.queue] if self.queue in snapshot.queues else []
        return list(snapshot.queues)


class StateTab(NamedTuple):
    """One state, and how many jobs are in it."""

    state: str
    jobs: int
    more: bool
    """True if there are more than are counted."""
    address: str


class Listed(NamedTuple):
    """The replies, in one form for all lists."""

    filters: Filters
    rows: list[JobRowView]
    next: str = ""
    """Addresses of the pages after and before; "" without one."""
    previous: str = ""
    first: int = 0
    """Position of the first row, from 1; 0 if unknown."""
    total: int = 0
    """Jobs of the list; 0 if they were not counted."""
    searched: int = 0
    """Number of jobs that were searched."""
    asked: int = 1
    """Queues whose jobs were queried."""


class JobsView(NamedTuple):
    """What the page shows."""

    listed: Listed
    queues: list[str]
    tabs: list[StateTab]
    front: str
    """Address of the first page; "" on it."""
    total: int
    holding: int
    """Queues that have jobs in this state."""
    all_matching: bool
    """True if an operation on this queue and task is about exactly the jobs of this list."""
    workers: int
    paused: bool
    waiting: int
    elsewhere: str
    """That a job which was not found was not searched for everywhere, or ""."""

    def version_key(self) -> object:
        """Return what makes a new version: of the counts of workers only whether there are any."""
        return self._replace(workers=bool(self.workers), waiting=bool(self.waiting))


def _filters(request: PageRequest) -> Filters:
    given: dict[str, Any] = {name: request.filters.get(name, "").strip() for name in Filters._fields}
    given["state"] = given["state"] or "running"
    for name, known_words in (("state", STATES), ("outcome", OUTCOMES)):
        if given[name] and given[name] not in known_words:
            raise BadCall(f"unknown {name} {given[name]!r:.80}", hint=f"use one of {', '.join(known_words)}")
    for name in ("task", "worker", "text"):
        if len(given[name]) > MAX_FILTER:
            raise BadCall(f"{name} is too long", hint=f"use at most {MAX_FILTER} characters")
    return Filters(**given)


def _question(request: PageRequest, snapshot: Snapshot) -> Query[Any]:
    return query_or_error(lambda: _query(_filters(request), snapshot))


def _query(filters: Filters, snapshot: Snapshot) -> Query[Listed]:
    if filters.id:
        return find_job(filters.id, list(snapshot.queues)).map(
            lambda record: Listed(filters, [job_rows.of_record(record)] if record is not None else [])
        )
    names = filters.names(snapshot)
    if len(names) == 1:
        filters = filters._replace(queue=names[0])
        if filters.state != "ended" and not filters.narrowed:
            return _paged(filters)
    return _merged(filters, fullest(snapshot.queues, names, filters.state))


def _paged(filters: Filters) -> Query[Listed]:
    """Query the jobs of one queue, of which every page knows its position."""

    def listed(page: job_list.JobPage) -> Listed:
        rows = [job_rows.of_live(one) for one in page.rows]
        following, previous = filters.page(page.next), filters.page(page.previous)
        return Listed(filters, rows, following, previous, page.first + 1, page.total)

    labels = known_tasks.labels
    return job_list.page(filters.queue, filters.state, filters.cursor, ROWS, labels_of=labels).map(listed)


def _merged(filters: Filters, names: Sequence[str]) -> Query[Listed]:
    """Query the matching jobs of some queues as one list."""
    query: Query[merged_list.MergedPage[Any]]
    row: Callable[[Any], JobRowView]
    if filters.state == "ended":
        matching = history.HistoryFilter(filters.task, filters.outcome, filters.worker, text=filters.text)
        limits, row = merged_list.MergeLimits(ROWS, RUNS), job_rows.of_finish
        query = merged_list.finishes(names, filters.cursor, matching, limits)
    else:
        wanted = job_list.JobFilter(filters.task, filters.worker, filters.text)
        limits, row = merged_list.MergeLimits(ROWS, BUDGET), job_rows.of_live
        query = merged_list.jobs(names, filters.state, filters.cursor, wanted, limits, known_tasks.labels)

    def listed(page: merged_list.MergedPage[Any]) -> Listed:
        searched = page.searched if filters.narrowed else 0
        asked = min(len(names), merged_list.MAX_QUEUES)
        rows = [row(one) for one in page.rows]
        return Listed(filters, rows, filters.page(page.next), searched=searched, asked=asked)

    return query.map(listed)


def _view(_: PageRequest, snapshot: Snapshot, listed: Listed | ConveyorError) -> JobsView:
    if isinstance(listed, ConveyorError):
        raise listed
    filters = listed.filters
    snapshot = with_queue(snapshot, filters.queue)
    names = filters.names(snapshot)
    counts = [snapshot.queues[name] for name in names]
    in_this_state = [in_state(count, filters.state) for count in counts]
    consumers = [one for one in snapshot.consumers if not set(names).isdisjoint(one.queues)]
    return JobsView(
        listed=listed._replace(rows=[_with_silence(row, snapshot) for row in listed.rows]),
        queues=sorted(snapshot.queues),
        tabs=[_tab(filters, names, snapshot, state) for state in STATES],
        front=filters.at() if filters.cursor else "",
        total=listed.total or (0 if filters.state == "ended" else sum(in_this_state)),
        holding=sum(number > 0 for number in in_this_state),
        all_matching=not (filters.worker or filters.text or filters.outcome)
        and all(row.task == filters.task for row in listed.rows if filters.task),
        workers=sum(len(one.workers) for one in consumers),
        paused=bool(filters.queue and counts[0].paused),
        waiting=sum(count.ready for count in counts),
        elsewhere=job_record.not_everywhere(len(snapshot.queues)),
    )


def _with_silence(row: JobRowView, snapshot: Snapshot) -> JobRowView:
    if row.state != "running":
        return row
    return replace(row, silent_since=snapshot.job_silent_since(row.worker, row.since))


def _tab(filters: Filters, names: Sequence[str], snapshot: Snapshot, state: str) -> StateTab:
    most = REMEMBERED if state == "ended" else 10**9
    numbers = [in_state(snapshot.queues[name], state) for name in names]
    shown = sum(min(number, most) for number in numbers)
    return StateTab(state, shown, shown < sum(numbers), filters.at(state=state, outcome="", id=""))


def _searches(request: PageRequest) -> bool:
    return any(request.filters.get(name) for name in ("id", "task", "worker", "text", "outcome"))


JOBS = Page(
    "jobs",
    "/jobs",
    "Jobs",
    _view,
    _question,
    costly=_searches,
    inspects=lambda request: bool(request.filters.get("text", "").strip()),
    menu="Jobs",
    key="j",
)
