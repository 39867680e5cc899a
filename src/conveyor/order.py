"""One order: split into jobs, put, watched, and joined to one result; the producer's side of split and join."""

from __future__ import annotations

import contextlib
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from conveyor import clock, task_loading
from conveyor.clock import Deadline
from conveyor.errors import ConveyorError, JobCancelled, StoreUnavailable, WaitTimeout
from conveyor.job import results_of
from conveyor.queue import Queue, each_result
from conveyor.store import records
from conveyor.tasks import join_parts
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conveyor.job import Job
    from conveyor.store import Client
    from conveyor.tasks import Task

#: Seconds between two polls of the progress of running jobs.
POLL_EVERY = 0.25
#: Jobs that are put at once; whole orders, so that an invalid part of one is found before any of it is put.
SLICE = 1000
#: Jobs whose progress is polled.
MAX_POLLED = 200


#: Keyword arguments of the jobs of one order.
Parts = list[dict[str, Any]]


class OrderProgress(NamedTuple):
    """The progress of an order: `fraction` from 0 to 1, finished jobs, all jobs, and a running job's last message."""

    fraction: float
    over: int
    jobs: int
    message: str


class Order:
    """An order whose jobs are on the queue."""

    def __init__(
        self, task: Task[..., Any], arguments: Mapping[str, Any], jobs: list[Job[Any]], client: Client
    ) -> None:
        self.task = task
        self.arguments = dict(arguments)
        self.jobs = jobs
        self.sizes = [len(jobs)]
        """How many of the jobs make one result; several numbers if the same was ordered several times."""
        self.began = clock.monotonic()
        self.ended: float | None = None
        self.split_seconds = 0.0
        """Seconds that the split took, sample inputs that it made included."""
        self.joins: list[Job[Any]] = []
        """The jobs that join the results of the others, one for each time it was ordered; empty without a join."""
        self._is_joined = False
        self._client = client
        self._open = {job.id for job in jobs}
        self._changed = threading.Event()

    @classmethod
    def place(  # noqa: PLR0913 - all but two are options
        cls,
        task: Task[..., Any],
        arguments: Mapping[str, Any],
        *,
        queue: str | None = None,
        store: Client | None = None,
        count: int = 1,
        on_put: Callable[[int], object] | None = None,
        joins_here: bool = False,
    ) -> Order:
        """Split an order and put its jobs, on the task's own queue unless another is named.

        The join is a job behind them, so it needs this process no more; with `joins_here`, `result` joins.
        The same is ordered `count` times. `on_put` is called with the number of jobs put since its last call. Raises
        BadInput or BadCall before anything is put if the split refuses the input. On a later error, such as Full if the
        task has a `wait`, `accepted` is how many jobs were put, and `ids` are their ids.
        """
        began = clock.monotonic()
        task_loading.stop_script()
        split = task.split
        orders = [split(**arguments) if split is not None else [dict(arguments)] for _ in range(count)]
        split_seconds = clock.monotonic() - began
        target = Queue(queue or task.put.queue, store=store)
        jobs: list[Job[Any]] = []
        joins: list[Job[Any]] = []
        for some in _slices(orders):
            parts = [part for one in some for part in one]
            try:
                put = target.submit_parts(task, parts)
                jobs += put
                if task.join is not None and not joins_here:
                    joins += _put_joins(target, task, arguments, some, put)
            except ConveyorError as error:
                error.accepted += len(jobs)
                error.ids = [*(job.id for job in jobs), *error.ids]
                raise
            if on_put is not None:
                on_put(len(parts))
        order = cls(task, arguments, jobs, target.client)
        order.sizes, order.began, order.split_seconds = [len(parts) for parts in orders], began, split_seconds
        order.joins = joins
        return order

    @property
    def seconds(self) -> float:
        """Wall time in seconds: the split, the jobs, and the join once `result` has done it; or until now."""
        return (clock.monotonic() if self.ended is None else self.ended) - self.began

    @property
    def job_seconds(self) -> float:
        """Sum of the jobs' run times in seconds; divided by wall time, that is the speedup."""
        return sum(job.settled.elapsed for job in self.jobs if job.settled is not None)

    def watch(self) -> Iterator[OrderProgress]:
        """Yield the progress a few times a second until all jobs have finished. Outlasts an unavailable server."""
        for job in self.jobs:
            with contextlib.suppress(StoreUnavailable):  # the inbox retries until the server is back
                job.add_done_callback(self._over)
        while True:
            all_over = not self._open
            yield self._progress()
            if all_over:
                break
            self._changed.wait(POLL_EVERY)
            self._changed.clear()

    def wait(self) -> None:
        """Wait until all jobs have finished, whatever their outcomes."""
        for _ in self.watch():
            pass

    def result(self, timeout: float | None = None) -> Any:
        """Wait for all jobs and return the joined result; without a join, the list of results, or the only one.

        If the same was ordered several times, return a list of these. Raises the error of the first failed job, in the
        order of the parts.
        """
        deadline = Deadline(timeout)
        try:
            joined = self._joined(deadline) if self.joins else self._joined_here(deadline)
        except WaitTimeout:
            raise
        except BaseException:
            self._end()
            raise
        self._end()
        return joined[0] if len(joined) == 1 else joined

    def _end(self) -> None:
        if not self._is_joined:
            self._is_joined, self.ended = True, clock.monotonic()

    def _joined(self, deadline: Deadline) -> list[Any]:
        """Return the results of the joins. Raises the error of the first failed part."""
        try:
            return list(each_result(self.joins, deadline))
        except JobCancelled:
            for _ in each_result(self.jobs, deadline):
                pass
            raise

    def _joined_here(self, deadline: Deadline) -> list[Any]:
        """Return the joined results of each order; without a join, the list of its results, or the only one."""
        results, join = list(each_result(self.jobs, deadline)), self.task.join
        rest = iter(results)
        parts = [list(islice(rest, size)) for size in self.sizes]
        if join is not None:
            return [join(one, **self.arguments) for one in parts]
        return parts if self.task.split is not None else [one[0] for one in parts]

    def cancel(self) -> int:
        """Cancel the unfinished jobs. Return how many there were."""
        return sum(job.cancel("the order was cancelled") for job in self.jobs if job.id in self._open)

    def failed(self) -> list[Job[Any]]:
        """Return the finished jobs without a result."""
        return [job for job in self.jobs if job.settled is not None and job.settled.state != "done"]

    def _over(self, job: Job[Any]) -> None:
        self._open.discard(job.id)
        if not self._open and self.ended is None:
            self.ended = clock.monotonic()
        self._changed.set()

    def _progress(self) -> OrderProgress:
        waiting = list(self._open)[:MAX_POLLED]
        over = len(self.jobs) - len(self._open)
        parts, message = 0.0, ""
        if waiting:
            replies: list[bytes | None] = []
            with contextlib.suppress(StoreUnavailable):  # unknown progress counts as none
                replies = self._client.run(records.progress(self.jobs[0].queue_name, waiting))
            for data in replies:
                if data is not None:
                    step = control_messages.decode_progress(data)
                    parts += step.fraction or 0.0
                    message = step.message or message
        fraction = (over + parts) / len(self.jobs) if self.jobs else 1.0
        return OrderProgress(min(1.0, fraction), over, len(self.jobs), message)


def _put_joins(
    target: Queue,
    task: Task[..., Any],
    arguments: Mapping[str, Any],
    orders: Iterable[Parts],
    jobs: list[Job[Any]],
) -> list[Job[Any]]:
    """Put the join of each order behind its jobs: a job as they are, so it does not need this process."""
    rest = iter(jobs)
    join = join_parts.options(keep=task.run.keep)
    join.run = structs.replace(join.run, serializer=task.run.serializer)
    calls = [(task.name, results_of(islice(rest, len(parts))), dict(arguments)) for parts in orders]
    return target.submit_many(join, calls)


def _slices(orders: Iterable[Parts]) -> Iterator[list[Parts]]:
    """Yield orders, as many at a time as make a slice of parts."""
    some: list[Parts] = []
    for one in orders:
        some.append(one)
        if sum(map(len, some)) >= SLICE:
            yield some
            some = []
    if some:
        yield some
