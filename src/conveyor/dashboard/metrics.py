"""Numbers for Prometheus, in its text format: what the server knows of all queues and workers.

They are the whole system's, not this process's: scrape one page alone, or take `max by`.
"""

from __future__ import annotations

import contextlib
import platform
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response
from starlette.routing import Route

import conveyor
from conveyor.dashboard.access.security import allowed
from conveyor.dashboard.exposed import of_queues, of_runs, of_workers
from conveyor.dashboard.exposition import MEDIA_TYPE, Metric, Value, exposition, histogram
from conveyor.dashboard.timings import BOUNDS as TIMES
from conveyor.dashboard.timings import Timing
from conveyor.errors import StoreError, StoreRefused
from conveyor.monitor import audit, charts, queues, server
from conveyor.monitor.charts import Totals
from conveyor.monitor.snapshot import NOTHING
from conveyor.store.heads import oldest
from conveyor.store.query import together
from conveyor.wire.statistics import OTHER, Figures, subtract_figures, sum_figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from conveyor.dashboard.exposed import Groups
    from conveyor.dashboard.sampler import Sampler
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count
    from conveyor.store.query import Query

#: Queues that are told of one by one: those that took the most jobs in all time, so that the same ones stay.
MOST_LABELLED = 100
#: Queues whose totals are asked for; all but the first are told of as one, `_other`. What still more queues did is
#: what all did together without these.
MOST_ASKED = 1000
#: Queues whose memory is measured.
MOST_MEASURED = 20


class Gathered(NamedTuple):
    """What the server was asked for; empty where it is away or refused it."""

    snapshot: Snapshot = NOTHING
    groups: Groups = {}  # noqa: RUF012 - nobody changes it
    heads: Mapping[str, float | None] = {}
    more: Mapping[str, Any] = {}
    """What the server may refuse: memory, acts, backend."""


class Gatherer:
    """Asks for the numbers. What the server does not permit is asked for once."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.backend = ""
        """Kind and version of the server, as far as it was heard of."""
        self._refused: set[str] = set()

    def gather(self) -> Gathered:
        """Query all of it; raises StoreError."""
        snapshot = self.sampler.fresh()
        taken = {name: (-count.accepted, name) for name, count in snapshot.queues.items()}
        every = sorted(snapshot.queues, key=taken.__getitem__)
        names, rest = every[:MOST_ASKED], every[MOST_ASKED:]
        told = sorted(names[:MOST_LABELLED])
        asked = together([charts.totals(names), charts.totals_of_all(), oldest(told)])
        totals, of_all, heads = self.sampler.ask(asked)
        more = self._more(told[:MOST_MEASURED])
        self.backend = more.get("backend", self.backend)
        groups = {name: {name: totals[name]} for name in told}
        if names[MOST_LABELLED:]:
            groups[OTHER] = groups.get(OTHER, {}) | {name: totals[name] for name in names[MOST_LABELLED:]}
        if rest:
            groups[OTHER] |= _beyond(of_all, totals.values(), {name: snapshot.queues[name] for name in rest})
        return Gathered(snapshot, groups, heads, more)

    def _more(self, names: Sequence[str]) -> dict[str, Any]:
        every: dict[str, Query[Any]] = {
            "memory": queues.memory(names),
            "backend": server.kind(),
            "acts": audit.counts(),
        }
        wanted = {name: query for name, query in every.items() if name not in self._refused}
        try:
            told = self.sampler.ask(together(list(wanted.values())))
        except StoreRefused:
            return {name: one for name, query in wanted.items() for one in self._permitted(name, query)}
        return dict(zip(wanted, told, strict=True))

    def _permitted(self, name: str, query: Query[Any]) -> Iterator[Any]:
        """Give one answer, or none."""
        try:
            yield self.sampler.ask(query)
        except StoreRefused as error:
            if "permission" in str(error).lower():
                self._refused.add(name)


def route(sampler: Sampler) -> Route:
    """Give the route `/metrics`; it needs the right to look."""
    gatherer = Gatherer(sampler)

    def metrics(request: Request) -> Response:
        """Respond with all metrics or, if the server is unavailable, with that alone."""
        allowed(request.scope, "look")
        return Response(exposition(list(_every(gatherer))), media_type=MEDIA_TYPE)

    return Route("/metrics", metrics)


def _beyond(of_all: Figures, known: Iterable[Totals], counts: Mapping[str, Count]) -> dict[str, Totals]:
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
    yield from _of_page(gatherer)
    if found is None:
        return
    snapshot, groups = found.snapshot, found.groups
    yield from of_queues(groups)
    since = [
        Value((("queue", queue),), round(max(0.0, snapshot.at - at), 3) if at else 0)
        for queue, at in found.heads.items()
    ]
    words = "Seconds since the job at the head was put, by its producer's clock; 0 where none waits."
    yield Metric("queue_oldest_waiting_seconds", "gauge", words, since)
    memory = [Value((("queue", queue),), size) for queue, size in found.more.get("memory", {}).items()]
    words = "Memory of the jobs of a queue that are not over, about; of 20 queues."
    yield Metric("queue_memory_bytes", "gauge", words, memory)
    yield from of_workers(snapshot, groups)
    yield from of_runs(groups)
    acts = [
        Value((("command", command), ("outcome", outcome)), count)
        for (command, outcome), count in found.more.get("acts", {}).items()
    ]
    yield Metric("control_commands_total", "counter", "What people did, as the audit trail has it.", acts)


def _of_page(gatherer: Gatherer) -> Iterator[Metric]:
    sampler = gatherer.sampler
    streams = [Value((), len(sampler.watchers))]
    yield Metric("dashboard_streams", "gauge", "Pages that are open and updated.", streams)
    looks = sampler.looks.found().get("", Timing())
    words = "How long looks for open pages took, since this process began."
    yield Metric("dashboard_sample_seconds", "histogram", words, list(histogram((), TIMES, *looks)))
    trips = sampler.timings.found()
    for name in ("sample", "page", "act"):
        trips.setdefault(name, Timing())
    waited = [value for name, one in trips.items() for value in histogram((("command", name),), TIMES, *one)]
    words = "How long this process waited for the server, since it began."
    yield Metric("backend_command_seconds", "histogram", words, waited)
    python, backend = platform.python_version(), gatherer.backend
    facts = (("version", conveyor.__version__), ("python", python), ("backend", backend))
    yield Metric("build_info", "gauge", "What runs here, and the server it uses.", [Value(facts, 1)])
