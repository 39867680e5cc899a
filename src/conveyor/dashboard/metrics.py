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
from conveyor.dashboard.exposition import MEDIA_TYPE, Labels, Metric, Value, exposition, histogram
from conveyor.dashboard.guard import allowed
from conveyor.dashboard.timings import BOUNDS as TIMES
from conveyor.dashboard.timings import Timing
from conveyor.errors import StoreError, StoreRefused
from conveyor.inspector import audit, queues, server, statistics
from conveyor.inspector.snapshot import NOTHING
from conveyor.statistics import BOUNDS, OTHER, sum_figures
from conveyor.store.heads import oldest
from conveyor.store.query import together

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request

    from conveyor.dashboard.sampler import Sampler
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.inspector.statistics import Totals
    from conveyor.statistics import Figures, Histogram
    from conveyor.store import Client
    from conveyor.store.query import Query

#: Queues that are told of, the first by name, so that the same ones stay.
MOST_QUEUES = 200
#: Tasks of all queues together; each queue has its share, and its further tasks, by name, are one: `_other`.
MOST_TASKS = 1000
#: Queues whose memory is measured.
MOST_MEASURED = 20
WITHIN, PATIENCE = 3.0, 0.5
_OUTCOMES = ("succeeded", "failed", "cancelled", "timeout", "lost", "expired")
_WORKER_STATES = ("starting", "idle", "busy", "paused", "leaving")


class Gathered(NamedTuple):
    """What the server was asked for; empty where it is away or refused it."""

    snapshot: Snapshot = NOTHING
    totals: Mapping[str, Totals] = {}
    heads: Mapping[str, float | None] = {}
    more: Mapping[str, Any] = {}
    """What the server may refuse: memory, acts, backend."""


class Gatherer:
    """Asks for the numbers. What the server does not permit is asked for once."""

    def __init__(self, client: Client, sampler: Sampler) -> None:
        self.client = client
        self.sampler = sampler
        self.backend = ""
        """Kind and version of the server, as far as it was heard of."""
        self._refused: set[str] = set()

    def gather(self) -> Gathered:
        """Ask for all of it; raises StoreError."""
        sampler = self.sampler
        snapshot = sampler.snapshot if sampler.is_fresh() else sampler.sample()
        names = sorted(snapshot.queues)[:MOST_QUEUES]
        totals, heads = self._ask(together([statistics.totals(names), oldest(names)]))
        more = self._more(names[:MOST_MEASURED])
        self.backend = more.get("backend", self.backend)
        return Gathered(snapshot, totals, heads, more)

    def _more(self, names: Sequence[str]) -> dict[str, Any]:
        every: dict[str, Query[Any]] = {
            "memory": queues.memory(names),
            "acts": audit.counts(),
            "backend": server.kind(),
        }
        wanted = {name: query for name, query in every.items() if name not in self._refused}
        try:
            return dict(zip(wanted, self._ask(together(list(wanted.values()))), strict=True))
        except StoreRefused:
            return {name: told for name, query in wanted.items() for told in self._permitted(name, query)}

    def _permitted(self, name: str, query: Query[Any]) -> Iterator[Any]:
        """Give one answer, or none."""
        try:
            yield self._ask(query)
        except StoreRefused as error:
            if "permission" in str(error).lower():
                self._refused.add(name)

    def _ask(self, query: Query[Any]) -> Any:
        if not query.commands:
            return query.read([])
        return query.read(self.client.run_all(query.commands, patience=PATIENCE, within=WITHIN))


def route(client: Client, sampler: Sampler) -> Route:
    """Give the route `/metrics`; it needs the right to look."""
    gatherer = Gatherer(client, sampler)

    def metrics(request: Request) -> Response:
        """Answer with all metrics; where the server is away, with that alone."""
        allowed(request.scope, "look")
        return Response(exposition(list(_every(gatherer))), media_type=MEDIA_TYPE)

    return Route("/metrics", metrics)


def _every(gatherer: Gatherer) -> Iterator[Metric]:
    found = None
    with contextlib.suppress(StoreError):
        found = gatherer.gather()
    yield Metric("backend_up", "gauge", "Whether the server answers.", [Value((), found is not None)])
    yield from _of_page(gatherer)
    if found is None:
        return
    snapshot, totals = found.snapshot, found.totals
    yield from _of_queues(totals)
    since = [
        Value((("queue", queue),), round(max(0.0, snapshot.at - at), 3) if at else 0)
        for queue, at in found.heads.items()
    ]
    words = "Seconds since the job at the head was put, by its producer's clock; 0 where none waits."
    yield Metric("queue_oldest_waiting_seconds", "gauge", words, since)
    memory = [Value((("queue", queue),), size) for queue, size in found.more.get("memory", {}).items()]
    words = "Memory of the jobs of a queue that are not over, about; of the first 20 queues."
    yield Metric("queue_memory_bytes", "gauge", words, memory)
    yield from _of_workers(snapshot, totals)
    yield from _of_runs(totals)
    acts = [
        Value((("command", command), ("outcome", outcome)), count)
        for (command, outcome), count in found.more.get("acts", {}).items()
    ]
    yield Metric("control_commands_total", "counter", "What people did, as the audit trail has it.", acts)


def _of_page(gatherer: Gatherer) -> Iterator[Metric]:
    sampler = gatherer.sampler
    streams = [Value((), sampler.watcher_count)]
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


def _of_queues(totals: Mapping[str, Totals]) -> Iterator[Metric]:
    jobs = [
        Value((("queue", queue), ("state", state)), number)
        for queue, one in totals.items()
        for state, number in (
            ("waiting", 0 if one.jobs.paused else one.jobs.ready),
            ("paused", one.jobs.ready if one.jobs.paused else 0),
            ("scheduled", one.jobs.delayed),
            ("running", one.jobs.leased),
            ("dead", one.jobs.dead),
        )
    ]
    yield Metric(
        "queue_jobs",
        "gauge",
        "Jobs; paused ones wait on a paused queue, scheduled ones are not due yet.",
        jobs,
    )
    counts = {queue: one.jobs for queue, one in totals.items()}
    for name, kind, words, field in (
        ("queue_paused", "gauge", "Whether the queue is paused.", "paused"),
        ("queue_blocked_producers", "gauge", "Producers that wait for room.", "blocked"),
        ("queue_size_limit", "gauge", "Jobs that may wait; 0: any number.", "maxsize"),
        ("jobs_enqueued_total", "counter", "Jobs that were accepted.", "accepted"),
    ):
        values = [Value((("queue", queue),), getattr(count, field)) for queue, count in counts.items()]
        yield Metric(name, kind, words, values)
    dropped = [
        Value((("queue", queue), ("reason", "discarded")), count.discarded) for queue, count in counts.items()
    ]
    yield Metric("jobs_dropped_total", "counter", "Dead jobs that were dropped or discarded.", dropped)


def _of_workers(snapshot: Snapshot, totals: Mapping[str, Totals]) -> Iterator[Metric]:
    states: dict[Labels, int] = {}
    for queue in totals:
        for worker in snapshot.workers_of(queue):
            state = "paused" if getattr(worker, "paused", False) else worker.state
            labels = (("queue", queue), ("state", state if state in _WORKER_STATES else "other"))
            states[labels] = states.get(labels, 0) + 1
    died = [Value((("queue", queue),), one.queue.died) for queue, one in totals.items()]
    words = "Workers that died while they ran a job of the queue, and were not told to."
    yield Metric("workers_lost_total", "counter", words, died)
    words = "Workers that take from a queue; one that takes from several is counted in each."
    yield Metric("workers", "gauge", words, [Value(*item) for item in states.items()])
    busy = sum(worker.state == "busy" for worker in snapshot.workers())
    slots = [
        Value((("state", "busy"),), busy),
        Value((("state", "idle"),), len(snapshot.workers()) - busy),
    ]
    yield Metric("worker_slots", "gauge", "Workers, each counted once.", slots)
    ages = [snapshot.at - report.at for report in snapshot.consumers if report.at]
    if ages:
        age = [Value((), round(max(0.0, *ages), 3))]
        yield Metric("worker_heartbeat_age_seconds", "gauge", "Seconds since the oldest report.", age)


def _of_runs(totals: Mapping[str, Totals]) -> Iterator[Metric]:
    share = MOST_TASKS // max(1, len(totals))
    figures = {
        (("queue", queue), ("task", task)): found
        for queue, one in totals.items()
        for task, found in _bounded(one.tasks, share).items()
    }
    started = [Value(labels, one.started) for labels, one in figures.items()]
    yield Metric("jobs_started_total", "counter", "Runs that began, counted when they end.", started)
    finished = [
        Value((*labels, ("outcome", outcome)), getattr(one, outcome))
        for labels, one in figures.items()
        for outcome in _OUTCOMES
    ]
    yield Metric("jobs_finished_total", "counter", "Jobs that ended.", finished)
    retried = [Value(labels, one.retried) for labels, one in figures.items()]
    yield Metric("job_retries_total", "counter", "Runs that are tried again.", retried)
    waits = [v for queue, one in totals.items() for v in _spans((("queue", queue),), one.queue.waits)]
    yield Metric("job_wait_seconds", "histogram", "From the put to the first run.", waits)
    runs = [value for labels, one in figures.items() for value in _spans(labels, one.runs)]
    yield Metric("job_run_seconds", "histogram", "How long runs took.", runs)


def _bounded(tasks: Mapping[str, Figures], most: int) -> dict[str, Figures]:
    """Give the first tasks by name, the others as one."""
    names = sorted(name for name in tasks if name != OTHER)
    found = {name: tasks[name] for name in names[:most]}
    rest = [tasks[name] for name in (*names[most:], OTHER) if name in tasks]
    return {**found, OTHER: sum_figures(rest)} if rest else found


def _spans(labels: Labels, found: Histogram) -> Iterator[Value]:
    return histogram(labels, BOUNDS, found.counts, found.seconds)
