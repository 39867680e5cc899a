"""Celery."""

from __future__ import annotations

from typing import Any

from celery import Celery

from benchmarks.contestants.jobs import PLAIN, SETTINGS, URL

app = Celery("bench", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True
app.conf.update(SETTINGS.get("celery", {}))
if SETTINGS.get("results"):
    app.conf.task_ignore_result = False
if SETTINGS.get("concurrency"):  # long jobs: take no more than can run
    app.conf.worker_prefetch_multiplier = 1
_tasks = {name: app.task(name=name)(function) for name, function in PLAIN.items()}


def put(name: str, number: int) -> Any:
    """Send a task."""
    return _tasks[name].delay(number)


def result(handle: Any) -> Any:
    """Wait for the result."""
    return handle.get(timeout=10)
