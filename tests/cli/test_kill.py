"""Workers are stopped from anywhere, and each target replies for itself."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.cli import control_targets
from conveyor.cli.control_targets import TargetSet, find_targets, send
from conveyor.monitor import Inspector, actions
from conveyor.monitor.follow import Target
from conveyor.store import Client
from conveyor.wire import control_messages

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def consumer(at_server: Any, start_consumer: Any, eventually: Any) -> Any:
    """Start a consumer of two workers and return its process and its name."""
    process = start_consumer("held", "-n", 2)

    def idle() -> Any:
        (found,) = Inspector(at_server.client).consumers()
        return [one.state for one in found.workers] == ["idle", "idle"] and found.name

    return process, eventually(idle)


def states(done: Any) -> dict[str, str]:
    return {one["name"]: one["state"] for one in done.document["targets"]}


def test_killed_worker_exits_and_is_not_replaced(conveyor: Any, consumer: Any) -> None:
    _, name = consumer
    done = conveyor("kill", f"{name}/2")
    assert (done.code, done.out) == (0, f"{name}/2: acknowledged\n{name}/2: done\n")
    (left,) = conveyor("workers", "--json").document["consumers"]
    assert [one["name"] for one in left["workers"]] == [f"{name}/1"]


def test_whole_consumer_stops_by_its_name_prefix(conveyor: Any, consumer: Any) -> None:
    process, name = consumer
    done = conveyor("kill", name[:-1], "--json")
    assert states(done) == {name: "done", f"{name}/1": "done", f"{name}/2": "done"}
    assert process.wait(20) == 0


@pytest.mark.parametrize("whom", [("--all",), ("-q", "held")])
def test_all_workers_stop(conveyor: Any, consumer: Any, whom: tuple[str, ...]) -> None:
    process, _ = consumer
    done = conveyor("kill", *whom, "--reason", "a test")
    assert done.code == 0
    assert "2 workers stopped." in done.err
    assert process.wait(20) == 0


def test_ambiguous_name_is_refused(conveyor: Any, consumer: Any) -> None:
    _, name = consumer
    done = conveyor("kill", f"{name}/")
    assert done.code == 2
    assert f"matches {name}/1 and {name}/2" in done.err


def test_long_job_finishes_first_or_is_released_with_now(
    at_server: Any, conveyor: Any, consumer: Any, folder: Any, eventually: Any
) -> None:
    process, name = consumer
    job = conveyor("produce", "hold", folder / "go").out.strip()
    eventually(lambda: at_server.raw.zcard("conveyor:{held}:leased"))
    asked = conveyor("kill", "--all", "--timeout", "0.5")
    assert asked.code == 0
    assert f"acknowledged, finishes job {job} first" in asked.out
    assert "1 worker will stop after the current job" in asked.err
    at_once = conveyor("kill", name, "--now")
    assert at_once.code == 0
    assert f"acknowledged, job {job} returns to the queue" in at_once.out
    assert process.wait(20) == 0
    assert conveyor("job", job, "--json").document["state"] == "waiting"


@pytest.mark.parametrize(
    ("verb", "state", "summary"),
    [
        ("stop", "acknowledged", "1 worker will stop after the current job (--now does not wait for it).\n"),
        ("kill", "acknowledged", "1 worker still stopping.\n"),
        ("pause", "acknowledged", "1 worker will pause after the current job.\n"),
        ("resume", "acknowledged", "1 worker still resuming.\n"),
        ("pause", "unknown", "too late for 1 worker, where nothing was done.\n"),
    ],
)
def test_summary_names_what_will_happen_or_did_not(
    at_server: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    verb: str,
    state: str,
    summary: str,
) -> None:
    def reply(_client: Client, _id: str, targets: dict[str, Target], *_: float) -> Iterator[Target]:
        for target in targets.values():
            target.state = state
            yield target

    monkeypatch.setattr(control_targets, "follow_command", reply)
    client = Client(at_server.url)
    to = TargetSet(["host-ab12/1"], {"host-ab12/1": Target("host-ab12/1")})
    assert send(client, to, verb, timeout=0.0) == (state == "unknown")
    assert capsys.readouterr().err == summary
    client.close()


def test_kill_targets_the_job_the_worker_was_listed_with(
    at_server: Any, conveyor: Any, consumer: Any, folder: Any, eventually: Any
) -> None:
    process, name = consumer
    job = conveyor("produce", "hold", folder / "go").out.strip()
    (busy,) = eventually(
        lambda: [
            one["name"]
            for one in conveyor("workers", "--json").document["consumers"][0]["workers"]
            if one["job"] and one["job"]["id"] == job
        ]
    )
    process.send_signal(signal.SIGSTOP)  # so that the command stays where it can be read
    try:
        at_server.raw.delete(f"conveyor:control:{name}")
        at_server.raw.client_kill_filter(
            _type="normal", skipme=True
        )  # its connection takes no order meanwhile
        assert conveyor("kill", busy, "--now", "--timeout", "0.1").code == 1
        (order,) = map(
            control_messages.decode_command, at_server.raw.lrange(f"conveyor:control:{name}", 0, -1)
        )
    finally:
        process.send_signal(signal.SIGCONT)
    assert (order.workers, order.job) == ([busy], job)
    (folder / "go").touch()


def test_suspended_consumer_sends_no_reply(conveyor: Any, consumer: Any) -> None:
    process, name = consumer
    process.send_signal(signal.SIGSTOP)
    try:
        done = conveyor("kill", name, "--timeout", "0.1")
    finally:
        process.send_signal(signal.SIGCONT)
    assert done.code == 1
    assert f"{name}: no answer" in done.out
    assert "3 targets did not reply" in done.err
    assert process.wait(20) == 0, "it obeys once it can"


def test_late_kill_is_reported_as_too_late(
    at_server: Any, conveyor: Any, consumer: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    _, name = consumer
    client = Client(at_server.url)
    targets = find_targets(Inspector(client).consumers(), [f"{name}/1"])
    monkeypatch.setitem(actions.EXPIRES_AFTER, "kill", -7.0)
    assert send(client, targets, "kill", timeout=10.0) == 1
    told = capsys.readouterr()
    assert f"{name}/1: too late: it came 7." in told.out
    assert "too late for 1 worker, where nothing was done" in told.err
    client.close()
