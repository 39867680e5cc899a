"""The speedup experiment: the same order with 1, 2, … N workers, measured in turn, and the laws that describe it."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from conveyor import clock, task_loading
from conveyor.clock import Deadline
from conveyor.consumer import Consumer
from conveyor.consumer.settings import LEASE, MAX_WORKERS
from conveyor.errors import ConveyorError, MissingExtra, NotEmpty, WaitTimeout
from conveyor.monitor import Inspector, charts
from conveyor.monitor.follow import WorkerMonitor
from conveyor.order import Order
from conveyor.queue import Queue
from conveyor.wire import ids
from conveyor.wire.statistics import subtract_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from conveyor.store import Client
    from conveyor.tasks import Task

#: Seconds between two updates of the progress of a run.
UPDATE_EVERY = 0.5
#: Seconds without workers after which a run fails.
MAX_ABSENCE = 3.0
#: Speedups, and numbers of workers, above which a law is said to set no limit.
NO_LIMIT = 1000


Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Workers = Annotated[int, msgspec.Meta(ge=1, le=MAX_WORKERS)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Run(msgspec.Struct, frozen=True):
    """One measured run of the order."""

    workers: Workers
    wall_seconds: Seconds
    """From the split to the joined result."""
    job_seconds: Seconds
    """Sum of the jobs' run times."""
    queueing_seconds: Seconds | None
    """Mean time from the put of a job to its start; None if unknown."""
    jobs_per_worker: list[Count]
    """Sorted; empty if unknown."""


class Row(msgspec.Struct, frozen=True):
    """The runs with one number of workers; all but the extremes are medians."""

    workers: Workers
    runs: Count
    wall_seconds: Seconds
    shortest_seconds: Seconds
    longest_seconds: Seconds
    speedup: Ratio | None
    """Median wall time of one worker divided by this one; None if no run with one worker was measured."""
    efficiency: Ratio | None
    """Speedup divided by the number of workers."""
    queueing_seconds: Seconds | None
    fewest_jobs: Count | None
    """Jobs of the worker with the fewest, in all runs."""
    most_jobs: Count | None


class Amdahl(msgspec.Struct, frozen=True):
    """Amdahl's law, T(n) = T(1) · (s + (1 - s) / n), fitted to the wall times."""

    serial_fraction: Annotated[float, msgspec.Meta(ge=0, le=1)]
    error: Ratio
    """Standard error of the serial fraction."""

    def speedup(self, workers: float) -> float:
        """Return the speedup that the law predicts."""
        return 1 / (self.serial_fraction + (1 - self.serial_fraction) / workers)

    @property
    def limit(self) -> float:
        """The speedup of any number of workers."""
        return 1 / self.serial_fraction if self.serial_fraction else math.inf


class Scalability(msgspec.Struct, frozen=True):
    """The Universal Scalability Law, T(n) = T(1) · (1 + a (n - 1) + b n (n - 1)) / n, fitted to the wall times."""

    contention: Ratio
    """The a of the law: the part of the work that waits for its turn. Without coherency, it is the serial fraction."""
    contention_error: Ratio
    coherency: Ratio
    """The b of the law: the cost of each pair of workers."""
    coherency_error: Ratio

    def speedup(self, workers: float) -> float:
        """Return the speedup that the law predicts."""
        return workers / (1 + self.contention * (workers - 1) + self.coherency * workers * (workers - 1))

    @property
    def peak(self) -> float:
        """The number of workers with the greatest speedup; infinite if more workers never harm."""
        if not self.coherency:
            return math.inf
        return max(1.0, math.sqrt(max(0.0, 1 - self.contention) / self.coherency))


class Experiment(msgspec.Struct, frozen=True):
    """A finished or interrupted experiment, as it is shown and kept."""

    task: str
    jobs: Count
    """Jobs of one order."""
    cores: Count
    at: float
    """When it ended, seconds since 1970 by the clock of the machine."""
    complete: bool
    """False if it was interrupted."""
    runs: list[Run]
    """In the order in which they were measured."""
    rows: list[Row]
    amdahl: Amdahl | None
    """None without enough points."""
    scalability: Scalability | None
    """None without enough points."""
    preset: str = ""

    @property
    def laws(self) -> list[str]:
        """A sentence about each law."""
        return [_on_amdahl(self.amdahl), _on_scalability(self.scalability)]


def _on_amdahl(law: Amdahl | None) -> str:
    if law is None:
        return "Amdahl's law: not enough points; measure at least three numbers of workers"
    limit = f"at most {law.limit:.1f} times as fast" if law.limit < NO_LIMIT else "no limit in sight"
    return f"Amdahl's law: {law.serial_fraction:.1%} ± {law.error:.1%} is serial; {limit}"


def _on_scalability(law: Scalability | None) -> str:
    if law is None:
        return "Universal Scalability Law: not enough points; measure at least four numbers of workers"
    peak = f"fastest with about {law.peak:.0f} workers" if law.peak < NO_LIMIT else "more workers never harm"
    return (
        f"Universal Scalability Law: contention {law.contention:.4f} ± {law.contention_error:.4f}, "
        f"coherency {law.coherency:.4f} ± {law.coherency_error:.4f}; {peak}"
    )


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Experiment).decode


def rounds(counts: Sequence[int], repeat: int) -> list[int]:
    """Return the numbers of workers of all runs: every number once a round, each round in another order.

    Rounds begin one number later each time, and every second one is reversed, so a machine that gets slower, or warm
    caches, favor no number.
    """
    planned: list[int] = []
    for number in range(repeat):
        start = number % len(counts)
        one = [*counts[start:], *counts[:start]]
        planned += reversed(one) if number % 2 else one
    return planned


def measure(
    task: Task[..., Any],
    arguments: Mapping[str, Any],
    plan: Sequence[int],
    *,
    client: Client,
    modules: Sequence[str] = (),
    on_progress: Callable[[int, int], object] = lambda _done, _jobs: None,
) -> Generator[Run]:
    """Run an order once for each number of workers in `plan`, and yield the measured runs.

    All happens on a queue of its own, which is deleted at the end, as are the workers if the caller stops early. The
    workers are new ones for each run, and have loaded the task before its clock starts. `on_progress` is called with
    the number of finished jobs and all jobs, at least twice a second.

    Raises the error of the first job that fails, and ConveyorError if workers are missing.
    """
    queue = Queue(f"speedup-{ids.unique(6)}", store=client)
    loaded = dict.fromkeys((*(modules or task_loading.found_modules()), task.__module__))
    try:
        for workers in plan:
            yield _run(task, arguments, workers, queue, tuple(loaded), on_progress)
    finally:
        _delete(queue)


def _delete(queue: Queue) -> None:
    """Delete a queue. The jobs of a killed consumer have to reach the end of their leases first."""
    deadline = Deadline(2 * LEASE)
    while True:
        try:
            queue.delete(purge=True)
        except NotEmpty:
            if deadline.passed():
                raise
            clock.sleep(UPDATE_EVERY)
        else:
            return


def _run(
    task: Task[..., Any],
    arguments: Mapping[str, Any],
    workers: int,
    queue: Queue,
    modules: Sequence[str],
    on_progress: Callable[[int, int], object],
) -> Run:
    figures_before = charts.totals([queue.name]).ask(queue.client)[queue.name].queue
    # Without grace, jobs of an interrupted run are returned to the queue, where they are cancelled.
    with Consumer(queue.name, workers, tasks=modules, store=queue.client, grace=0) as consumer:
        present = len(Inspector(queue.client).workers(queue.name))
        if present != workers:
            message = f"only {present} of {workers} workers have started"
            raise ConveyorError(message, hint="check this machine's limits on processes and memory")
        order = Order.place(task, arguments, queue=queue.name, store=queue.client, joins_here=True)
        _wait(order, queue, on_progress)
        order.result()
    # The workers have sent their last counts before they exited.
    figures = charts.totals([queue.name]).ask(queue.client)[queue.name].queue
    waits = subtract_figures(figures, figures_before).waits
    return Run(
        workers=workers,
        wall_seconds=round(order.seconds, 6),
        job_seconds=round(order.job_seconds, 6),
        queueing_seconds=None if waits.mean is None else round(waits.mean, 6),
        jobs_per_worker=sorted(consumer.jobs_done),
    )


def _wait(order: Order, queue: Queue, on_progress: Callable[[int, int], object]) -> None:
    """Wait for all jobs. The results are pushed, so nothing is sent meanwhile but a rare look for workers."""
    inspector = Inspector(queue.client)
    monitor = WorkerMonitor(lambda: len(inspector.workers(queue.name)))
    for job in order.jobs:
        while True:
            try:
                error = job.exception(UPDATE_EVERY)
            except WaitTimeout:
                on_progress(sum(one.settled is not None for one in order.jobs), len(order.jobs))
                if monitor.check() > MAX_ABSENCE:
                    message = "the workers exited before the work was done"
                    raise ConveyorError(message, hint="were they killed? run the experiment again") from None
            else:
                break
        if error is not None:
            raise error
    on_progress(len(order.jobs), len(order.jobs))


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Return the runs by number of workers."""
    by_count: dict[int, list[Run]] = {}
    for run in runs:
        by_count.setdefault(run.workers, []).append(run)
    one = median(run.wall_seconds for run in by_count[1]) if 1 in by_count else None
    return [_row(workers, by_count[workers], one) for workers in sorted(by_count)]


def _row(workers: int, runs: Sequence[Run], one: float | None) -> Row:
    walls = [run.wall_seconds for run in runs]
    waits = [run.queueing_seconds for run in runs if run.queueing_seconds is not None]
    jobs = [number for run in runs for number in run.jobs_per_worker]
    speedup = None if one is None else one / median(walls)
    return Row(
        workers=workers,
        runs=len(runs),
        wall_seconds=median(walls),
        shortest_seconds=min(walls),
        longest_seconds=max(walls),
        speedup=speedup,
        efficiency=None if speedup is None else speedup / workers,
        queueing_seconds=median(waits) if waits else None,
        fewest_jobs=min(jobs, default=None),
        most_jobs=max(jobs, default=None),
    )


def fit_amdahl(runs: Sequence[Run]) -> Amdahl | None:
    """Fit Amdahl's law, or return None for fewer than three numbers of workers.

    G. M. Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities", AFIPS
    1967. The law is linear in T(1) · s and T(1) · (1 - s), so the least squares need no start and have no local minima.
    """
    found = _least_squares(runs, lambda n: (1.0, 1 / n))
    if found is None:
        return None
    (serial, parallel), errors = found
    total = serial + parallel
    return Amdahl(serial / total, _error((parallel / total**2, -serial / total**2), errors))


def fit_scalability(runs: Sequence[Run]) -> Scalability | None:
    """Fit the Universal Scalability Law, or return None for fewer than four numbers of workers.

    N. J. Gunther, "A general theory of computational scalability based on rational functions", 2008, arXiv:0808.1431.
    It is linear in T(1), T(1) · a and T(1) · b.
    """
    found = _least_squares(runs, lambda n: (1 / n, (n - 1) / n, n - 1.0))
    if found is None or not found[0][0]:
        return None
    (one, contention, coherency), errors = found
    return Scalability(
        contention / one,
        _error((-contention / one**2, 1 / one, 0.0), errors),
        coherency / one,
        _error((-coherency / one**2, 0.0, 1 / one), errors),
    )


def _least_squares(
    runs: Sequence[Run], terms: Callable[[int], tuple[float, ...]]
) -> tuple[tuple[float, ...], Any] | None:
    """Fit the wall times by a sum of terms with coefficients that are not negative; return these and their covariance.

    Every run counts, and its relative error, since a run of a tenth of the time varies by about a tenth as much. The
    covariance is that of all terms, also for coefficients at their bound. Returns None unless there is one number of
    workers more than terms: through as many, a curve goes exactly, and nothing is known of its error.
    """
    try:
        import numpy as np  # noqa: PLC0415 - an optional extra, and the dashboard reads experiments without it
    except ModuleNotFoundError as error:
        raise MissingExtra("the speedup experiment", "tasks", error.name) from error
    counts = {run.workers for run in runs}
    size = len(terms(1))
    if len(counts) <= size:
        return None
    walls = np.array([run.wall_seconds for run in runs])
    design = np.array([terms(run.workers) for run in runs]) / walls[:, None]
    target = np.ones(len(runs))
    best, best_loss = np.zeros(size), float("inf")
    # With so few terms, the best fit with coefficients ≥ 0 is the best of those that leave some of the terms out.
    for chosen in range(1, 1 << size):
        columns = [column for column in range(size) if chosen >> column & 1]
        found = np.linalg.lstsq(design[:, columns], target, rcond=None)[0]
        loss = float(np.sum((design[:, columns] @ found - target) ** 2))
        if np.all(found >= 0) and loss < best_loss:
            best, best_loss = np.zeros(size), loss
            best[columns] = found
    covariance = np.linalg.pinv(design.T @ design) * best_loss / (len(runs) - size)
    return tuple(map(float, best)), covariance


def _error(gradient: Sequence[float], covariance: Any) -> float:
    """Return the standard error of a quotient of coefficients by its gradient (the delta method)."""
    import numpy as np  # noqa: PLC0415 - as above

    slope = np.array(gradient)
    return float(np.sqrt(slope @ covariance @ slope))
