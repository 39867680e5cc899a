"""`conveyor consume` becomes the supervisor: process id, signals and exit code are the consumer's own."""

from __future__ import annotations

import signal
from typing import Any

from conveyor.cli.consume import command_of
from conveyor.consumer.settings import ConsumerSettings


def test_until_empty_consumer_exits_once_the_queue_is_empty(
    at_server: Any, conveyor: Any, start_consumer: Any
) -> None:
    conveyor("produce", "shape", 1, "--count", 5)
    assert start_consumer("shapes", "-n", 2, "--until-empty").wait(20) == 0
    assert conveyor("queues", "--json").document["queues"][0]["finished"] == 5


def test_consumer_exits_cleanly_on_a_signal(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any
) -> None:
    process = start_consumer("shapes", "-n", 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    told = (folder / "consumer-0.log").read_text()
    assert "the server keeps jobs at the level memory; a restart of the server loses all jobs" in told
    assert "has exited, 0 jobs done" in told
    assert conveyor("workers", "--json").document["consumers"] == []


def test_log_distinguishes_killed_workers_from_exited_ones(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any, eventually: Any
) -> None:
    for number, ending in enumerate(("kill", "grace")):
        process = start_consumer("held", "-n", 1, "--grace", 0)
        job = conveyor("produce", "hold", folder / "never").out.strip()
        eventually(lambda job=job: conveyor("job", job, "--json").document["state"] == "running")
        if ending == "kill":
            assert conveyor("kill", "--all", "--now", "--reason", "late").code == 0
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        told = (folder / f"consumer-{number}.log").read_text()
        assert ("/1 was killed: late\n" in told) == (ending == "kill")
        assert ("/1 released its job and exited\n" in told) == (ending == "grace")
        assert "has exited, 0 jobs done" in told
        assert conveyor("cancel", job).code == 0


def test_tasks_are_loaded_from_the_named_modules(
    at_server: Any, conveyor: Any, start_consumer: Any, folder: Any
) -> None:
    (folder / "more.py").write_text("def double(number: int) -> int:\n    return 2 * number\n")
    start_consumer("default", "-n", 1, "--tasks", "more")
    done = conveyor("produce", "more.double", 21, "--tasks", "more", "--wait", "--json")
    assert done.document["result"] == 42
    done = conveyor("consume", "default", "--tasks", "nonesuch")
    assert done.code == 1
    assert "python -c 'import nonesuch'" in done.err


def test_command_to_repeat_has_all_options() -> None:
    settings = ConsumerSettings(
        queues=("shapes",),
        workers=4,
        kind="thread",
        processes=2,
        max_memory=1_000_000_000,
        leave_grace=2.5,
        log_level="debug",
        prints=True,
        until_empty=True,
    )
    command = "conveyor consume shapes -n 4 --kind thread --processes 2 --max-memory 1000000000 --grace 2.5"
    assert (
        " ".join(command_of(settings, "--reload"))
        == f"{command} --log-level debug --prints --until-empty --reload"
    )
    assert command_of(ConsumerSettings(queues=("shapes",), min_workers=1, max_workers=3))[3:] == [
        *("--min", "1", "--max", "3")
    ]


def test_unknown_kind_is_refused(at_server: Any, conveyor: Any) -> None:
    assert conveyor("consume", "shapes", "--kind", "steam").code == 2
