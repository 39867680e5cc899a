"""The endpoint /metrics: what the server knows of all queues and workers, for Prometheus.

The numbers are of the whole system, not of this process: scrape one dashboard, or take `max by`.
"""

from __future__ import annotations

import contextlib
import platform
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response
from starlette.routing import Route

import conveyor
from conveyor.dashboard import metric_values
from conveyor.dashboard.access.security import allowed
from conveyor.dashboard.metric_values import MEDIA_TYPE, Metric, Value, exposition, histogram
from conveyor.dashboard.timings import BOUNDS, Timing
from conveyor.errors import StoreError, StoreRefused
from conveyor.monitor import audit, charts
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.charts import Totals
from conveyor.monitor.snapshot import NOTHING
from conveyor.store import records
from conveyor.store.query import together
from conveyor.wire.statistics import OTHER, Figures, subtract_figures, sum_figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from conveyor.dashboard.metric_values import Groups
    from conveyor.dashboard.poller import Poller
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count
    from conveyor.store.query import Query

#: Queues with a label of their own: those that took the most jobs in all time, so that the same ones stay.
MAX_LABELLED = 100
#: Queues whose totals are queried; all but the first are `_other`, with what still more queues did: all of it without
#: these.
MAX_QUERIED = 1000
#: Queues whose memory is measured.
MAX_MEASURED = 20


class Gathered(NamedTuple):
    """Replies of the server; empty if it is unavailable or refused the query."""

    snapshot: Snapshot = NOTHING
    groups: Groups = {}  # noqa: RUF012 - never changed
    heads: Mapping[str, float | None] = {}
    more: Mapping[str, Any] = {}
    """What the server may refuse: memory, acts, backend."""


class Gatherer:
    """Queries the numbers. What the server does not permit is queried once."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.backend = ""
        """Kind and version of the server, as far as known."""
        self._refused: set[str] = set()

    def gather(self) -> Gathered:
        """Query all of it. Raises StoreError."""
        snapshot = self.poller.fresh()
        taken = {name: (-count.accepted, name) for name, count in snapshot.queues.items()}
        every = sorted(snapshot.queues, key=taken.__getitem__)
        names, rest = every[:MAX_QUERIED], every[MAX_QUERIED:]
        labelled = sorted(names[:MAX_LABELLED])
        query = together([charts.totals(names), charts.totals_of_all(), records.oldest_waiting(labelled)])
        totals, of_all, heads = self.poller.ask(query)
        more = self._more(labelled[:MAX_MEASURED])
        self.backend = more.get("backend", self.backend)
        groups = {name: {name: totals[name]} for name in labelled}
        if names[MAX_LABELLED:]:
            groups[OTHER] = groups.get(OTHER, {}) | {name: totals[name] for name in names[MAX_LABELLED:]}
        if rest:
            groups[OTHER] |= _rest(of_all, totals.values(), {name: snapshot.queues[name] for name in rest})
        return Gathered(snapshot, groups, heads, more)

    def _more(self, names: Sequence[str]) -> dict[str, Any]:
        every: dict[str, Query[Any]] = {
            "memory": snapshots.queue_memory(names),
            "backend": snapshots.server_version(),
            "acts": audit.counts(),
        }
        wanted = {name: query for name, query in every.items() if name not in self._refused}
        try:
            replies = self.poller.ask(together(list(wanted.values())))
        except StoreRefused:
            return {name: one for name, query in wanted.items() for one in self._permitted(name, query)}
        return dict(zip(wanted, replies, strict=True))

    def _permitted(self, name: str, query: Query[Any]) -> Iterator[Any]:
        """Yield one reply, or none."""
        try:
            yield self.poller.ask(query)
        except StoreRefused as error:
            if "permission" in str(error).lower():
                self._refused.add(name)


def route(poller: Poller) -> Route:
    """Return the route `/metrics`; it needs the right to look."""
    gatherer = Gatherer(poller)

    def metrics(request: Request) -> Response:
        """Respond with all metrics or, if the server is unavailable, with that alone."""
        allowed(request.scope, "look")
        return Response(exposition(list(_every(gatherer))), media_type=MEDIA_TYPE)

    return Route("/metrics", metrics)


def _rest(of_all: Figures, known: Iterable[Totals], counts: Mapping[str, Count]) -> dict[str, Totals]:
    """Return what further queues did, together under the first one's name, and how many jobs are in each."""
    rest = subtract_figures(of_all, sum_figures(one.queue for one in known))
    figures = [rest, *[Figures()] * (len(counts) - 1)]
    return {
        name: Totals(one, {OTHER: one}, count)
        for one, (name, count) in zip(figures, counts.items(), strict=True)
    }


def _every(gatherer: Gatherer) -> Iterator[Metric]:
    found = None
    with contextlib.suppress(StoreError):
        found = gatherer.gather()
    yield Metric("backend_up", "gauge", "Whether the server answers.", [Value((), found is not None)])
    yield from _of_process(gatherer)
    if found is None:
        return
    snapshot, groups = found.snapshot, found.groups
    yield from metric_values.of_queues(groups)
    since = [
        Value((("queue", queue),), round(max(0.0, snapshot.at - at), 3) if at else 0)
        for queue, at in found.heads.items()
    ]
    text = "Seconds since the job at the head was put, by its producer's clock; 0 without waiting jobs."
    yield Metric("queue_oldest_waiting_seconds", "gauge", text, since)
    memory = [Value((("queue", queue),), size) for queue, size in found.more.get("memory", {}).items()]
    text = "Approximate memory of a queue's unfinished jobs, of 20 queues."
    yield Metric("queue_memory_bytes", "gauge", text, memory)
    yield from metric_values.of_workers(snapshot, groups)
    yield from metric_values.of_runs(groups)
    acts = [
        Value((("command", command), ("outcome", outcome)), count)
        for (command, outcome), count in found.more.get("acts", {}).items()
    ]
    yield Metric("control_commands_total", "counter", "Actions of people, as the audit trail has them.", acts)


def _of_process(gatherer: Gatherer) -> Iterator[Metric]:
    poller = gatherer.poller
    streams = [Value((), len(poller.subscribers))]
    yield Metric("dashboard_streams", "gauge", "Browsers that are updated.", streams)
    polls = list(histogram((), BOUNDS, *poller.polls.found().get("", Timing())))
    yield Metric(
        "dashboard_sample_seconds", "histogram", "Duration of polls since this process began.", polls
    )
    trips = poller.timings.found()
    for name in ("sample", "page", "act"):
        trips.setdefault(name, Timing())
    waits = [value for name, one in trips.items() for value in histogram((("command", name),), BOUNDS, *one)]
    text = "Wait for the server since this process began."
    yield Metric("backend_command_seconds", "histogram", text, waits)
    facts = {
        "version": conveyor.__version__,
        "python": platform.python_version(),
        "backend": gatherer.backend,
    }
    text = "Versions of the dashboard and of its server."
    yield Metric("build_info", "gauge", text, [Value(tuple(facts.items()), 1)])
