"""A queue of a real server with jobs in every state, a worker in this process, an actor and the audit trail."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue
from conveyor.consumer.settlement import Settler
from conveyor.monitor import audit
from conveyor.monitor.actions import Actions, Actor
from conveyor.monitor.job_data import read_call
from conveyor.store import commands, connect, keys, records
from conveyor.store.command import Command
from conveyor.store.commands import Batch, PutParams, Settlement
from conveyor.wire import call, ids
from conveyor.wire.redaction import preview

if TYPE_CHECKING:
    from conveyor.store import Client
    from conveyor.wire.audit_entry import AuditEntry
    from conveyor.wire.outcome import Outcome

_numbers = itertools.count(1)
ANN = Actor("ann", "cli@there")
KEEP = 600.0
FAILED = b"\x93\xa6failed\xc0\x00"


def task_one() -> None:
    """Stand for a task."""


class Films:
    """The queue `films` on one server: jobs are put, taken and die."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name = "films"

    def put(self, many: int = 1, task: str = "cut", **place: Any) -> list[str]:
        """Put jobs and return their ids."""
        names = ids.new_ids(many)
        (data,) = call.encode_calls(task_one, task, [((), {})])
        for first in range(0, many, 500):
            jobs = [(name, data) for name in names[first : first + 500]]
            self.client.run(commands.put(self.name, jobs, PutParams(**place)))
        return names

    def claim(self, many: int = 500, owner: str = "host-ab12/1") -> Batch:
        """Take jobs."""
        return self.client.run(commands.claim(self.name, owner, ids.unique(), many, 1000.0))

    def kill_waiting(self) -> list[str]:
        """Kill all waiting jobs and return their ids in order."""
        names = []
        while (batch := self.claim()).jobs:
            dead = [Settlement(job.id, FAILED, KEEP) for job in batch.jobs]
            self.client.run_all([commands.fail(self.name, batch.token, one) for one in dead])
            names += [one.id for one in dead]
        return names

    def dead(self, many: int = 1, task: str = "cut") -> list[str]:
        """Put jobs and let them die; the queue must be empty."""
        self.put(many, task)
        return self.kill_waiting()

    def count(self) -> commands.Count:
        """Return the number of jobs by state."""
        return self.client.run(commands.count(self.name))

    def state(self, job_id: str) -> str:
        """Return the state of a job."""
        return self.client.run(commands.state(self.name, job_id)).state


class Hand:
    """Takes jobs of a queue and ends them."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.client = queue.client
        self.settler = Settler("host/1", preview)

    def take(self) -> Any:
        """Take the next job; gives it as claimed."""
        batch = self.client.run(commands.claim(self.queue.name, "host/1", ids.unique(8), 1, 60.0))
        self.settler.begin(self.queue.name, batch.token, count=1)
        return batch.jobs[0]

    def end(self, outcome: Outcome, elapsed: float = 0.5) -> str:
        """Take the next job and end it; gives its id."""
        job = self.take()
        tries = job.retries + job.crashes
        self.settler.add(job.id, read_call(job.data), outcome, elapsed, tries)
        self.client.run_all(self.settler.commands())
        return job.id

    def lose(self) -> None:
        """Take the next job, and be lost with it, long ago."""
        self.take()
        leased = keys.key(self.queue.name, "leased")
        job = self.client.run(Command(("ZRANGE", leased, "0", "0")))[0]
        self.client.run(Command(("ZADD", leased, "1", job)))
        self.client.run(commands.reap(self.queue.name))

    def log(self, job_id: str, *texts: str) -> None:
        """Log lines as a task would."""
        for text in texts:
            self.client.run_all(records.log(self.queue.name, job_id, text))


@pytest.fixture
def films(one_server: Any) -> Films:
    """Return a queue on the first kind of server."""
    return Films(one_server.client)


@pytest.fixture
def actions(one_server: Any) -> Actions:
    """Return the actions of Ann on that server."""
    return Actions(one_server.client, ANN)


@pytest.fixture
def trail(one_server: Any) -> Any:
    """Return a function that reads the newest actions."""

    def read(count: int = 50) -> list[AuditEntry]:
        return [one.act for one in audit.entries(count=count).ask(one_server.client)]

    return read


@pytest.fixture
def queue(one_server: Any) -> Queue:
    """Return an empty queue with a unique name."""
    return Queue(f"seen{next(_numbers)}", store=connect(one_server.url))


@pytest.fixture
def hand(queue: Queue) -> Hand:
    """Return a hand that ends its jobs."""
    return Hand(queue)
