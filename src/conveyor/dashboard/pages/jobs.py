"""The jobs of a queue in one state, fifty at a time; and one job by its id, wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor.dashboard import known_tasks
from conveyor.dashboard.page import NoSuchThing, Page
from conveyor.dashboard.pages import job_rows
from conveyor.dashboard.pages.asked import careful, href, story_anywhere
from conveyor.errors import BadCall, ConveyorError
from conveyor.inspector import history, listing
from conveyor.inspector.history import Matching
from conveyor.inspector.snapshot import EMPTY, ended
from conveyor.store.query import Query

if TYPE_CHECKING:
    from conveyor.dashboard.page import Wanted
    from conveyor.dashboard.pages.job_rows import Row
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.store.commands import Count

#: Rows of a page, and jobs that one search looks at.
ROWS, BUDGET = 50, 1000
#: Runs that have ended that a queue remembers, about.
REMEMBERED = 5000
STATES = ("waiting", "delayed", "running", "dead", "ended")
OUTCOMES = ("done", "failed", "retried", "timed out", "lost", "cancelled")
#: Characters of a filter.
_LONGEST = 200


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
    chosen: bool = False
    """The queue was not named by the visitor, but taken because it has the most jobs in this state."""

    @property
    def narrowed(self) -> bool:
        """Whether jobs must be looked at to tell which are wanted."""
        return bool(self.task or self.worker or self.text or (self.outcome and self.state == "ended"))

    def at(self, **changes: str) -> str:
        """Give the address of the same list with some filters changed; it begins at the front."""
        return href("/jobs", **{**self._asdict(), "chosen": "", "cursor": "", **changes})


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
    total: int
    searched: int
    """How many were looked at; 0 where nothing had to be searched."""
    all_matching: bool
    """An operation on this queue and task means the jobs that this list shows, and no others."""
    workers: int
    paused: bool
    waiting: int

    def essence(self) -> object:
        """Give what counts as news: counts of workers are said in words only when there are none."""
        return self._replace(workers=bool(self.workers), waiting=bool(self.waiting))

    @property
    def address(self) -> str:
        """Where the page goes on from now: it stays with the queue that was chosen for it. Empty: where it is."""
        return self.filters.at() if self.filters.chosen and self.rows else ""


def _filters(wanted: Wanted) -> Filters:
    given: dict[str, Any] = {
        name: wanted.filters.get(name, "").strip() for name in Filters._fields if name != "chosen"
    }
    given["state"] = given["state"] or "running"
    if given["state"] not in STATES:
        message = f"{given['state']!r:.80} is no state of jobs"
        raise BadCall(message, hint=f"it is one of {', '.join(STATES)}")
    if given["outcome"] and given["outcome"] not in OUTCOMES:
        message = f"{given['outcome']!r:.80} is no outcome"
        raise BadCall(message, hint=f"it is one of {', '.join(OUTCOMES)}")
    for name in ("task", "worker", "text"):
        if len(given[name]) > _LONGEST:
            message = f"{name} is too long"
            raise BadCall(message, hint=f"{_LONGEST} characters at most")
    return Filters()._replace(**given)


def count_in(count: Count, state: str) -> int:
    """Give how many jobs of a queue are in a state; of those that ended, how many ever did."""
    if state == "ended":
        return ended(count)
    return {"waiting": count.ready, "delayed": count.delayed, "running": count.leased, "dead": count.dead}[
        state
    ]


def _fullest(snapshot: Snapshot, state: str) -> str:
    return max(snapshot.queues, key=lambda name: (count_in(snapshot.queues[name], state), name), default="")


def _question(wanted: Wanted, snapshot: Snapshot) -> Query[Any]:
    return careful(lambda: _asked(_filters(wanted), snapshot))


def _asked(filters: Filters, snapshot: Snapshot) -> Query[Any]:
    if filters.id:
        found = story_anywhere(filters.id, list(snapshot.queues))

        def read(answers: Any) -> Listed:
            story = found.read(answers)
            return Listed(filters, [job_rows.of_story(story)] if story is not None else [])

        return Query(found.commands, read)
    if not filters.queue:
        filters = filters._replace(queue=_fullest(snapshot, filters.state), chosen=True)
    if filters.queue not in snapshot.queues:
        return Query((), lambda _: Listed(filters, []))
    ask = _ended if filters.state == "ended" else _searched if filters.narrowed else _paged
    return ask(filters)


def _paged(filters: Filters) -> Query[Listed]:
    asked = listing.page(filters.queue, filters.state, filters.cursor, ROWS, labels_of=known_tasks.labels)

    def read(answers: Any) -> Listed:
        page = asked.read(answers)
        rows = [job_rows.of_live(one) for one in page.rows]
        return Listed(filters, rows, page.next, page.previous, page.first + 1, page.total)

    return Query(asked.commands, read)


def _searched(filters: Filters) -> Query[Listed]:
    wanted = listing.Wanted(filters.task, filters.worker, filters.text)
    place = (filters.queue, filters.state)
    limits = listing.Limits(BUDGET, ROWS)
    asked = listing.search(*place, wanted, filters.cursor, limits, known_tasks.labels)

    def read(answers: Any) -> Listed:
        found = asked.read(answers)
        rows = [job_rows.of_live(one) for one in found.rows]
        return Listed(filters, rows, found.next, total=found.total, searched=found.searched)

    return Query(asked.commands, read)


def _ended(filters: Filters) -> Query[Listed]:
    matching = Matching(filters.task, filters.outcome, filters.worker, "", filters.text)
    asked = history.finishes(filters.queue, filters.cursor, ROWS, matching)

    def read(answers: Any) -> Listed:
        page = asked.read(answers)
        rows = [job_rows.of_finish(filters.queue, one) for one in page.finishes]
        searched = page.searched if filters.narrowed else 0
        return Listed(filters, rows, page.next, searched=searched)

    return Query(asked.commands, read)


def _view(_: Wanted, snapshot: Snapshot, listed: Listed | ConveyorError) -> JobsView:
    if isinstance(listed, ConveyorError):
        raise listed
    filters = listed.filters
    if filters.queue and filters.queue not in snapshot.queues:
        message = f"There is no queue {filters.queue!r:.110}"
        raise NoSuchThing(message, hint="A queue begins when a job is put on it.")
    count = snapshot.queues.get(filters.queue, EMPTY)
    return JobsView(
        filters=filters,
        queues=sorted(snapshot.queues),
        tabs=[_tab(filters, count, state) for state in STATES],
        rows=listed.rows,
        next=filters.at(cursor=listed.next) if listed.next else "",
        previous=filters.at(cursor=listed.previous) if listed.previous else "",
        front=filters.at() if filters.cursor else "",
        first=listed.first,
        total=listed.total,
        searched=listed.searched,
        all_matching=not (filters.worker or filters.text or filters.outcome)
        and all(row.task == filters.task for row in listed.rows if filters.task),
        workers=len(snapshot.workers_of(filters.queue)),
        paused=bool(count.paused),
        waiting=count.ready,
    )


def _tab(filters: Filters, count: Count, state: str) -> Tab:
    most = REMEMBERED if state == "ended" else 10**9
    number = count_in(count, state)
    return Tab(state, min(number, most), number > most, filters.at(state=state, outcome="", id=""))


def _searches(wanted: Wanted) -> bool:
    return any(wanted.filters.get(name) for name in ("task", "worker", "text", "outcome"))


JOBS = Page("jobs", "/jobs", "Jobs", _view, _question, costly=_searches, menu="Jobs", key="j", section="Jobs")
