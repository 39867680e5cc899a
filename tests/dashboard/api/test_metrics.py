"""The metrics for Prometheus: its own parser reads them, and they are true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics_kit import number, numbers
from prometheus_client.parser import text_string_to_metric_families

from conveyor.dashboard import known_tasks
from conveyor.dashboard.metrics import Metric, Value, exposition

if TYPE_CHECKING:
    from api_kit import Api

    from conveyor import Queue


def test_current_state_is_measured(api: Api) -> None:
    for _ in range(3):
        api.post("/jobs", {"task": "fail"})
    api.post("/jobs", {"task": "fail", "delay": 60})
    assert number(api, "queue_jobs", queue="alpha", state="waiting") == 3
    assert number(api, "queue_jobs", queue="alpha", state="scheduled") == 1
    assert number(api, "jobs_enqueued_total", queue="alpha") == 4
    assert number(api, "queue_paused", queue="alpha") == 0
    assert number(api, "backend_up") == 1
    oldest = number(api, "queue_oldest_waiting_seconds", queue="alpha")
    assert oldest is not None
    assert 0 <= oldest < 60


def test_completed_runs_are_measured(api: Api, consume: Any, queue: Queue, eventually: Any) -> None:
    known_tasks.use(("consumer_jobs",))
    for task, count in (("consumer_jobs.nothing", 4), ("consumer_jobs.unhappy", 2)):
        api.post("/jobs", {"task": task, "queue": queue.name, "count": count})
    consume(workers=2)
    labels = {"queue": queue.name, "task": "consumer_jobs.nothing"}
    eventually(lambda: number(api, "jobs_finished_total", **labels, outcome="succeeded") == 4)
    failed = {"queue": queue.name, "task": "consumer_jobs.unhappy", "outcome": "failed"}
    eventually(lambda: number(api, "jobs_finished_total", **failed) == 2)
    found = numbers(api)
    assert found["conveyor_jobs_started_total", frozenset(labels.items())] == 4
    assert found["conveyor_job_run_seconds_count", frozenset(labels.items())] == 4
    assert found["conveyor_job_run_seconds_bucket", frozenset({**labels, "le": "+Inf"}.items())] == 4
    assert found["conveyor_job_wait_seconds_count", frozenset({"queue": queue.name}.items())] == 6
    eventually(lambda: number(api, "worker_slots", state="idle") == 2)
    age = number(api, "worker_heartbeat_age_seconds")
    assert age is not None
    assert age < 30


def test_metric_labels_and_help_are_escaped() -> None:
    odd = 'a "task"\\with\nlines'
    text = exposition([Metric("jobs", "gauge", "Some\nwords \\ here.", [Value((("task", odd),), 1.5)])])
    (family,) = text_string_to_metric_families(text)
    assert family.documentation == "Some\nwords \\ here."
    assert (family.samples[0].labels["task"], family.samples[0].value) == (odd, 1.5)


def test_metrics_are_unique_and_only_counters_end_in_total(api: Api) -> None:
    api.post("/jobs", {"task": "fail"})
    text = api.ask("GET", "/metrics").text
    kinds = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")]
    names = [name for name, _ in kinds]
    assert len(names) == len(set(names))
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds)


def test_number_of_labels_is_bounded(
    api: Api, consume: Any, queue: Queue, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("conveyor.dashboard.metrics.MAX_TASKS", 1)
    consume(workers=1, modules=("api_tasks",))
    for task in ("fail", "greet", "spread"):
        arguments = {"greet": {"name": "Bob"}, "spread": {"part": 1}}.get(task, {})
        api.post("/jobs", {"task": task, "queue": queue.name, "arguments": arguments})
    rest = {"queue": queue.name, "task": "_other"}
    eventually(lambda: number(api, "jobs_started_total", **rest) == 2)
    tasks = {dict(labels).get("task") for _, labels in numbers(api)}
    assert tasks == {None, "fail", "_other"}
