"""What the tests of acts share: an actor, jobs in every state, and the audit trail as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.monitor import audit
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import commands
from conveyor.store.answers import Batch, PutPlace, Settlement
from conveyor.wire import call, ids

if TYPE_CHECKING:
    from conveyor.store import Client
    from conveyor.wire.audit_entry import Act

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
        """Put jobs and give their ids."""
        names = ids.new_ids(many)
        (data,) = call.encode_calls(task_one, task, [((), {})])
        for first in range(0, many, 500):
            jobs = [(name, data) for name in names[first : first + 500]]
            self.client.run(commands.put(self.name, jobs, PutPlace(**place)))
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

    def read(count: int = 50) -> list[Act]:
        return [one.act for one in audit.acts(count=count).ask(one_server.client)]

    return read
