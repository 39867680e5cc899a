"""The endpoint /metrics: what the server knows of all queues and workers, for Prometheus.

The numbers are of the whole system, not of this process: scrape one dashboard, or take `max by`. Labels are bounded,
and with them the size of the whole: Prometheus keeps each line as a series of its own.
"""

from __future__ import annotations

import contextlib
import platform
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from starlette.responses import Response
from starlette.routing import Route

import conveyor
from conveyor.dashboard import timings
from conveyor.dashboard.access.security import allowed
from conveyor.dashboard.timings import Timing
from conveyor.errors import StoreError, StoreRefused
from conveyor.monitor import audit, charts
from conveyor.monitor import snapshot as snapshots
from conveyor.monitor.charts import Totals
from conveyor.monitor.poller import ask_isolated
from conveyor.monitor.schedules import all_schedules
from conveyor.store import records
from conveyor.store.query import together
from conveyor.wire.statistics import BOUNDS, OTHER, Figures, subtract_figures, sum_figures, sum_histograms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from conveyor.dashboard.poller import PagePoller
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store.commands import Count
    from conveyor.store.query import Query
    from conveyor.wire.statistics import Histogram


MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "conveyor_"

#: Totals of the queues under each label: of one queue of that name, or of several under `_other`.
Groups: TypeAlias = "Mapping[str, Mapping[str, Totals]]"
Labels = tuple[tuple[str, str], ...]

#: Tasks of a queue that have a label of their own, the first by name, so that the same ones stay; others are `_other`.
MAX_TASKS = 20
#: Tasks of all queues together: each of many queues has only its share.
MAX_TASKS_OF_ALL = 300
#: Upper bounds of the histograms' buckets, seconds; fewer than are counted, since most lines are those of histograms.
STEPS = tuple(bound for bound in BOUNDS if bound not in {120.0, 600.0, 3600.0, 14400.0, 43200.0})
OUTCOMES = ("succeeded", "failed", "cancelled", "timeout", "lost", "expired")
WORKER_STATES = ("starting", "idle", "busy", "paused", "leaving", "silent")


class Value(NamedTuple):
    """One line."""

    labels: Labels
    number: float
    suffix: str = ""


class Metric(NamedTuple):
    """One metric with all its lines."""

    name: str
    kind: str
    help: str
    values: Sequence[Value]


def exposition(metrics: Iterable[Metric]) -> str:
    """Return metrics as text, without those that have no line."""
    return "".join(line for metric in metrics if metric.values for line in _lines(metric))


def histogram(
    labels: Labels, bounds: Sequence[float], counts: Sequence[int], seconds: float
) -> Iterator[Value]:
    """Yield the lines of a histogram; `counts` has one for each bound, and one for what exceeds them."""
    total = 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        total += count
        text = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield Value((*labels, ("le", text)), total, "_bucket")
    yield Value(labels, seconds, "_sum")
    yield Value(labels, total, "_count")


def _lines(metric: Metric) -> Iterator[str]:
    name = PREFIX + metric.name
    yield f"# HELP {name} {_escaped(metric.help)}\n# TYPE {name} {metric.kind}\n"
    for one in metric.values:
        labels = ",".join(f'{label}="{_quoted(value)}"' for label, value in one.labels)
        number = int(one.number) if float(one.number).is_integer() else repr(float(one.number))
        yield f"{name}{one.suffix}{'{' + labels + '}' if labels else ''} {number}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"").encode(errors="replace").decode()


def of_queues(groups: Groups) -> Iterator[Metric]:
    """Yield how many jobs are where. Settings of a queue are left out for several."""
    alone = {name: group for name, group in groups.items() if group.keys() == {name}}
    jobs = [
        Value((("queue", name), ("state", state)), sum(_in_state(one, state) for one in group.values()))
        for name, group in groups.items()
        for state in ("waiting", "paused", "deferred", "scheduled", "running", "dead")
    ]
    text = (
        "Jobs; paused ones wait on a paused queue, deferred ones for others, scheduled ones are not due yet."
    )
    yield Metric("queue_jobs", "gauge", text, jobs)
    yield _sum("queue_paused", "1 if the queue is paused, 0 otherwise.", alone, lambda one: one.jobs.paused)
    text = "1 while no job of the queue starts since a task raised Throttle, 0 otherwise."
    yield _sum("queue_throttled", text, alone, lambda one: int(one.jobs.rest > 0))
    yield _sum("queue_blocked_producers", "Blocked producers.", groups, lambda one: one.jobs.blocked)
    text = "Limit of waiting, deferred and delayed jobs; 0 without a limit."
    yield _sum("queue_size_limit", text, alone, lambda one: one.jobs.maxsize)
    yield _sum("jobs_enqueued_total", "Jobs that were accepted.", groups, lambda one: one.jobs.accepted)
    dropped = [
        Value((("queue", name), ("reason", "discarded")), sum(one.jobs.discarded for one in group.values()))
        for name, group in groups.items()
    ]
    yield Metric("jobs_dropped_total", "counter", "Dead jobs that were dropped or discarded.", dropped)


def _in_state(one: Totals, state: str) -> int:
    jobs = one.jobs
    if state in {"waiting", "paused"}:
        return jobs.ready if bool(jobs.paused) == (state == "paused") else 0
    index = {"scheduled": "delayed", "running": "leased"}.get(state, state)
    number: int = getattr(jobs, index)
    return number


def _sum(name: str, text: str, groups: Groups, number: Callable[[Totals], int]) -> Metric:
    kind = "counter" if name.endswith("_total") else "gauge"
    values = [Value((("queue", queue),), sum(map(number, group.values()))) for queue, group in groups.items()]
    return Metric(name, kind, text, values)


def of_workers(snapshot: Snapshot, groups: Groups) -> Iterator[Metric]:
    """Yield the workers by state; zeros without workers, so that an alert has a series."""
    text = "Workers that crashed while they ran a job of the queue."
    yield _sum("workers_lost_total", text, groups, lambda one: one.queue.died)
    text = "Workers that take from a queue; one that takes from several is counted in each."
    yield Metric("workers", "gauge", text, list(_workers(snapshot, groups or {OTHER: {}})))
    counts = snapshot.worker_counts
    slots = [Value((("state", "busy"),), counts.busy), Value((("state", "idle"),), counts.all - counts.busy)]
    text = "Workers, each counted once; a leaving one is busy until its job has finished."
    yield Metric("worker_slots", "gauge", text, slots)
    ages = [snapshot.at - report.at for report in snapshot.consumers if report.at]
    age = [Value((), round(max(0.0, *ages), 3) if ages else 0)]
    text = "Seconds since the oldest report; 0 without consumers."
    yield Metric("worker_heartbeat_age_seconds", "gauge", text, age)


def _workers(snapshot: Snapshot, groups: Groups) -> Iterator[Value]:
    for queue, group in groups.items():
        states = dict.fromkeys(WORKER_STATES, 0)
        for report in snapshot.consumers:
            for worker in report.workers if group.keys() & report.queues else ():
                state = "paused" if worker.paused else worker.state
                state = state if state in WORKER_STATES else "other"
                states[state] = states.get(state, 0) + 1
        for state, count in states.items():
            yield Value((("queue", queue), ("state", state)), count)


def of_runs(groups: Groups) -> Iterator[Metric]:
    """Yield what was run, by task. Empty histograms are left out: they would be most of the lines."""
    share = min(MAX_TASKS, MAX_TASKS_OF_ALL // max(1, len(groups)))
    figures = {
        (("queue", queue), ("task", task)): found
        for queue, group in groups.items()
        for task, found in _bounded(queue, group, share).items()
    }
    started = [Value(labels, one.started) for labels, one in figures.items()]
    yield Metric("jobs_started_total", "counter", "Runs that began, counted when they finish.", started)
    finished = [
        Value((*labels, ("outcome", outcome)), getattr(one, outcome))
        for labels, one in figures.items()
        for outcome in OUTCOMES
    ]
    yield Metric("jobs_finished_total", "counter", "Jobs that finished.", finished)
    retried = [Value(labels, one.retried) for labels, one in figures.items()]
    yield Metric("job_retries_total", "counter", "Runs that are retried.", retried)
    waits = [
        value
        for queue, group in groups.items()
        for value in _spans((("queue", queue),), sum_histograms(one.queue.waits for one in group.values()))
    ]
    yield Metric("job_wait_seconds", "histogram", "From the put to the first run.", waits)
    runs = [value for labels, one in figures.items() for value in _spans(labels, one.runs)]
    yield Metric("job_run_seconds", "histogram", "Duration of runs.", runs)


def _bounded(queue: str, group: Mapping[str, Totals], most: int) -> Mapping[str, Figures]:
    """Return the first tasks of a queue by name, and the others as one; those of several queues all as one."""
    if group.keys() != {queue}:
        return _as_one(found for one in group.values() for found in one.tasks.values())
    tasks = group[queue].tasks
    names = sorted(name for name in tasks if name != OTHER)
    rest = [tasks[name] for name in (*names[most:], OTHER) if name in tasks]
    return {name: tasks[name] for name in names[:most]} | _as_one(rest)


def _as_one(figures: Iterable[Figures]) -> dict[str, Figures]:
    every = list(figures)
    return {OTHER: sum_figures(every)} if every else {}


def _spans(labels: Labels, found: Histogram) -> Iterator[Value]:
    if not found.total:
        return
    ends = [BOUNDS.index(step) for step in STEPS]
    counts = [sum(found.counts[first + 1 : last + 1]) for first, last in pairwise((-1, *ends, len(BOUNDS)))]
    yield from histogram(labels, STEPS, counts, found.seconds)


#: Queues with a label of their own: those that took the most jobs in all time, so that the same ones stay.
MAX_LABELLED = 100
#: Queues whose totals are queried; all but the first are `_other`, with what still more queues did: all of it without
#: these.
MAX_QUERIED = 1000
#: Queues whose memory is measured.
MAX_MEASURED = 20
#: Schedules with labels of their own, the first by queue and name.
MAX_SCHEDULES = 100


class Gathered(NamedTuple):
    """Replies of the server."""

    snapshot: Snapshot
    groups: Groups
    heads: Mapping[str, float | None]
    more: Mapping[str, Any]
    """What it did not refuse: memory, acts, backend, schedules."""


class Gatherer:
    """Queries the numbers. What the server refuses is queried once."""

    def __init__(self, poller: PagePoller) -> None:
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
        first = together([charts.totals(names), charts.totals_of_all(), records.oldest_waiting(labelled)])
        optional: dict[str, Query[Any]] = {
            "memory": snapshots.queue_memory(labelled[:MAX_MEASURED]),
            "backend": snapshots.server_version(),
            "acts": audit.counts(),
            "schedules": all_schedules(),
        }
        wanted = [name for name in optional if name not in self._refused]
        values = ask_isolated(self.poller.ask, first, [optional[name] for name in wanted])
        (totals, of_all, heads), *values = values
        more = dict(self._permitted(wanted, values))
        self.backend = more.get("backend", self.backend)
        groups = {name: {name: totals[name]} for name in labelled}
        if names[MAX_LABELLED:]:
            groups[OTHER] = groups.get(OTHER, {}) | {name: totals[name] for name in names[MAX_LABELLED:]}
        if rest:
            groups[OTHER] |= _rest(of_all, totals.values(), {name: snapshot.queues[name] for name in rest})
        return Gathered(snapshot, groups, heads, more)

    def _permitted(self, names: Sequence[str], values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        """Yield the values that the server did not refuse, with their names."""
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, Exception):
                yield name, value
            elif not isinstance(value, StoreRefused):
                raise value
            else:
                self._refused.add(name)


def route(poller: PagePoller) -> Route:
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
    yield Metric(
        "backend_up", "gauge", "1 if the server is available, 0 otherwise.", [Value((), found is not None)]
    )
    yield from _of_process(gatherer)
    if found is None:
        return
    snapshot, groups = found.snapshot, found.groups
    yield from of_queues(groups)
    since = [
        Value((("queue", queue),), round(max(0.0, snapshot.at - at), 3) if at else 0)
        for queue, at in found.heads.items()
    ]
    text = "Seconds since the job at the head was put, by its producer's clock; 0 without waiting jobs."
    yield Metric("queue_oldest_waiting_seconds", "gauge", text, since)
    memory = [Value((("queue", queue),), size) for queue, size in found.more.get("memory", {}).items()]
    text = "Approximate memory of a queue's unfinished jobs, of 20 queues."
    yield Metric("queue_memory_bytes", "gauge", text, memory)
    yield from of_workers(snapshot, groups)
    yield from of_runs(groups)
    instants = [
        Value((("queue", one.queue), ("schedule", one.name), ("outcome", outcome)), getattr(one, outcome))
        for one in found.more.get("schedules", [])[:MAX_SCHEDULES]
        for outcome in ("fired", "skipped", "missed")
    ]
    text = "Instants of schedules, of the first 100 schedules."
    yield Metric("schedule_instants_total", "counter", text, instants)
    acts = [
        Value((("command", command), ("outcome", outcome)), count)
        for (command, outcome), count in found.more.get("acts", {}).items()
    ]
    yield Metric("control_commands_total", "counter", "User actions in the audit trail.", acts)


def _of_process(gatherer: Gatherer) -> Iterator[Metric]:
    poller = gatherer.poller
    streams = [Value((), len(poller.subscribers))]
    yield Metric("dashboard_streams", "gauge", "Browsers that are updated.", streams)
    polls = list(histogram((), timings.BOUNDS, *poller.polls.found().get("", Timing())))
    yield Metric(
        "dashboard_sample_seconds", "histogram", "Duration of polls since this process began.", polls
    )
    trips = poller.timings.found()
    for name in ("sample", "page", "act"):
        trips.setdefault(name, Timing())
    waits = [
        value
        for name, one in trips.items()
        for value in histogram((("command", name),), timings.BOUNDS, *one)
    ]
    text = "Wait for the server since this process began."
    yield Metric("backend_command_seconds", "histogram", text, waits)
    facts = {
        "version": conveyor.__version__,
        "python": platform.python_version(),
        "backend": gatherer.backend,
    }
    text = "Versions of the dashboard and of its server."
    yield Metric("build_info", "gauge", text, [Value(tuple(facts.items()), 1)])
