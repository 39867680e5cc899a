"""The command line on silent workers and the jobs that they took."""

from __future__ import annotations

import time
from typing import Any

import pytest

from conveyor.store import commands, control_channel, keys
from conveyor.store.command import Command
from conveyor.wire import control_messages
from conveyor.wire.control_messages import ConsumerReport, WorkerReport

OWNER = "host-ab12/3"
#: Seconds since the last report of a silent worker: as few as can be, since a report is kept for twenty.
AGO = 9.0


def running(client: Any, job: str, ago: float) -> None:
    """Set up a waiting job as claimed 100 seconds ago and reported by its consumer some seconds ago."""
    client.run(commands.claim("shapes", OWNER, "nonce", 1, 60.0))
    now = time.time()
    lease = f"{int((now - 100) * 1e6)} {OWNER} S 1"
    client.run(Command(("HSET", keys.key("shapes", "leases"), job, lease)))
    step = control_messages.encode(control_messages.Progress(1, 2, "half of it"))
    client.run(Command(("HSET", keys.key("shapes", "progress"), job, step)))
    report(client, job, ago, now)


def report(client: Any, job: str, ago: float, now: float) -> None:
    """Make the worker's consumer report it some seconds ago."""
    worker = WorkerReport(OWNER, 4711, "busy", 3, job, "shape", "shapes", 100 - ago)
    told = ConsumerReport("host-ab12", "far", 99, ["shapes"], "process", 1.0, [worker], at=now - ago)
    client.run(control_channel.report(told.name, control_messages.encode(told), told.at))
    if ago > control_channel.REPORT_KEEP:
        client.run(Command(("DEL", keys.consumer_key(told.name))))


@pytest.mark.parametrize("ago", [AGO, 40.0])
def test_job_of_a_silent_worker_is_shown_as_silent(at_server: Any, conveyor: Any, ago: float) -> None:
    running(at_server.client, job := conveyor("produce", "shape", 1).out.strip(), ago)
    (row,) = conveyor("jobs", "shapes", "--state", "running", "--json").document["jobs"]
    assert row["worker"] == OWNER
    assert row["running_for"] == pytest.approx(100 - ago, abs=1.5)
    assert row["progress"] == "50% half of it"
    assert row["silent_since"]
    told = " ".join(conveyor("jobs", "shapes", "--state", "running").out.split())
    assert job in told
    assert "(silent)" in told
    assert "at least" in told


def test_job_of_a_reporting_worker_is_not_shown_as_silent(at_server: Any, conveyor: Any) -> None:
    running(at_server.client, job := conveyor("produce", "shape", 1).out.strip(), 0.0)
    (row,) = conveyor("jobs", "shapes", "--state", "running", "--json").document["jobs"]
    assert (row["worker"], row["silent_since"]) == (OWNER, None)
    report(at_server.client, job, 0.0, time.time())
    assert "silent" not in conveyor("jobs", "shapes", "--state", "running").out


def test_silent_workers_are_not_busy(at_server: Any, conveyor: Any) -> None:
    running(at_server.client, conveyor("produce", "shape", 1).out.strip(), AGO)
    (consumer,) = conveyor("workers", "--json").document["consumers"]
    (worker,) = consumer["workers"]
    assert worker["state"] == "silent"
    assert worker["job"]["running_for"] == pytest.approx(100 - AGO), "as at its last report"
    assert "silent" in conveyor("workers").out
    assert "1 worker in 1 consumer, 0 busy" in conveyor("status").out
