"""One order: split into jobs, put, watched, and joined to one result; the producer's side of split and join."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from conveyor import clock, task_loading
from conveyor.clock import Deadline
from conveyor.errors import ConveyorError, StoreUnavailable
from conveyor.queue import Queue, results_of
from conveyor.store import records
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
        self._is_joined = False
        self._client = client
        self._open = {job.id for job in jobs}
        self._changed = threading.Event()

    @classmethod
    def place(
        cls,
        task: Task[..., Any],
        arguments: Mapping[str, Any],
        *,
        queue: str | None = None,
        store: Client | None = None,
        count: int = 1,
        on_put: Callable[[int], object] | None = None,
    ) -> Order:
        """Split an order and put its jobs, on the task's own queue unless another is named.

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
        for parts in _slices(orders):
            try:
                jobs += target.submit_parts(task, parts)
            except ConveyorError as error:
                error.accepted += len(jobs)
                error.ids = [*(job.id for job in jobs), *error.ids]
                raise
            if on_put is not None:
                on_put(len(parts))
        order = cls(task, arguments, jobs, target.client)
        order.sizes, order.began, order.split_seconds = [len(parts) for parts in orders], began, split_seconds
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
        results = list(results_of(self.jobs, deadline))
        joined, first = [], 0
        try:
            for size in self.sizes:
                joined.append(self._joined(results[first : first + size]))
                first += size
        finally:
            if not self._is_joined:
                self._is_joined, self.ended = True, clock.monotonic()
        return joined[0] if len(joined) == 1 else joined

    def cancel(self) -> int:
        """Cancel the unfinished jobs. Return how many there were."""
        return sum(job.cancel("the order was cancelled") for job in self.jobs if job.id in self._open)

    def failed(self) -> list[Job[Any]]:
        """Return the finished jobs without a result."""
        return [job for job in self.jobs if job.settled is not None and job.settled.state != "done"]

    def _joined(self, results: list[Any]) -> Any:
        if self.task.join is not None:
            join: Callable[..., Any] = self.task.join
            return join(results, **self.arguments)
        return results if self.task.split is not None else results[0]

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


def _slices(orders: Iterable[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the parts of orders, as many whole orders at a time as make a slice."""
    parts: list[dict[str, Any]] = []
    for one in orders:
        parts += one
        if len(parts) >= SLICE:
            yield parts
            parts = []
    if parts:
        yield parts
