"""What all endpoints share: the server, the poller, the thread for operations, the rules of the guard."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conveyor.dashboard.access.policy import Policy
from conveyor.dashboard.access.problems import refused
from conveyor.dashboard.timings import TimedClient
from conveyor.monitor.snapshot import EMPTY

if TYPE_CHECKING:
    from conveyor.dashboard.poller import Poller
    from conveyor.monitor.actions import OperationRunner
    from conveyor.monitor.snapshot import Snapshot
    from conveyor.store import Client
    from conveyor.store.query import Query


@dataclass(frozen=True, slots=True)
class ApiContext:
    """One per process. `operations` is the thread that works on operations begun here."""

    client: Client
    poller: Poller
    operations: OperationRunner
    policy: Policy = field(default_factory=Policy)
    acting: Client = field(init=False)
    """What people do goes by this client, so that it is timed apart."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "acting", TimedClient(self.client, self.poller.timings, "act"))

    def ask(self, query: Query[Any], *, costly: bool = False) -> Any:
        """Ask the server in one round trip; raises StoreUnavailable soon where it is away.

        What is costly, such as a search, waits for its turn; raises Busy where too many want one.
        """
        with self.poller.searches.slot() if costly else nullcontext():
            return self.poller.ask(query)

    def snapshot(self) -> Snapshot:
        """Give the counts of all queues and the reports of all workers, one step old at most."""
        return self.poller.fresh()

    def snapshot_with(self, queue: str) -> Snapshot:
        """Return a snapshot that has this queue; 404 if nothing was put on it and no workers listen to it."""
        snapshot = self.snapshot()
        if queue not in snapshot.queues:
            snapshot = self.poller.poll().with_queue(queue)
        if queue not in snapshot.queues:
            raise refused(404, "unknown-queue", f"There is no queue {queue!r:.110}.")
        return snapshot

    def check_begun(self, queue: str) -> None:
        """Raise 404 for an unknown queue, 409 if nothing was put on it yet: there is nothing to do it to."""
        if queue not in self.snapshot().queues and self.snapshot_with(queue).queues[queue] is EMPTY:
            hint = "A queue begins when a job is put on it."
            raise refused(409, "wrong-state", f"Nothing was put on {queue!r:.110} yet.", hint)
