"""Conveyor: a bounded, blocking queue in Redis or Valkey, producers that put jobs on it, consumers that run them.

The names below are the public API. A module is imported when one of its names is first used, so that the help of a
command does not wait for modules that it does not need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conveyor.consumer import Consumer
    from conveyor.context import CurrentJob, current_job, current_jobs
    from conveyor.errors import (
        BadCall,
        BadInput,
        ConveyorError,
        DuplicateJob,
        DurabilityUnknown,
        Empty,
        Full,
        JobCancelled,
        JobExpired,
        JobFailed,
        JobGone,
        JobLost,
        JobSuspended,
        LeaseLost,
        MissingExtra,
        NotEmpty,
        ResourceUnavailable,
        Retry,
        ShutDown,
        SoftTimeout,
        StoreDenied,
        StoreError,
        StoreFull,
        StoreMismatch,
        StoreRefused,
        StoreUnavailable,
        Throttle,
        TimeLimit,
        TooLarge,
        UnknownClass,
        UnknownTask,
        Untrusted,
        WaitTimeout,
    )
    from conveyor.executor import Executor
    from conveyor.job import Job, as_completed, result_of, results_of
    from conveyor.middleware import SubmittedCall, around_run, around_submit
    from conveyor.queue import LifoQueue, PriorityQueue, Queue
    from conveyor.resources import from_worker, resource
    from conveyor.schedules import Schedules
    from conveyor.task_def.webhook import webhook
    from conveyor.tasks import Task, task
    from conveyor.wire.call import Call
    from conveyor.wire.schedule import Schedule
    from conveyor.wire.terms import JobEnd, Limit, Unique

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - grouped by subject
    # the queue and its two ends
    "Queue",
    "LifoQueue",
    "PriorityQueue",
    "Consumer",
    "Executor",
    # work
    "task",
    "Task",
    "Schedule",
    "Schedules",
    "Job",
    "as_completed",
    "Call",
    "current_job",
    "current_jobs",
    "CurrentJob",
    # when jobs may run
    "Limit",
    "Unique",
    "JobEnd",
    "webhook",
    "result_of",
    "results_of",
    # what surrounds a task
    "around_submit",
    "SubmittedCall",
    "around_run",
    "resource",
    "from_worker",
    # errors
    "BadCall",
    "BadInput",
    "ConveyorError",
    "DuplicateJob",
    "DurabilityUnknown",
    "Empty",
    "Full",
    "JobCancelled",
    "JobExpired",
    "JobFailed",
    "JobGone",
    "JobLost",
    "JobSuspended",
    "LeaseLost",
    "MissingExtra",
    "NotEmpty",
    "ResourceUnavailable",
    "Retry",
    "ShutDown",
    "SoftTimeout",
    "StoreError",
    "StoreDenied",
    "StoreFull",
    "StoreMismatch",
    "StoreRefused",
    "StoreUnavailable",
    "Throttle",
    "TimeLimit",
    "TooLarge",
    "UnknownClass",
    "UnknownTask",
    "Untrusted",
    "WaitTimeout",
]

_MODULES = {
    "Queue": "queue",
    "LifoQueue": "queue",
    "PriorityQueue": "queue",
    "Consumer": "consumer",
    "Executor": "executor",
    "task": "tasks",
    "Task": "tasks",
    "Job": "job",
    "as_completed": "job",
    "Limit": "wire.terms",
    "Unique": "wire.terms",
    "JobEnd": "wire.terms",
    "webhook": "task_def.webhook",
    "result_of": "job",
    "results_of": "job",
    "Call": "wire.call",
    "current_job": "context",
    "current_jobs": "context",
    "CurrentJob": "context",
    "around_submit": "middleware",
    "SubmittedCall": "middleware",
    "around_run": "middleware",
    "resource": "resources",
    "from_worker": "resources",
    "Schedule": "wire.schedule",
    "Schedules": "schedules",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
