"""The number of workers of a running consumer is changed by `conveyor scale`."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor.monitor import Inspector


@pytest.fixture
def name(at_server: Any, start_consumer: Any, eventually: Any) -> str:
    """Start a consumer of two workers and return its name."""
    start_consumer("held", "-n", 2)
    return str(
        eventually(lambda: [one.name for one in Inspector(at_server.client).consumers() if one.workers])[0]
    )


def workers(conveyor: Any) -> list[str]:
    (found,) = conveyor("workers", "--json").document["consumers"]
    return [one["name"] for one in found["workers"]]


def test_workers_are_added_and_stopped(conveyor: Any, name: str, eventually: Any) -> None:
    done = conveyor("scale", name, "+2", "--reason", "a rush")
    assert (done.code, done.out) == (
        0,
        f"{name}: acknowledged, 2 to 4 workers\n{name}: done, 2 to 4 workers\n",
    )
    assert eventually(lambda: workers(conveyor) == [f"{name}/{number}" for number in range(1, 5)])
    done = conveyor("scale", name[:-1], "-3")
    assert (done.code, done.out.count("4 to 1 workers")) == (0, 2)
    done = conveyor("scale", name, 3, "--json")
    assert done.document == {
        "schema": "conveyor.scale/v1",
        "targets": [{"name": name, "state": "done", "before": 1, "after": 3}],
    }
    entries = conveyor("audit", "--json").document["acts"]
    assert [(one["action"], one["target"], one["reason"]) for one in entries] == [
        ("scale_workers", name, reason) for reason in ("", "", "a rush")
    ]
    assert entries[-1]["after"]["workers"] == "+2"
    assert f"scale_workers +2  {name}" in conveyor("audit", COLUMNS="300").out


def test_consumer_without_workers_is_listed(conveyor: Any, name: str, eventually: Any) -> None:
    assert conveyor("scale", name, 0).code == 0
    for command in ("workers", "status"):
        assert eventually(
            lambda command=command: "no workers" in (out := conveyor(command).out) and name in out
        )
    assert conveyor("scale", name, "+1").code == 0
    assert eventually(lambda: workers(conveyor) == [f"{name}/1"])


def test_impossible_scales_are_refused(conveyor: Any, name: str) -> None:
    for number in ("two", "1001", "--", "-x", "1.5"):
        assert conveyor("scale", name, number).code == 2, number
    done = conveyor("scale", f"{name}/1", 3)
    assert done.code == 2
    assert f"name its consumer: {name}" in done.err
    assert conveyor("scale", "nobody", 3).code == 3
    done = conveyor("scale", name, "auto")
    assert done.code == 1
    assert done.out == f"{name}: refused: it was started with a fixed number of workers\n"
    done = conveyor("scale", name, "auto", "--json")
    assert done.document["targets"] == [{"name": name, "state": "refused", "before": None, "after": None}]


def test_options_of_limits_are_passed_on(
    conveyor: Any, at_server: Any, start_consumer: Any, eventually: Any, folder: Any
) -> None:
    start_consumer("held", "--min", 2, "--max", 6, "--max-jobs", 100, "--max-memory", "1G")
    (found,) = eventually(lambda: Inspector(at_server.client).consumers())
    assert (found.min_workers, found.max_workers) == (2, 6)
    assert "2 workers, up to 6 as needed, on held." in (folder / "consumer-0.log").read_text()
    document = conveyor("workers", "--json").document["consumers"][0]
    assert (document["min_workers"], document["max_workers"]) == (2, 6)
    for words, message in [
        (("-n", 2, "--max", 3), "-n is a fixed number of workers; --min and --max let it follow what waits"),
        (("--min", 2), "--min needs --max"),
        (("--min", 5, "--max", 3), "--min must be at most --max, got 5 and 3"),
        (("--processes", 2), "add --kind thread or --kind coroutine"),
        (
            ("--kind", "thread", "-n", 2, "--processes", 3),
            "--processes must be at most the number of workers",
        ),
        (("-n", 1001), "start several consumers for more"),
        (
            ("--kind", "fiber"),
            "Invalid value for '--kind': 'fiber' is not one of 'process', 'thread', 'coroutine'",
        ),
        (("--max-memory", "512"), "max_memory must be at least 1048576 bytes"),
        (("--max-memory", "much"), "invalid size 'much'"),
        (("--max-jobs", 0), "--max-jobs"),
    ]:
        done = conveyor("consume", "held", *words)
        assert (done.code, message in done.err) == (2, True), (words, done.err)
