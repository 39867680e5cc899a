"""Actions on the command line are recorded, and `conveyor audit` shows them."""

from __future__ import annotations

import getpass
import socket
from typing import Any


def test_audit_lists_actions_with_their_reasons(at_server: Any, conveyor: Any) -> None:
    first, _ = conveyor("produce", "shape", 1, "--count", 2).out.split()
    assert conveyor("pause", "shapes", "--reason", "too hot").code == 0
    assert conveyor("resume", "shapes", "--reason", "cool").code == 0
    assert conveyor("cancel", first, "--reason", "wrong").code == 0
    assert conveyor("purge", "shapes", "--yes", "--reason", "over").code == 0
    assert conveyor("retry", "--all", "shapes", "--reason", "again").code == 0
    found = conveyor("audit", "--json").document
    assert found["schema"] == "conveyor.audit/v1"
    told = [(act["action"], act["reason"], act["outcome"]) for act in found["acts"]]
    assert told == [
        ("retry_jobs", "again", "done"),
        ("retry_jobs", "again", "begun"),
        ("purge_queue", "over", "done"),
        ("purge_queue", "over", "begun"),
        ("cancel_job", "wrong", "cancelled"),
        ("resume_queue", "cool", "done"),
        ("pause_queue", "too hot", "done"),
    ]
    cancel = found["acts"][4]
    assert (cancel["target"], cancel["queue"]) == (first, "shapes")
    assert (cancel["before"], cancel["after"]) == (
        {"state": "waiting", "task": "shape"},
        {"state": "cancelled"},
    )
    assert (cancel["who"], cancel["origin"]) == (getpass.getuser(), f"cli@{socket.gethostname()}")
    table = conveyor("audit", "-n", 1)
    assert table.out.split()[:3] == ["TIME", "USER", "ACTION"]
    assert len(table.out.splitlines()) == 2
    older = conveyor("audit", "--before", found["acts"][4]["id"], "--json").document
    assert [act["action"] for act in older["acts"]] == ["resume_queue", "pause_queue"]


def test_audit_shows_no_secret_of_a_reason(at_server: Any, conveyor: Any) -> None:
    conveyor("produce", "shape", 1)
    assert conveyor("pause", "shapes", "--reason", "hot, password=s3cr3t").code == 0
    assert "hot, password=•••" in conveyor("audit", COLUMNS="300").out
    (act,) = conveyor("audit", "--json").document["acts"]
    assert act["reason"] == "hot, password=•••"


def test_stop_of_workers_is_recorded(at_server: Any, conveyor: Any, start_consumer: Any) -> None:
    process = start_consumer("held", "-n", 1)
    assert conveyor("kill", "--all", "--reason", "holiday").code == 0
    process.wait(20)
    (act,) = conveyor("audit", "--json").document["acts"]
    assert (act["action"], act["reason"], act["outcome"]) == ("stop_workers", "holiday", "told")


def test_empty_audit_trail_is_reported(at_server: Any, conveyor: Any) -> None:
    assert conveyor("audit").err.endswith("No actions yet.\n")
    assert conveyor("audit", "--json").document["acts"] == []
    assert conveyor("audit", "--before", "yesterday").code == 2
