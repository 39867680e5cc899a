"""A queue of a real server, and a worker in this process that ends its jobs on request."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue, ids
from conveyor.consumer.settlement import Settler
from conveyor.inspector.jobs import read_call
from conveyor.redaction import preview
from conveyor.store import commands, connect, keys, plain

if TYPE_CHECKING:
    from conveyor.outcome import Outcome

_numbers = itertools.count(1)


class Hand:
    """Takes jobs of a queue and ends them."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.client = queue.client
        self.settler = Settler("host/1", preview)

    def take(self) -> Any:
        """Take the next job; return it as claimed."""
        batch = self.client.run(commands.claim(self.queue.name, "host/1", ids.unique(8), 1, 60.0))
        self.settler.begin(self.queue.name, batch.token, sampled=False)
        return batch.jobs[0]

    def end(self, outcome: Outcome, elapsed: float = 0.5) -> str:
        """Take the next job and end it; return its id."""
        job = self.take()
        tries = job.retries + job.crashes
        self.settler.add(job.id, read_call(job.data), outcome, elapsed, tries)
        self.client.run_all(self.settler.commands())
        return job.id

    def lose(self) -> None:
        """Take the next job, and lose its worker, long ago."""
        self.take()
        leased = keys.key(self.queue.name, "leased")
        job = self.client.run(commands.Command(("ZRANGE", leased, "0", "0")))[0]
        self.client.run(commands.Command(("ZADD", leased, "1", job)))
        self.client.run(commands.reap(self.queue.name))

    def log(self, job_id: str, *texts: str) -> None:
        """Log lines as a task would."""
        for text in texts:
            self.client.run_all(plain.log(self.queue.name, job_id, text))


@pytest.fixture
def queue(one_server: Any) -> Queue:
    """Return an empty queue with a unique name."""
    return Queue(f"seen{next(_numbers)}", store=connect(one_server.url))


@pytest.fixture
def hand(queue: Queue) -> Hand:
    """Return a hand that ends its jobs."""
    return Hand(queue)
