"""The metrics for Prometheus with very many queues, and with none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metrics_kit import number, numbers

from conveyor.store import commands, keys
from conveyor.store.commands import PutParams
from conveyor.wire.statistics import OTHER

if TYPE_CHECKING:
    import pytest
    from api_kit import Api

    from conveyor.store.command import Command

LARGEST = 1_000_000
#: A supervisor's counts of a task: every outcome, and runs and waits of some lengths.
FIGURES = "b=12 s=5 f=3 c=1 t=1 l=1 e=1 r=2 d=1 R=9000000 R3=7 R6=5 W=1500000 W2=12"


def test_worker_metrics_are_zero_without_consumers(api: Api) -> None:
    assert number(api, "workers", queue=OTHER, state="busy") == 0
    assert number(api, "worker_heartbeat_age_seconds") == 0
    api.post("/jobs", {"task": "fail"})
    api.poller.poll_snapshot()
    assert number(api, "workers", queue="alpha", state="idle") == 0
    assert number(api, "workers", queue=OTHER, state="idle") is None


def test_empty_histograms_are_omitted(api: Api) -> None:
    api.post("/jobs", {"task": "fail"})
    assert not {name for name, _ in numbers(api) if name.startswith("conveyor_job_")}


def test_metrics_of_a_thousand_queues_are_below_a_megabyte(api: Api) -> None:
    names = [f"queue_{place:04}" for place in range(1000)]
    puts: list[Command] = []
    tallies: list[Command] = []
    for place, name in enumerate(names):
        tasks = [(f"shop.prices.task_{task}", FIGURES) for task in range(5)]
        jobs = [(f"{name}{job}", b"x") for job in range(2 if place >= 950 else 1)]
        puts += [commands.note_queue(name), commands.put(name, jobs, PutParams())]
        tallies.append(commands.tally(name, "rack-1", 1, None, tasks))
    api.client.run_all(
        puts
    )  # in one round trip, a script that the server must first be taught would run last
    api.client.run_all(tallies)
    text = api.ask("GET", "/metrics").text
    assert len(text) < LARGEST
    found = numbers(api)
    queues = {dict(labels).get("queue") for _, labels in found} - {None, OTHER}
    assert queues == {*names[:50], *names[950:]}, "those that took the most jobs"

    def summed(metric: str) -> float:
        return sum(value for (name, _), value in found.items() if name == f"conveyor_{metric}")

    def labelled(metric: str, **labels: str) -> float | None:
        return found.get((f"conveyor_{metric}", frozenset(labels.items())))

    assert summed("jobs_enqueued_total") == 1050
    assert labelled("jobs_enqueued_total", queue=OTHER) == 900
    assert summed("jobs_started_total") == 5 * 12 * 1000
    assert summed("job_run_seconds_count") == 5 * 12 * 1000
    assert labelled("queue_jobs", queue=OTHER, state="waiting") == 900
    assert labelled("queue_paused", queue=OTHER) is None
    told_of = {"queue": names[0], "task": "shop.prices.task_0"}
    buckets = [labelled("job_run_seconds_bucket", **told_of, le=le) for le in ("0.25", "0.5", "2.5", "5")]
    assert buckets == [0, 7, 7, 12]
    assert labelled("job_run_seconds_sum", **told_of) == 9


def test_metrics_sum_up_queues_beyond_the_limit(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conveyor.dashboard.metrics.MAX_LABELLED", 2)
    monkeypatch.setattr("conveyor.dashboard.metrics.MAX_QUERIED", 4)
    names = [f"queue_{place}" for place in range(9)]
    for name in names:
        api.client.run_all([commands.note_queue(name), commands.put(name, [(f"{name}x", b"x")], PutParams())])
        every = commands.tally(keys.ALL_QUEUES, name, 1, None, [("*", FIGURES)])
        api.client.run_all([commands.tally(name, "rack-1", 1, None, [("cut", FIGURES)]), every])
    found = numbers(api)

    def summed(metric: str) -> float:
        return sum(value for (name, _), value in found.items() if name == f"conveyor_{metric}")

    assert summed("jobs_enqueued_total") == summed("workers_lost_total") == 9
    assert summed("jobs_started_total") == summed("job_run_seconds_count") == 9 * 12
    assert summed("job_wait_seconds_sum") == 9 * 1.5
    assert number(api, "jobs_started_total", queue=OTHER, task=OTHER) == 7 * 12
    assert number(api, "queue_jobs", queue=OTHER, state="waiting") == 7
