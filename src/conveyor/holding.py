"""Items that this process has taken with `Queue.get`: their leases, renewed by one thread until they are settled."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from conveyor import clock, codec, ids
from conveyor.errors import LeaseLost, StoreError
from conveyor.outcome import encode_settled
from conveyor.store import commands, scripts
from conveyor.store.waiting import get_jobs

if TYPE_CHECKING:
    from conveyor.clock import Deadline
    from conveyor.store import Client

#: Seconds that a lease lasts, and after which it is renewed.
LEASE, HEARTBEAT = 15.0, 5.0
#: Seconds that is kept what became of an item; nobody can ask for it, so only for a settling that is sent again.
KEEP = 20.0
_DONE = encode_settled("done", codec.encode(None))
_log = logging.getLogger("conveyor")


class Held(NamedTuple):
    """One taken item."""

    queue: str
    id: str
    token: str
    thread: int
    """Who took it."""
    lost: bool = False
    """Whether the server has said that the lease is gone."""


class Holder:
    """Takes items under lease, keeps the leases alive, and settles them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{ids.unique(4)}"
        self.held: OrderedDict[tuple[str, str], Held] = OrderedDict()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.trouble = ""  # the last error that was logged
        for verb in ("renew", "finish"):
            scripts.load(verb)  # later this process may be out of file descriptors

    def take(self, queue: str, deadline: Deadline | None) -> bytes:
        """Give the bytes of the next job; waits as `get_jobs` does."""
        # Each thread claims as an owner of its own: the server remembers one last claim per owner.
        taker = threading.get_ident()
        batch = get_jobs(self.client, queue, f"{self.owner}-{taker}", LEASE, deadline)
        job = batch.jobs[0]
        with self.lock:
            self.held[queue, job.id] = Held(queue, job.id, batch.token, taker)
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._renew, name="conveyor-leases", daemon=True)
                try:
                    self.thread.start()
                except RuntimeError:  # the system allows no more threads; the next `take` tries again
                    _log.exception("the lease of an item is not renewed")
        return job.data

    def settle(self, queue: str) -> None:
        """Say that an item is worked off: the first of those that this thread took, else the first of all.

        Raises ValueError if none of this queue is held, and LeaseLost if the item went to another taker. If the server
        does not answer, the item stays held and can be settled again.
        """
        held = self._next(queue)
        settlement = commands.Settlement(held.id, _DONE, KEEP)
        try:
            refused = self.client.run(commands.finish(queue, held.token, [settlement]))
        except StoreError:
            with self.lock:
                self.held[queue, held.id] = held
                self.held.move_to_end((queue, held.id), last=False)
            raise
        if refused:
            message = f"item {held.id} of {queue} went to another taker"
            raise LeaseLost(message, hint="this process was not heard of for longer than the lease of 15 s")

    def _next(self, queue: str) -> Held:
        thread = threading.get_ident()
        with self.lock:
            mine = [one for one in self.held.values() if one.queue == queue]
            if not mine:
                message = "task_done() called too many times"
                raise ValueError(message)
            chosen = next((one for one in mine if one.thread == thread), mine[0])
            return self.held.pop((queue, chosen.id))

    def _renew(self) -> None:
        """Renew leases until nothing is held. No error ends this thread before."""
        while True:
            clock.sleep(HEARTBEAT)
            with self.lock:
                held = [one for one in self.held.values() if not one.lost]
                if not held:
                    self.thread = None
                    return
            for queue in {one.queue for one in held}:
                try:
                    self._renew_queue(queue, [one for one in held if one.queue == queue])
                except Exception as error:  # noqa: BLE001 - whatever it was, a lease outlasts two beats that fail
                    if self.trouble != repr(error):  # said once
                        self.trouble = repr(error)
                        _log.exception("an error while leases were renewed; trying again")
                else:
                    self.trouble = ""

    def _renew_queue(self, queue: str, held: list[Held]) -> None:
        try:
            renewal = self.client.run(
                commands.renew(queue, [(one.id, one.token, commands.STARTED) for one in held], LEASE),
                patience=HEARTBEAT,
            )
        except StoreError:
            return  # the next beat tries again; a lease outlasts two that fail
        with self.lock:
            for place in renewal.lost:
                lost = held[place]
                known = self.held.get((queue, lost.id))
                if known is not None and known.token == lost.token:  # else this process has taken it again
                    self.held[queue, lost.id] = known._replace(lost=True)


_holders: dict[tuple[Client, int], Holder] = {}


def holder_of(client: Client) -> Holder:
    """Give what this process holds at one server; a forked child holds nothing yet."""
    owner = client, os.getpid()
    # setdefault, since two threads may come here first at once, and both must get the same one
    return _holders.get(owner) or _holders.setdefault(owner, Holder(client))
