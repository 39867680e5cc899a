"""Polls the server for the terminal view: queues and workers always, other things while a screen shows them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock
from conveyor.monitor import failures, job_list, job_record, merged_list, workers
from conveyor.monitor.history import HistoryFilter
from conveyor.monitor.merged_list import MergeLimits
from conveyor.monitor.poller import STEPS, Poller, PollInterval, asker
from conveyor.monitor.snapshot import NOTHING, Snapshot
from conveyor.tasks import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.monitor.failures import FailureGroup
    from conveyor.monitor.history import Finish
    from conveyor.monitor.job_list import JobRow
    from conveyor.monitor.job_record import JobRecord
    from conveyor.store import Client
    from conveyor.store.query import Query

#: Jobs that are listed, and those that a filter searches.
MAX_ROWS, SEARCHED = 100, 1000
LIMITS = MergeLimits(MAX_ROWS, SEARCHED)
#: The lists of a queue's jobs, in the order in which the key `s` shows them.
STATES = ("waiting", "running", "deferred", "delayed", "dead", "ended")


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


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of the last poll; while the server is unavailable, that of the last successful one and the error."""

    snapshot: Snapshot = NOTHING
    view: View = NO_VIEW
    jobs: Sequence[JobRow] = ()
    finishes: Sequence[Finish] = ()
    failures: Sequence[FailureGroup] = ()
    record: JobRecord | None = None
    started: Mapping[str, float] = field(default_factory=dict)
    """When the job of each worker started, on this machine's `clock.monotonic`."""
    polled_at: float = 0.0
    """Time of the poll, on `clock.monotonic`."""
    interval: float = STEPS[0]
    error: Exception | None = None
    """Why the poll, or a query of it, failed."""
    unavailable: bool = False
    """True if the whole poll failed, so that all else is from the one before."""

    @property
    def is_partial(self) -> bool:
        """True if the server refused a query, so what it asked for is missing."""
        return self.error is not None and not self.unavailable

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
        """Poll now, and from then on until stopped."""
        self._poller.wake(now=True)

    def _poll(self) -> None:
        view = self._view
        if self.paused and view == self._result.view:
            return
        try:
            self._result = self._ask(view)
        except Exception as error:  # noqa: BLE001 - a log line would be lost behind the screen
            interval = self._poller.interval.seconds
            self._result = replace(self._result, interval=interval, error=error, unavailable=True)
        if not self._stopped:
            self._notify(self._result)

    def _ask(self, view: View) -> PollResult:
        asked: dict[str, Query[Any]] = {}

        def queries(before: Snapshot) -> list[Query[Any]]:
            asked.update(_queries(view, before))
            return list(asked.values())

        values = dict(zip(asked, self._poller.poll(queries), strict=True))
        snapshot = self._poller.snapshot
        return PollResult(
            snapshot,
            view,
            started=self._start_times(snapshot),
            polled_at=clock.monotonic(),
            interval=self._poller.interval.seconds,
            error=next((value for value in values.values() if isinstance(value, Exception)), None),
            **{name: value for name, value in values.items() if not isinstance(value, Exception)},
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


def _queries(view: View, before: Snapshot) -> dict[str, Query[Any]]:
    """Return the queries for a view, by the field of the poll result that has their value."""
    found: dict[str, Query[Any]] = {}
    if view.queue and view.state == "ended":
        wanted = HistoryFilter(text=view.text)
        runs = merged_list.finishes([view.queue], wanted=wanted, limits=LIMITS)
        found["finishes"] = runs.map(lambda page: page.rows)
    elif view.queue:
        text = job_list.JobFilter(text=view.text)
        jobs = merged_list.jobs([view.queue], view.state, "", text, LIMITS, registry.labels)
        found["jobs"] = jobs.map(lambda page: page.rows)
    if view.failures:
        dead = failures.read_counts({queue: count.dead for queue, count in before.queues.items()})
        found["failures"] = failures.overview(dead).map(lambda overview: overview.groups)
    if view.job[1]:
        found["record"] = job_record.record(*view.job, registry.labels)
    return found
