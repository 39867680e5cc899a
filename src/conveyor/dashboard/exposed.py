"""What the metrics tell of queues, workers and runs, each queue by itself or several as one.

Their labels are bounded, and with them the size of the whole: Prometheus keeps each line as a series of its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from conveyor.dashboard.exposition import Labels, Metric, Value, histogram
from conveyor.wire.statistics import BOUNDS, OTHER, sum_figures, sum_histograms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conveyor.monitor.charts import Totals
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.wire.statistics import Figures, Histogram

#: What is told under each name: one queue of that name, or under `_other` several.
Groups: TypeAlias = "Mapping[str, Mapping[str, Totals]]"

#: Tasks of a queue that are told of one by one, the first by name, so that the same ones stay; the rest is `_other`.
MOST_TASKS = 20
#: Tasks of all queues together: where there are many queues, each has only its share.
MOST_OF_ALL = 300
#: Upper bounds of the histograms' buckets, seconds; fewer than are counted, since most lines are those of histograms.
STEPS = tuple(bound for bound in BOUNDS if bound not in {120.0, 600.0, 3600.0, 14400.0, 43200.0})
OUTCOMES = ("succeeded", "failed", "cancelled", "timeout", "lost", "expired")
WORKER_STATES = ("starting", "idle", "busy", "paused", "leaving", "silent")


def of_queues(groups: Groups) -> Iterator[Metric]:
    """Tell how many jobs are where. What is of one queue alone, is not told of several."""
    jobs = [
        Value((("queue", name), ("state", state)), sum(_in_state(one, state) for one in group.values()))
        for name, group in groups.items()
        for state in ("waiting", "paused", "scheduled", "running", "dead")
    ]
    words = "Jobs; paused ones wait on a paused queue, scheduled ones are not due yet."
    yield Metric("queue_jobs", "gauge", words, jobs)
    alone = {name: group for name, group in groups.items() if group.keys() == {name}}
    yield _summed("queue_paused", "Whether the queue is paused.", alone, lambda one: one.jobs.paused)
    yield _summed(
        "queue_blocked_producers", "Producers that wait for room.", groups, lambda one: one.jobs.blocked
    )
    words = "Jobs that may wait; 0: any number."
    yield _summed("queue_size_limit", words, alone, lambda one: one.jobs.maxsize)
    yield _summed("jobs_enqueued_total", "Jobs that were accepted.", groups, lambda one: one.jobs.accepted)
    dropped = [
        Value((("queue", name), ("reason", "discarded")), sum(one.jobs.discarded for one in group.values()))
        for name, group in groups.items()
    ]
    yield Metric("jobs_dropped_total", "counter", "Dead jobs that were dropped or discarded.", dropped)


def _in_state(one: Totals, state: str) -> int:
    jobs = one.jobs
    if state in {"waiting", "paused"}:
        return jobs.ready if bool(jobs.paused) == (state == "paused") else 0
    return {"scheduled": jobs.delayed, "running": jobs.leased, "dead": jobs.dead}[state]


def _summed(name: str, words: str, groups: Groups, number: Callable[[Totals], int]) -> Metric:
    kind = "counter" if name.endswith("_total") else "gauge"
    values = [
        Value((("queue", queue),), sum(number(one) for one in group.values()))
        for queue, group in groups.items()
    ]
    return Metric(name, kind, words, values)


def of_workers(snapshot: Snapshot, groups: Groups) -> Iterator[Metric]:
    """Tell who works; zeros where nobody does, so that an alert has something to look at."""
    words = "Workers that died while they ran a job of the queue, and were not told to."
    yield _summed("workers_lost_total", words, groups, lambda one: one.queue.died)
    words = "Workers that take from a queue; one that takes from several is counted in each."
    yield Metric("workers", "gauge", words, list(_workers(snapshot, groups or {OTHER: {}})))
    crew = snapshot.worker_counts
    slots = [Value((("state", "busy"),), crew.busy), Value((("state", "idle"),), crew.all - crew.busy)]
    words = "Workers, each counted once; a leaving one is busy until its job has ended."
    yield Metric("worker_slots", "gauge", words, slots)
    ages = [snapshot.at - report.at for report in snapshot.consumers if report.at]
    age = [Value((), round(max(0.0, *ages), 3) if ages else 0)]
    words = "Seconds since the oldest report; 0 without consumers."
    yield Metric("worker_heartbeat_age_seconds", "gauge", words, age)


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
    """Tell what was run, by task. Histograms of what never happened are left out: they are most of the lines."""
    share = min(MOST_TASKS, MOST_OF_ALL // max(1, len(groups)))
    figures = {
        (("queue", queue), ("task", task)): found
        for queue, group in groups.items()
        for task, found in _bounded(queue, group, share).items()
    }
    started = [Value(labels, one.started) for labels, one in figures.items()]
    yield Metric("jobs_started_total", "counter", "Runs that began, counted when they end.", started)
    finished = [
        Value((*labels, ("outcome", outcome)), getattr(one, outcome))
        for labels, one in figures.items()
        for outcome in OUTCOMES
    ]
    yield Metric("jobs_finished_total", "counter", "Jobs that ended.", finished)
    retried = [Value(labels, one.retried) for labels, one in figures.items()]
    yield Metric("job_retries_total", "counter", "Runs that are tried again.", retried)
    waits = [
        value
        for queue, group in groups.items()
        for value in _spans((("queue", queue),), sum_histograms(one.queue.waits for one in group.values()))
    ]
    yield Metric("job_wait_seconds", "histogram", "From the put to the first run.", waits)
    runs = [value for labels, one in figures.items() for value in _spans(labels, one.runs)]
    yield Metric("job_run_seconds", "histogram", "How long runs took.", runs)


def _bounded(queue: str, group: Mapping[str, Totals], most: int) -> Mapping[str, Figures]:
    """Give the first tasks of a queue by name, and the others as one; of several queues all as one."""
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
