"""Workers are paused and resumed by name, and show their stacks."""

from __future__ import annotations

from typing import Any

import pytest

from conveyor import clock
from conveyor.cli import control, control_targets
from conveyor.monitor import Inspector
from conveyor.store import control_channel
from conveyor.wire import control_messages
from conveyor.wire.control_messages import ConsumerReport, WorkerReport


@pytest.fixture
def name(at_server: Any, start_consumer: Any, eventually: Any) -> str:
    """Start a consumer of two workers and return its name."""
    start_consumer("held", "-n", 2)

    def idle() -> Any:
        (found,) = Inspector(at_server.client).consumers()
        return [one.state for one in found.workers] == ["idle", "idle"] and found.name

    return eventually(idle)


def states(done: Any) -> dict[str, str]:
    return {one["name"]: one["state"] for one in done.document["targets"]}


def test_worker_is_paused_and_resumed_by_its_name(conveyor: Any, name: str, eventually: Any) -> None:
    done = conveyor("pause", f"{name}/2")
    assert (done.code, done.out) == (0, f"{name}/2: acknowledged\n{name}/2: done\n")
    assert f"1 worker paused.\nTo resume: conveyor resume {name}/2\n" in done.err

    def workers() -> Any:
        (found,) = conveyor("workers", "--json").document["consumers"]
        return {one["name"]: (one["state"], one["paused"]) for one in found["workers"]}

    eventually(lambda: workers() == {f"{name}/1": ("idle", False), f"{name}/2": ("paused", True)})
    assert "paused" in conveyor("workers").out
    done = conveyor("resume", f"{name}/2")
    assert (done.code, done.out) == (0, f"{name}/2: acknowledged\n{name}/2: done\n")
    eventually(lambda: ("paused", True) not in workers().values())


def test_whole_consumer_is_paused_by_its_name_prefix(conveyor: Any, name: str) -> None:
    for verb in ("pause", "resume"):
        done = conveyor(verb, name[:-1], "--json")
        assert done.document["schema"] == f"conveyor.{verb}-workers/v1"
        assert states(done) == {name: "done", f"{name}/1": "done", f"{name}/2": "done"}


def test_pause_of_a_busy_worker_takes_effect_later(
    conveyor: Any, name: str, folder: Any, eventually: Any
) -> None:
    job = conveyor("produce", "hold", folder / "go").out.strip()
    running = ("jobs", "held", "--state", "running", "--json")
    (worker,) = eventually(
        lambda: [one["worker"] for one in conveyor(*running).document["jobs"] if one["worker"]]
    )
    done = conveyor("pause", worker, "--timeout", 1)
    assert done.code == 0
    assert f"{worker}: acknowledged, runs job {job}" in done.out
    assert "1 worker will pause after the current job" in done.err
    assert "busy, paused" in eventually(lambda: "busy, paused" in (out := conveyor("workers").out) and out)
    (folder / "go").touch()


def test_interrupted_pause_does_not_advise_to_resume(
    at_server: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    worker = WorkerReport("rack-0001/1", 100, "idle")
    now = clock.wall()
    report = ConsumerReport("rack-0001", "rack", 99, ["held"], "process", now, [worker], at=now)
    at_server.client.run(control_channel.report(report.name, control_messages.encode(report), now))

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(control_targets, "follow_command", interrupt)
    monkeypatch.setenv("CONVEYOR_URL", at_server.url)
    assert control.pause(worker.name) == 130
    err = capsys.readouterr().err
    assert "the command stays in effect" in err
    assert "To resume" not in err


def test_queue_name_takes_precedence_over_a_consumer_name(conveyor: Any, name: str) -> None:
    assert conveyor("pause", "held").out.startswith("held is paused")
    assert "held is resumed" in conveyor("resume", "held").out
    assert conveyor("pause", f"{name}/7").code == 3
    assert conveyor("pause", f"{name}/").code == 2
    assert conveyor("pause", "nowhere").code == 3
    assert conveyor("pause", "").code != 0


def test_stack_of_a_running_job_names_its_line(
    conveyor: Any, name: str, folder: Any, eventually: Any
) -> None:
    job = conveyor("produce", "hold", folder / "go").out.strip()
    eventually(lambda: conveyor("job", job, "--json").document["state"] == "running")
    done = conveyor("job", job, "--stack")
    assert done.code == 0
    assert "tasks.py" in done.out
    assert "in hold" in done.out
    assert "in hold" in conveyor("job", job, "--stack", "--json").document["stack"]
    (folder / "go").touch()
    eventually(lambda: conveyor("job", job, "--json").document["state"] == "done")
    over = conveyor("job", job, "--stack")
    assert (over.code, "it is done, not running" in over.err) == (5, True)


def test_workers_show_cpu_and_memory_if_there_is_room(conveyor: Any, name: str) -> None:
    (consumer,) = conveyor("workers", "--json").document["consumers"]
    assert consumer["cores"] >= 1
    assert all(one["memory"] > 1_000_000 and one["cpu"] >= 0 for one in consumer["workers"])
    heading, first = conveyor("workers").out.splitlines()[:2]
    assert heading.split()[-3:] == ["CPU", "MEMORY", "PROGRESS"]
    assert first.endswith(" MiB")
