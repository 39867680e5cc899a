"""The number of workers of a consumer: changed by control commands and, between two limits, by what waits.

Workers are added under the lowest free numbers, each in a process of its own or, of a crew, together in a further one.
A worker that is no longer needed is asked to stop, so no job is interrupted; of crews, those of the last process first,
so that it can exit. A worker that was stopped or killed on request no longer counts.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor import clock, events
from conveyor.consumer import shared_status
from conveyor.consumer.settings import MAX_WORKERS
from conveyor.errors import BadCall
from conveyor.store import records
from conveyor.wire.control_messages import AUTO, scaled

if TYPE_CHECKING:
    from conveyor.consumer.settings import ConsumerSettings
    from conveyor.consumer.worker_handle import WorkerHandle
    from conveyor.store import Client

#: Seconds between two counts of the waiting jobs.
COUNT_EVERY = 0.5
#: Seconds for which fewer workers must have been enough before some are stopped.
FREE_FOR = 10.0


@dataclass
class Scaling:
    """The number of a consumer's workers.

    `workers` are the running ones, and `to_start` the times when others are to start, both by name and shared with the
    supervisor.
    """

    consumer: str
    settings: ConsumerSettings
    workers: dict[str, WorkerHandle]
    to_start: dict[str, float]
    names: list[str] = field(default_factory=list)
    """All workers so far, by number."""
    process_of: dict[str, int] = field(default_factory=dict)
    """To which of the processes a worker belongs, by its name."""
    is_automatic: bool = False
    """True if the number of workers follows what waits."""
    is_empty: bool = False
    """True if the consumer was scaled to 0."""
    is_closed: bool = False
    """True if the whole consumer is to exit, so no worker is added."""
    count_at: float = float("inf")
    """When the waiting jobs are to be counted next."""
    _processes: int = 0
    """Processes so far."""
    _needs: deque[tuple[float, int]] = field(default_factory=deque)
    """Times in the last FREE_FOR seconds, and the number of workers that were needed."""

    def start(self) -> None:
        """Plan the start of the first workers, spread over the processes."""
        count, spread = self.settings.worker_count, self.settings.process_count
        names = self._free_names(count)
        self._plan(names, {name: number % spread for number, name in enumerate(names)})
        self._processes = spread
        self._set_automatic(automatic=self.settings.max_workers is not None)

    @property
    def limits(self) -> tuple[int, int]:
        """The limits between which the number follows what waits, or zeros if it does not."""
        return (self.settings.worker_count, self.settings.max_workers or 0) if self.is_automatic else (0, 0)

    @property
    def is_kept(self) -> bool:
        """True if the consumer stays without workers: it was scaled to 0, or adds some as soon as jobs wait."""
        return self.is_empty or (self.is_automatic and not self.settings.until_empty)

    @property
    def count(self) -> int:
        """The number of workers that run or are to start, without those that are leaving on request."""
        return len(self._staying()) + len(self.to_start)

    def handle(self, scale: str, reason: str = "") -> tuple[int, int]:
        """Scale to a number, by a change, or automatically again. Return the numbers of workers before and after.

        A change leads to a number from 0 to MAX_WORKERS. The number then stays as it is, until it is to follow what
        waits again. Raises BadCall if it never did.
        """
        before, most = self.count, self.settings.max_workers
        if scale != AUTO:
            wanted = min(max(0, scaled(before, scale)), MAX_WORKERS)
        elif most is None:
            raise BadCall("it was started with a fixed number of workers")
        else:
            wanted = min(max(before, self.settings.worker_count), most)
        self._set_automatic(automatic=scale == AUTO)
        self._scale_to(wanted, reason or "on request")
        self.is_empty = wanted == 0
        return before, wanted

    def close(self) -> None:
        """Add no more workers, since the whole consumer is to exit."""
        self.is_closed, self.is_empty = True, False
        self._set_automatic(automatic=False)

    def follow(self, client: Client) -> None:
        """Adapt the number of workers to what waits, if that is due. Raises StoreError."""
        now = clock.monotonic()
        if now < self.count_at:
            return
        self.count_at = now + COUNT_EVERY
        staying = self._staying()
        if staying and all(one.status.pause_requested for one in staying):
            return  # and so would the added ones be
        waiting = records.waiting_count(self.settings.queues).ask(client, patience=0.0)
        needed = waiting + sum(not _is_free(one) for one in staying)
        self._needs.append((now, needed))
        while self._needs[0][0] < now - FREE_FOR:
            self._needs.popleft()
        self._adapt(needed, waiting)

    def _adapt(self, needed: int, waiting: int) -> None:
        count = self.count
        most, least = self.settings.max_workers or count, min(self.settings.worker_count, count)
        if self.settings.kind != "process" and needed > count:
            needed = max(needed, 2 * count)  # or many small steps would lead to many small processes
        if count < min(most, needed):
            self._scale_to(min(most, needed), f"{waiting:,} {'job waits' if waiting == 1 else 'jobs wait'}")
            return
        spare = count - max(least, *(one for _, one in self._needs))
        free = sorted(filter(_is_free, self._staying()), key=self._order_of_leaving)
        if leaving := free[: max(0, spare)]:
            self._report(count, count - len(leaving), f"enough for {FREE_FOR:g} s")
            for worker in leaving:
                worker.stop()

    def _scale_to(self, wanted: int, why: str) -> None:
        before = self.count
        if wanted != before:
            self._report(before, wanted, why)
        if wanted > before:
            names = self._free_names(wanted - before)
            is_crew = self.settings.kind != "process"
            self._plan(
                names, {name: self._processes + (0 if is_crew else at) for at, name in enumerate(names)}
            )
            self._processes += 1 if is_crew else len(names)
        for name in sorted(self.to_start, key=_number, reverse=True)[: max(0, before - wanted)]:
            del self.to_start[name]
        for worker in sorted(self._staying(), key=self._order_of_leaving)[: max(0, self.count - wanted)]:
            worker.stop()

    def _report(self, before: int, after: int, why: str) -> None:
        events.emit(events.ConsumerScaled(self.consumer, before, after, why))

    def _set_automatic(self, *, automatic: bool) -> None:
        now = clock.monotonic()
        self.is_automatic = automatic
        self.count_at = now if automatic else float("inf")
        self._needs = deque([(now, MAX_WORKERS)])  # so that none leaves sooner than FREE_FOR seconds from now

    def _plan(self, names: list[str], process_of: dict[str, int]) -> None:
        self.to_start.update(dict.fromkeys(names, clock.monotonic()))
        self.process_of |= process_of
        self.names = sorted({*self.names, *names}, key=_number)

    def _free_names(self, count: int) -> list[str]:
        every = (f"{self.consumer}/{number}" for number in itertools.count(1))
        free = (name for name in every if name not in self.workers and name not in self.to_start)
        return list(itertools.islice(free, count))

    def _staying(self) -> list[WorkerHandle]:
        return [one for one in self.workers.values() if not one.verb]

    def _order_of_leaving(self, worker: WorkerHandle) -> tuple[bool, int, int]:
        """Return what sorts workers that are to leave: free ones first, then those of the last process."""
        return worker.status.state == shared_status.BUSY, -self.process_of[worker.name], -_number(worker.name)


def _is_free(worker: WorkerHandle) -> bool:
    """Return True if a worker waits for jobs, or is about to: a paused one will take none."""
    return (
        worker.status.state in {shared_status.IDLE, shared_status.STARTING}
        and not worker.status.pause_requested
    )


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])
