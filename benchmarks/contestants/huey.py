"""Huey. Its consumer pops a job before it runs it: a crash loses the job."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from huey import RedisHuey

from benchmarks.contestants.jobs import PLAIN, SETTINGS, URL

_options = dict(SETTINGS.get("huey", {}))
if SETTINGS.get("results"):
    _options = {"notify_result": True} if "results" in _options else {}
app = RedisHuey("bench", host="127.0.0.1", port=urlsplit(URL).port, **_options)
_tasks = {name: app.task(name=name)(function) for name, function in PLAIN.items()}


def put(name: str, number: int) -> Any:
    """Enqueue a job."""
    return _tasks[name](number)


def result(handle: Any) -> Any:
    """Wait for the result."""
    return handle.get(blocking=True, timeout=10)
