"""The names that completion offers; nothing here waits, starts a server or changes anything."""

from __future__ import annotations

import os
import sys

from conveyor.consumer import known_tasks
from conveyor.monitor import Inspector
from conveyor.store import Client, embedded

#: Jobs offered per queue and state.
MOST_JOBS = 50


def queues(url: str) -> list[str]:
    """Give the names of all queues, and of those that somebody listens to."""
    inspector = _inspector(url)
    return sorted({*inspector.queues(), *(queue for one in inspector.consumers() for queue in one.queues)})


def workers(url: str) -> list[str]:
    """Give the names of all consumers and their workers."""
    consumers = _inspector(url).consumers()
    return [*(one.name for one in consumers), *(worker.name for one in consumers for worker in one.workers)]


def queues_and_workers(url: str) -> list[str]:
    """Give the names of all queues, consumers and workers."""
    return [*queues(url), *workers(url)]


def jobs(url: str) -> list[str]:
    """Give ids of some jobs that are not over."""
    return _ids(url, "running", "waiting", "delayed")


def dead_jobs(url: str) -> list[str]:
    """Give ids of some dead jobs."""
    return _ids(url, "dead")


def tasks(_: str) -> list[str]:
    """Give the names of the tasks that can be put from here."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - text is what the path holds
    return known_tasks().names()


def _ids(url: str, *states: str) -> list[str]:
    inspector = _inspector(url)
    return [
        job.id
        for queue in inspector.queues()
        for state in states
        for job in inspector.jobs(queue, state, 0, MOST_JOBS)
    ]


def _inspector(url: str) -> Inspector:
    """Give an inspector that asks once; raises StoreUnavailable where the embedded server does not run."""
    address = url or os.environ.get("CONVEYOR_URL") or embedded.status().url
    return Inspector(Client(address, patience=0.0))
