"""Items that this process has taken with `Queue.get`: their leases, renewed by one thread until they are settled."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

from conveyor import clock, codec, ids
from conveyor.call import KEEP
from conveyor.errors import LeaseLost, StoreError
from conveyor.outcome import encode_settled
from conveyor.store import commands
from conveyor.store.waiting import get_jobs

if TYPE_CHECKING:
    from conveyor.clock import Deadline
    from conveyor.store import Client

#: Seconds that a lease lasts, and after which it is renewed.
LEASE, HEARTBEAT = 15.0, 5.0
_DONE = encode_settled("done", codec.encode(None))


class Held(NamedTuple):
    """One taken item."""

    queue: str
    id: str
    token: str


class Holder:
    """Takes items under lease, keeps the leases alive, and settles them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{ids.unique(4)}"
        self.held: dict[tuple[str, str], Held] = {}
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def take(self, queue: str, deadline: Deadline | None) -> tuple[str, bytes]:
        """Give id and bytes of the next job; waits as `get_jobs` does."""
        # Each call claims as an owner of its own: the server remembers one last claim per owner.
        owner = f"{self.owner}-{threading.get_ident()}"
        batch = get_jobs(self.client, queue, owner, LEASE, deadline)
        job = batch.jobs[0]
        with self.lock:
            self.held[queue, job.id] = Held(queue, job.id, batch.token)
            if self.thread is None:
                self.thread = threading.Thread(target=self._renew, name="conveyor-leases", daemon=True)
                self.thread.start()
        return job.id, job.data

    def settle(self, queue: str, job_id: str) -> None:
        """Say that an item is worked off; raises LeaseLost if it is no longer held."""
        with self.lock:
            held = self.held.get((queue, job_id))
        if held is None:
            message = f"item {job_id} of {queue} is not held by this process"
            raise LeaseLost(
                message, hint="who takes an item settles it: a forked child holds nothing of its parent's"
            )
        settlement = commands.Settlement(job_id, _DONE, min(KEEP, 600.0))
        refused = self.client.run(commands.finish(queue, held.token, [settlement]))
        with self.lock:
            self.held.pop((queue, job_id), None)
        if refused:
            message = f"item {job_id} of {queue} went to another taker"
            raise LeaseLost(message, hint="this process was not heard of for longer than the lease of 15 s")

    def _renew(self) -> None:
        while True:
            clock.sleep(HEARTBEAT)
            with self.lock:
                if not self.held:
                    self.thread = None
                    return
                held = list(self.held.values())
            for queue in {one.queue for one in held}:
                mine = [(one.id, one.token, True) for one in held if one.queue == queue]
                try:
                    self.client.run(commands.renew(queue, mine, LEASE), patience=HEARTBEAT)
                except StoreError:
                    continue  # the next beat tries again; a lease outlasts two that fail


_holders: dict[tuple[Client, int], Holder] = {}


def holder_of(client: Client) -> Holder:
    """Give what this process holds at one server; a forked child holds nothing yet."""
    owner = client, os.getpid()
    # setdefault, since two threads may come here first at once, and both must get the same one
    return _holders.get(owner) or _holders.setdefault(owner, Holder(client))
