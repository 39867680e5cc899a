"""The manual lists all endpoints and metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from api_tasks import greet
from manual_kit import rows

from conveyor import Schedule, Schedules
from conveyor.dashboard.api import ENDPOINTS

if TYPE_CHECKING:
    from api_kit import Api

    from conveyor import Queue


def test_table_of_endpoints_matches_the_code() -> None:
    assert rows("endpoints") == [[one.method, f"`{one.path}`", one.right, one.summary] for one in ENDPOINTS]


def test_table_of_metrics_matches_a_working_server(
    api: Api, consume: Any, queue: Queue, eventually: Any
) -> None:
    api.post("/jobs", {"task": "greet", "arguments": {"name": "Bob"}, "queue": queue.name})
    Schedules(queue).add(greet, Schedule(every=86_400, name="daily", args=("Bob",)))
    consume(workers=1, modules=("api_tasks",))
    eventually(lambda: "conveyor_job_run_seconds" in api.ask("GET", "/metrics").text)
    eventually(lambda: "conveyor_worker_heartbeat_age_seconds" in api.ask("GET", "/metrics").text)
    text = api.ask("GET", "/metrics").text
    told = [tuple(line.split()[2:]) for line in text.splitlines() if line.startswith("# TYPE")]
    listed = [(name.strip("`"), kind) for name, kind, _ in rows("metrics")]
    assert sorted(told) == sorted(listed)
    labels = {name.strip("`"): set(re.findall(r"`(\w+)`", words)) for name, _, words in rows("metrics")}
    for name, given in re.findall(r"^(conveyor_\w+?)(?:_bucket|_sum|_count)?\{(.*)\}", text, re.MULTILINE):
        assert set(re.findall(r"(\w+)=", given)) - {"le"} == labels[name], name
