"""The embedded server from the command line, and the doctor."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def embedded(conveyor: Any) -> Iterator[Any]:
    """Provide the commands with a separate embedded server and stop it afterwards."""
    yield conveyor
    pid = conveyor("server", "status", "--json").document["pid"]
    conveyor("server", "stop")
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_embedded_server_starts_stops_and_keeps_waiting_jobs(embedded: Any, folder: Any) -> None:
    assert embedded("server", "status").out.startswith("The embedded server is not running.")
    assert not (folder / "home").exists(), "looking makes nothing"
    started = embedded("server", "start", "--json").document
    assert (started["schema"], started["running"]) == ("conveyor.server/v1", True)
    assert started["folder"] == str(folder / "home")
    job = embedded("produce", "shape", 1)
    assert "conveyor: embedded server at unix://" in job.err
    assert embedded("server", "stop").out.startswith("The embedded server stopped.")
    assert embedded("job", job.out.strip(), "--json").document["state"] == "waiting"


def test_doctor_reports_a_healthy_server_as_ok(embedded: Any) -> None:
    done = embedded("doctor")
    assert done.code == 0
    assert "append-only file" in done.out
    assert "All checks passed." in done.err


def verdicts(done: Any) -> dict[str, str]:
    return {one["about"]: one["verdict"] for one in done.document["findings"]}


def test_doctor_finds_settings_that_lose_jobs(at_server: Any, conveyor: Any) -> None:
    at_server.raw.config_set("maxmemory", "100mb")
    at_server.raw.config_set("maxmemory-policy", "allkeys-lru")
    conveyor("produce", "shape", 1)
    try:
        done = conveyor("doctor", "--json")
        text = conveyor("doctor")
    finally:
        at_server.raw.config_set("maxmemory-policy", "noeviction")
    assert done.code == 1
    found = verdicts(done)
    assert (found["persistence"], found["eviction"], found["shapes"]) == ("warn", "bad", "warn")
    assert (found["version"], found["latency"], found["clock"], found["client"]) == ("ok", "ok", "ok", "ok")
    assert "Try: conveyor consume shapes" in text.out
    assert "every queue: memory; not written or fsync: its append-only file is off" in text.out


def test_doctor_finds_an_unbalanced_ledger(at_server: Any, conveyor: Any) -> None:
    conveyor("produce", "shape", 1)
    at_server.raw.hincrby("conveyor:{shapes}:meta", "accepted", 3)
    done = conveyor("doctor")
    assert done.code == 1
    assert "3 jobs of 4 unaccounted for" in done.out


def test_doctor_groups_queues_with_the_same_finding(at_server: Any, conveyor: Any) -> None:
    for number in range(5):
        Queue(f"shop{number}", store=at_server.client).put(number)
    for number in range(3):
        line = Queue(f"mail{number}", store=at_server.client)
        line.put(number)
        line.pause()
    done = conveyor("doctor")
    assert "5 queues have jobs and no workers: shop0, shop1, shop2 and 2 more" in done.out
    assert "Try: conveyor consume QUEUE" in done.out
    assert done.out.count("paused, 1 waiting") == 3
    assert "5 warnings." in done.err, "persistence is one of them"
    listed = {one["about"] for one in conveyor("doctor", "--json").document["findings"]}
    assert {f"shop{number}" for number in range(5)} < listed


def test_doctor_finds_jobs_whose_bytes_were_evicted(at_server: Any, conveyor: Any) -> None:
    conveyor("produce", "shape", 1)
    at_server.raw.delete("conveyor:{shapes}:jobs")
    done = conveyor("doctor")
    assert done.code == 1
    assert "1 job is incomplete: the server evicted some of its keys" in done.out
    assert "balance" not in done.out
    at_server.raw.flushall()


def test_doctor_counts_evicted_keys(at_server: Any, conveyor: Any, eventually: Any) -> None:
    raw = at_server.raw
    raw.config_set("maxmemory-policy", "allkeys-random")
    raw.config_set("maxmemory", int(raw.info("memory")["used_memory"]) + (1 << 20))
    try:
        for number in range(30):
            raw.set(f"other{number}", b"x" * 100_000)
        done = conveyor("doctor", "--json")
        raw.config_set("maxmemory-policy", "noeviction")
        raw.config_set("maxmemory", 0)
        later = conveyor("doctor", "--json")
    finally:
        raw.config_set("maxmemory-policy", "noeviction")
        raw.flushall()
        raw.config_resetstat()
    (first,) = (one for one in done.document["findings"] if one["about"] == "eviction")
    (second,) = (one for one in later.document["findings"] if one["about"] == "eviction")
    assert (first["verdict"], second["verdict"]) == ("bad", "warn")
    assert all("keys evicted since the server started" in one["message"] for one in (first, second))


@pytest.mark.parametrize(
    ("fsync", "verdict", "means", "levels"),
    [
        ("always", "ok", "no accepted job is lost", "memory, written, fsync"),
        (
            "everysec",
            "ok",
            "a kill of the server while its disk is busy",
            "memory, written; not fsync: it syncs once a second",
        ),
        (
            "no",
            "warn",
            "a power cut may lose half a minute",
            "memory, written; not fsync: it never syncs its append-only file (appendfsync no)",
        ),
    ],
)
def test_doctor_explains_the_fsync_policy(
    at_server: Any, conveyor: Any, fsync: str, verdict: str, means: str, levels: str
) -> None:
    at_server.raw.config_set("appendonly", "yes")
    at_server.raw.config_set("appendfsync", fsync)
    try:
        done = conveyor("doctor", "--json")
    finally:
        at_server.raw.config_set("appendonly", "no")
        at_server.raw.config_set("appendfsync", "everysec")
    (found,) = (one for one in done.document["findings"] if one["about"] == "persistence")
    assert found["verdict"] == verdict
    assert means in found["message"]
    (found,) = (one for one in done.document["findings"] if one["about"] == "durability")
    assert found["message"].startswith(f"every queue: {levels}")


def test_doctor_finds_a_replica(at_server: Any, conveyor: Any) -> None:
    at_server.raw.replicaof("127.0.0.1", 1)
    try:
        done = conveyor("doctor", "--json")
    finally:
        at_server.raw.replicaof("NO", "ONE")
    assert done.code == 1
    assert verdicts(done)["role"] == "bad"
