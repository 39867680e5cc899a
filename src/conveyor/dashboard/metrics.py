"""Numbers for Prometheus, in its text format: what the server knows of all queues and workers.

They are the whole system's, not this process's: scrape one page alone, or take `max by`.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response
from starlette.routing import Route

import conveyor
from conveyor.dashboard.guard import allowed
from conveyor.errors import StoreError
from conveyor.inspector import statistics
from conveyor.inspector.snapshot import NOTHING
from conveyor.statistics import BOUNDS, OTHER, sum_figures
from conveyor.store.heads import oldest
from conveyor.store.query import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from conveyor.dashboard.sampler import Sampler
    from conveyor.inspector.snapshot import Snapshot
    from conveyor.inspector.statistics import Totals
    from conveyor.statistics import Figures, Histogram
    from conveyor.store import Client

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Queues that are told of, the first by name, so that the same ones stay.
MOST_QUEUES = 200
#: Tasks of all queues together; each queue has its share, and its further tasks, by name, are one: `_other`.
MOST_TASKS = 1000
WITHIN, PATIENCE = 3.0, 0.5
PREFIX = "conveyor_"
_OUTCOMES = ("succeeded", "failed", "cancelled", "timeout", "lost", "expired")
_WORKER_STATES = ("starting", "idle", "busy", "paused", "leaving")

Labels = tuple[tuple[str, str], ...]


class Value(NamedTuple):
    """One line."""

    labels: Labels
    number: float
    suffix: str = ""


class Metric(NamedTuple):
    """One metric with all its lines."""

    name: str
    kind: str
    words: str
    values: Sequence[Value]


def route(client: Client, sampler: Sampler) -> Route:
    """Give the route `/metrics`; it needs the right to look."""

    def metrics(request: Request) -> Response:
        """Answer with all metrics; where the server is away, with that alone."""
        allowed(request.scope, "look")
        return Response(exposition(list(_of_server(client, sampler))), media_type=MEDIA_TYPE)

    return Route("/metrics", metrics)


def exposition(metrics: Iterable[Metric]) -> str:
    """Give metrics as text; those without a line are left out."""
    return "".join(line for metric in metrics if metric.values for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    name = PREFIX + metric.name
    yield f"# HELP {name} {_escaped(metric.words)}\n# TYPE {name} {metric.kind}\n"
    for one in metric.values:
        labels = ",".join(f'{label}="{_quoted(value)}"' for label, value in one.labels)
        number = int(one.number) if float(one.number).is_integer() else repr(float(one.number))
        yield f"{name}{one.suffix}{'{' + labels + '}' if labels else ''} {number}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"").encode(errors="replace").decode()


def _of_server(client: Client, sampler: Sampler) -> Iterator[Metric]:
    snapshot, totals, heads = NOTHING, {}, {}
    try:
        snapshot = sampler.snapshot if sampler.is_fresh() else sampler.sample()
        names = sorted(snapshot.queues)[:MOST_QUEUES]
        question = together([statistics.totals(names), oldest(names)])
        if question.commands:
            totals, heads = question.read(client.run_all(question.commands, patience=PATIENCE, within=WITHIN))
        is_up = True
    except StoreError:
        is_up = False
    yield Metric("backend_up", "gauge", "Whether the server answers.", [Value((), is_up)])
    yield from _of_page(sampler)
    if is_up:
        yield from _of_queues(totals)
        since = [
            Value((("queue", queue),), round(max(0.0, snapshot.at - at), 3) if at else 0)
            for queue, at in heads.items()
        ]
        words = "Seconds since the job at the head was put, by its producer's clock; 0 where none waits."
        yield Metric("queue_oldest_waiting_seconds", "gauge", words, since)
        yield from _of_workers(snapshot, totals)
        yield from _of_runs(totals)


def _of_page(sampler: Sampler) -> Iterator[Metric]:
    streams = [Value((), sampler.watcher_count)]
    yield Metric("dashboard_streams", "gauge", "Pages that are open and updated.", streams)
    took = [Value((), sampler.took)]
    yield Metric("dashboard_sample_seconds", "gauge", "Seconds that the last look for open pages took.", took)
    facts = (("version", conveyor.__version__), ("python", platform.python_version()))
    yield Metric("build_info", "gauge", "What runs here.", [Value(facts, 1)])


def _of_queues(totals: Mapping[str, Totals]) -> Iterator[Metric]:
    jobs = [
        Value((("queue", queue), ("state", state)), number)
        for queue, one in totals.items()
        for state, number in (
            ("waiting", one.jobs.ready),
            ("scheduled", one.jobs.delayed),
            ("running", one.jobs.leased),
            ("dead", one.jobs.dead),
        )
    ]
    yield Metric("queue_jobs", "gauge", "Jobs; scheduled ones are not due yet, or wait for a retry.", jobs)
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
    waits = [v for queue, one in totals.items() for v in _histogram((("queue", queue),), one.queue.waits)]
    yield Metric("job_wait_seconds", "histogram", "From the put to the first run.", waits)
    runs = [value for labels, one in figures.items() for value in _histogram(labels, one.runs)]
    yield Metric("job_run_seconds", "histogram", "How long runs took.", runs)


def _bounded(tasks: Mapping[str, Figures], most: int) -> dict[str, Figures]:
    """Give the first tasks by name, the others as one."""
    names = sorted(name for name in tasks if name != OTHER)
    found = {name: tasks[name] for name in names[:most]}
    rest = [tasks[name] for name in (*names[most:], OTHER) if name in tasks]
    return {**found, OTHER: sum_figures(rest)} if rest else found


def _histogram(labels: Labels, found: Histogram) -> Iterator[Value]:
    total = 0
    for bound, count in zip((*BOUNDS, float("inf")), found.counts, strict=True):
        total += count
        text = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield Value((*labels, ("le", text)), total, "_bucket")
    yield Value(labels, found.seconds, "_sum")
    yield Value(labels, total, "_count")
