"""Polls the server for the terminal view: queues and workers always, other things while a screen shows them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.errors import ConveyorError
from conveyor.monitor import failures, history, job_list, job_record, workers
from conveyor.monitor.job_data import INDEXES
from conveyor.monitor.poller import STEPS, Poller, PollInterval, asker
from conveyor.monitor.snapshot import NOTHING, Snapshot
from conveyor.store.query import Query, known
from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.monitor.failures import GroupSample
    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobRecord
    from conveyor.store import Client

#: Jobs that are listed, and those that a filter searches.
MAX_ROWS, SEARCHED = 100, 1000
#: The lists of a queue's jobs, in the order in which the key `s` shows them.
STATES = ("waiting", "running", "delayed", "dead", "ended")


class View(NamedTuple):
    """What the screens show, in addition to queues and workers."""

    queue: str = ""
    """The queue whose jobs are listed; empty for none."""
    state: str = "waiting"
    text: str = ""
    """What the jobs must contain."""
    failures: bool = False
    job: tuple[str, str] = ("", "")
    """Queue and id of the open job."""


NO_VIEW = View()
#: The values of queries that found nothing, in the order of `_queries`.
_NOTHING_FOUND: tuple[Any, ...] = ([], [], [], None)


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of the last poll; while the server is unavailable, that of the last successful one and the error."""

    snapshot: Snapshot = NOTHING
    view: View = NO_VIEW
    jobs: Sequence[JobRow] = ()
    finishes: Sequence[Finish] = ()
    failures: Sequence[GroupSample] = ()
    record: JobRecord | None = None
    started: dict[str, float] | None = None
    """When the job of each worker started, on this machine's `clock.monotonic`."""
    polled_at: float = 0.0
    """Time of the poll, on `clock.monotonic`."""
    interval: float = STEPS[0]
    error: str = ""
    """Why the poll, or a query of it, failed."""
    hint: str = ""
    unavailable: bool = False
    """True if the whole poll failed, so that all else is from the one before."""

    @property
    def is_partial(self) -> bool:
        """True if the server refused a query, so what it asked for is missing."""
        return bool(self.error) and not self.unavailable

    def now(self) -> float:
        """Return the estimated time of the server."""
        return self.snapshot.at + clock.monotonic() - self.polled_at


class ViewPoller:
    """Polls from a thread until stopped, and passes each result to `notify` in that thread."""

    def __init__(self, client: Client, notify: Callable[[PollResult], object]) -> None:
        self.paused = False
        """True to poll only when the view changes."""
        self._notify = notify
        self._view = NO_VIEW
        self._result = PollResult()
        self._started: dict[str, tuple[str, float]] = {}
        self._stopped = False
        # One viewer that waits for a server adds no load.
        interval = PollInterval(max_retry_step=0)
        self._poller = Poller(asker(client), self._poll, lambda: not self._stopped, interval)

    def start(self) -> None:
        """Start polling."""
        self._poller.wake()

    def stop(self) -> None:
        """Stop polling; returns immediately."""
        self._stopped = True
        self._poller.wake()

    def show(self, view: View) -> None:
        """Poll for another view from now on."""
        if view != self._view:
            self._view = view
            self._poller.wake(now=True)

    def refresh(self) -> None:
        """Poll now."""
        self._poller.wake(now=True)

    def _poll(self) -> None:
        view = self._view
        if self.paused and view == self._result.view:
            return
        try:
            self._result = self._ask(view)
        except Exception as error:  # noqa: BLE001 - a log line would be lost behind the screen
            interval = self._poller.interval.seconds
            message, hint = _description(error)
            self._result = replace(
                self._result, interval=interval, error=message, hint=hint, unavailable=True
            )
        if not self._stopped:
            self._notify(self._result)

    def _ask(self, view: View) -> PollResult:
        values = self._poller.poll(lambda before: _queries(view, before))
        error = next((one for one in values if isinstance(one, Exception)), None)
        jobs, finishes, groups, record = (
            empty if isinstance(one, Exception) else one
            for one, empty in zip(values, _NOTHING_FOUND, strict=True)
        )
        snapshot = self._poller.snapshot
        return PollResult(
            snapshot,
            view,
            jobs,
            finishes,
            groups,
            record,
            self._start_times(snapshot),
            clock.monotonic(),
            self._poller.interval.seconds,
            *_description(error),
        )

    def _start_times(self, snapshot: Snapshot) -> dict[str, float]:
        """Return when each job started. The clocks of reports differ, so the earliest estimate is the best."""
        now, found = clock.monotonic(), {}
        for report in snapshot.consumers:
            for worker in workers.aged(report, snapshot.at).workers:
                if worker.job:
                    job, at = self._started.get(worker.name, ("", 0.0))
                    start = now - worker.busy_for
                    found[worker.name] = (worker.job, min(at, start) if job == worker.job else start)
        self._started = found
        return {name: at for name, (_, at) in found.items()}


def _description(error: Exception | None) -> tuple[str, str]:
    """Return message and hint of an error; both are empty without one."""
    if error is None:
        return "", ""
    if isinstance(error, ConveyorError):
        return str(error), error.hint
    return f"{type(error).__name__}: {error}", ""


def _queries(view: View, before: Snapshot) -> list[Query[Any]]:
    """Return the queries for a view: jobs, finished runs, failures and the record of a job."""
    jobs: Query[Any] = known([])
    finishes: Query[Any] = known([])
    if view.queue and view.state == "ended":
        wanted = history.HistoryFilter(text=view.text)
        page = history.finishes(view.queue, count=MAX_ROWS, wanted=wanted)
        finishes = page.map(lambda found: found.finishes)
    elif view.queue and view.state in INDEXES and view.text:
        limits = job_list.SearchLimits(SEARCHED, MAX_ROWS)
        filtered = job_list.JobFilter(text=view.text)
        jobs = job_list.search(view.queue, view.state, filtered, "", limits, registry.labels).map(_rows)
    elif view.queue and view.state in INDEXES:
        jobs = job_list.page(view.queue, view.state, count=MAX_ROWS, labels_of=registry.labels).map(_rows)
    dead = {queue: count.dead for queue, count in before.queues.items()}
    groups = failures.overview(failures.read_counts(dead)) if view.failures else None
    return [
        jobs,
        finishes,
        known([]) if groups is None else groups.map(lambda overview: overview.samples),
        job_record.record(*view.job, registry.labels) if view.job[1] else known(None),
    ]


def _rows(found: Any) -> Any:
    return found.rows
