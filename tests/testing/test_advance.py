"""Delayed jobs become due as if time had passed; nothing else does."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

import pytest

from conveyor import BadCall, Consumer, JobExpired, Queue, Schedule, Schedules, current_job, task
from conveyor.store import commands
from conveyor.task_def.sleep import sleep
from conveyor.tasks import registry
from conveyor.testing import advance, run_jobs

HOUR = 3600.0


def test_delayed_job_becomes_due_when_its_time_has_passed(queue: Queue) -> None:
    job = sleep.options(delay=HOUR, queue="work").submit(0)
    assert (advance(HOUR - 60), job.status()) == (0, "delayed")
    assert (advance(timedelta(minutes=1)), job.status()) == (1, "waiting")
    assert run_jobs() == 1


def test_due_time_that_people_see_moves_along(queue: Queue) -> None:
    job = sleep.options(delay=HOUR, queue="work").submit(0)
    advance(HOUR / 2)
    left = queue.client.run(commands.state("work", job.id)).detail
    assert HOUR / 2 - 30 < left / 1000 <= HOUR / 2


def test_jobs_expire_as_time_passes(queue: Queue) -> None:
    brief, long = (sleep.options(expires=hours * HOUR, queue="work").submit(0) for hours in (1, 3))
    delayed = sleep.options(delay=HOUR, expires=1.5 * HOUR, queue="work").submit(0)
    assert advance(2 * HOUR) == 1
    assert run_jobs() == 3
    with pytest.raises(JobExpired):
        brief.result(30)
    assert long.result(30) < 1
    assert delayed.result(30) < 1
    assert queue.count().imbalance == 0


def test_all_due_jobs_of_all_queues_are_counted(queue: Queue) -> None:
    later = sleep.options(delay=HOUR)
    queue.submit_many(later, [(0,)] * 100)
    Queue("other").submit(later, 0)
    assert advance(HOUR) == 101
    assert queue.count().ready == 100


def test_clock_of_other_queues_stays(queue: Queue) -> None:
    later = sleep.options(delay=HOUR)
    queue.submit(later, 0)
    Queue("other").submit(later, 0)
    assert advance(HOUR, "other") == 1
    assert queue.count().delayed == 1


def test_delay_after_the_move_begins_then(queue: Queue) -> None:
    later = sleep.options(delay=HOUR)
    queue.submit(later, 0)
    advance(10 * HOUR)
    queue.submit(later, 0)
    assert (queue.count().ready, queue.count().delayed) == (1, 1)
    assert (advance(HOUR - 60), advance(60)) == (0, 1)


def test_worker_runs_what_became_due(queue: Queue, server: Any) -> None:
    with Consumer("work", workers=1, store=server.url):
        job = sleep.options(delay=HOUR, queue="work").submit(0)
        advance(HOUR)
        job.result(timeout=30)


def test_lease_does_not_expire(queue: Queue) -> None:
    queue.put("item")
    queue.submit(sleep.options(delay=HOUR), 0)
    queue.get()
    assert advance(100 * HOUR) == 1
    queue.client.run(commands.reap("work"))
    assert queue.count().leased == 1
    queue.task_done()


def test_unused_queue_is_left_alone(queue: Queue, server: Any) -> None:
    assert advance(HOUR, "never") == 0
    assert server.raw.keys("conveyor:{never}:*") == []


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_time_does_not_go_back(queue: Queue, seconds: float) -> None:
    with pytest.raises(BadCall, match="seconds must be between 0"):
        advance(seconds)


# --- schedules


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what two tasks with schedules have reported; they are registered for one test only."""
    done: list[str] = []
    monkeypatch.setattr(registry, "tasks", dict(registry.tasks))

    @task(name="tick", queue="work", every=3600, retries=1)
    def tick() -> None:
        done.append(current_job().id)

    @task(
        name="report",
        queue="work",
        schedule=Schedule(cron="30 2 * * *", timezone="Europe/Berlin", args=("sales",), overlap="skip"),
    )
    def report(of: str) -> None:
        done.append(of)

    return done


def test_schedules_of_imported_tasks_fire_as_time_passes(queue: Queue, reports: list[str]) -> None:
    assert advance(0, "work") == 0
    assert advance(timedelta(days=1)) == 25
    assert run_jobs() == 25
    assert reports.count("sales") == 1
    hours = sorted(one for one in reports if one != "sales")
    assert len(set(hours)) == 24
    assert all(re.fullmatch(r"tick:\d{4}-\d\d-\d\dT\d\d:00:00Z", one) for one in hours)
    assert advance(0) == 0


def test_overlap_is_that_of_jobs_not_run_in_between(queue: Queue, reports: list[str]) -> None:
    advance(timedelta(days=3), "work")
    run_jobs()
    (found,) = (one for one in Schedules("work").list() if one.name == "report")
    assert (reports.count("sales"), found.fired, found.skipped) == (1, 1, 2)
    for _ in range(3):
        advance(timedelta(days=1))
        run_jobs()
    assert reports.count("sales") == 4


def test_schedule_added_at_run_time_fires_with_jitter(queue: Queue) -> None:
    Schedules(queue).add(sleep, Schedule(every=60, jitter=30, name="nap", args=(0,)))
    advance(0)
    assert advance(600) in {9, 10}, "the last may be delayed still"
    advance(30)
    assert run_jobs() in {10, 11}, "it depends on the second of the minute"


def test_paused_schedule_does_not_fire(queue: Queue) -> None:
    schedules = Schedules(queue)
    schedules.add(sleep, Schedule(every=60, name="nap", args=(0,)))
    assert schedules.pause("nap")
    assert not schedules.pause("nap")
    assert advance(600) == 0
    assert schedules.resume("nap")
    assert advance(60) == 1, "the instants of the pause are not made up for"
