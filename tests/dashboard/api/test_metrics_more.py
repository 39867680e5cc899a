"""The metrics for Prometheus that are measured, refused, or about this process; and the use of their names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from api_kit import Api
from api_tasks import greet
from metrics_kit import number, numbers

from conveyor import Schedule, Schedules
from conveyor.dashboard import known_tasks
from conveyor.store import commands
from conveyor.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor import Queue

DOCS = Path(__file__).parents[3] / "docs"
#: The rights of a user created before actions were counted.
KEYS = ("~conveyor:{*", "~conveyor:queues", "~conveyor:consumer*", "~conveyor:operation*", "~conveyor:audit")
FILES = ("grafana.json", "alerts.yml")


def lose_workers(api: Api, queue: str, count: int) -> None:
    """Count as a supervisor would."""
    api.client.run(commands.tally(queue, "host-1", 1, None, [("fail", f"d={count}")]))


@pytest.fixture
def worked(api: Api, queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]) -> Api:
    """Provide the API of a server on which every event with a metric has happened."""
    api.post("/jobs", {"task": "greet", "arguments": {"name": "Bob"}, "queue": queue.name})
    consume(workers=1, modules=("api_tasks",))
    eventually(lambda: "conveyor_job_run_seconds" in api.ask("GET", "/metrics").text)
    api.post(f"/queues/{queue.name}/pause")
    lose_workers(api, queue.name, 2)
    Schedules(queue).add(greet, Schedule(every=86_400, name="daily", args=("Bob",)))
    return api


def test_waiting_jobs_of_a_paused_queue_are_paused(api: Api) -> None:
    api.post("/jobs", {"task": "fail", "count": 3})
    api.post("/queues/alpha/pause")
    states = {state: number(api, "queue_jobs", queue="alpha", state=state) for state in ("waiting", "paused")}
    assert states == {"waiting": 0, "paused": 3}
    api.post("/queues/alpha/resume")
    assert number(api, "queue_jobs", queue="alpha", state="waiting") == 3


def test_instants_of_schedules_are_counted(
    api: Api, queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    Schedules(queue).add(greet, Schedule(every=1, name="often", args=("Bob",)))
    consume(workers=1, modules=("api_tasks",))
    labels = {"queue": queue.name, "schedule": "often"}
    eventually(lambda: (number(api, "schedule_instants_total", outcome="fired", **labels) or 0) > 1)
    assert number(api, "schedule_instants_total", outcome="skipped", **labels) == 0


def test_actions_are_counted_by_outcome(api: Api) -> None:
    api.post("/jobs", {"task": "fail"})
    for _ in range(2):
        api.post("/queues/alpha/pause")
    api.refusal("POST", "/jobs/no-such-job/cancel", {"queue": "alpha"})
    assert number(api, "control_commands_total", command="pause_queue", outcome="done") == 2
    assert number(api, "control_commands_total", command="enqueue", outcome="done") == 1
    assert number(api, "control_commands_total", command="cancel_job", outcome="unchanged") == 1


def test_memory_is_measured_for_the_first_queues(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conveyor.dashboard.metrics.MAX_MEASURED", 1)
    api.post("/jobs", {"task": "fail", "count": 100})
    api.post("/jobs", {"task": "fail", "queue": "beta"})
    size = number(api, "queue_memory_bytes", queue="alpha")
    assert size is not None
    assert 5_000 < size < 500_000
    assert number(api, "queue_memory_bytes", queue="beta") is None


@pytest.fixture
def limited(one_server: Any) -> Iterator[Api]:
    """Provide the API with a server user that may neither measure memory nor count actions."""
    one_server.raw.execute_command(
        "ACL", "SETUSER", "limited", "on", ">word", *KEYS, "+@all", "-memory", "-info"
    )
    known_tasks.use(("api_tasks",))
    made = Api(Client(one_server.url_of("limited", "word")))
    yield made
    made.close()
    one_server.raw.execute_command("ACL", "DELUSER", "limited")


def test_refused_metrics_are_omitted_and_queried_once(limited: Api, one_server: Any) -> None:
    limited.post("/jobs", {"task": "fail"})
    for _ in range(2):
        found = {name for name, _ in numbers(limited)}
        assert "conveyor_queue_jobs" in found
        assert not {"conveyor_queue_memory_bytes", "conveyor_control_commands_total"} & found
        assert number(limited, "backend_up") == 1
    refused = {
        one["object"]: one["count"] for one in one_server.raw.acl_log() if one["username"] == "limited"
    }
    assert int(refused["memory|usage"]) == 4, (
        refused
    )  # of two keys; together with the rest, then alone, then no more


def test_server_is_named_and_its_latency_measured(api: Api) -> None:
    api.post("/jobs", {"task": "fail"})
    found = numbers(api)
    (facts,) = [dict(labels) for name, labels in found if name == "conveyor_build_info"]
    assert re.fullmatch(r"(redis|valkey) \d+\.\d+\.\d+", facts["backend"])
    for command in ("sample", "act"):
        count = number(api, "backend_command_seconds_count", command=command)
        assert count is not None
        assert count >= 1
        assert number(api, "backend_command_seconds_bucket", command=command, le="+Inf") == count
    assert number(api, "dashboard_sample_seconds_count") == 0  # no page is open


def test_counters_never_decrease_if_the_dashboard_restarts(worked: Api, queue: Queue) -> None:
    def counters(api: Api) -> dict[Any, float]:
        return {
            one: value
            for one, value in numbers(api).items()
            if one[0].endswith("_total") or one[0].startswith("conveyor_job_")
        }

    before = counters(worked)
    assert before["conveyor_workers_lost_total", frozenset({"queue": queue.name}.items())] == 2
    anew = Api(worked.client)
    try:
        after = counters(anew)
        assert {one for one, value in before.items() if after.get(one, -1.0) < value} == set()
        anew.post(f"/queues/{queue.name}/resume")
        last = counters(anew)
        assert {one for one, value in after.items() if last.get(one, -1.0) < value} == set()
    finally:
        anew.close()


@pytest.mark.parametrize("file", FILES)
def test_dashboard_and_alert_files_use_existing_metrics(worked: Api, file: str) -> None:
    labels: dict[str, set[str]] = {}
    for name, given in numbers(worked):
        labels.setdefault(name, set()).update(dict(given))
    expressions = list(_expressions(file))
    assert len(expressions) > 5
    for expression in expressions:
        names = re.findall(r"conveyor_\w+", expression)
        assert names, expression
        assert set(names) <= set(labels), expression
        known = set().union(*(labels[name] for name in names))
        asked = re.findall(r"(\w+)=~?\"", expression)
        asked += [
            one for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for one in group.split(", ")
        ]
        assert set(asked) <= known, expression
        assert expression.count("(") == expression.count(")")
    states = set(re.findall(r'state="(\w+)"', "".join(expressions)))
    assert states <= {
        dict(given).get("state") for name, given in numbers(worked) if name == "conveyor_queue_jobs"
    }


def _expressions(file: str) -> Iterator[str]:
    text = (DOCS / file).read_text()
    if file.endswith(".json"):
        told = json.loads(text)
        ids = [panel["id"] for panel in told["panels"]]
        assert len(ids) == len(set(ids))
        for panel in told["panels"]:
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
            yield from (target["expr"] for target in panel["targets"])
        return
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= set(rule)
            yield rule["expr"]
