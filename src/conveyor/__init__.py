"""Conveyor: a bounded, blocking queue in Redis or Valkey, producers that put jobs on it, consumers that run them."""

from conveyor.call import Call
from conveyor.consumer import Consumer
from conveyor.current import CurrentJob, current_job
from conveyor.errors import (
    BadCall,
    BadInput,
    ConveyorError,
    DuplicateJob,
    Empty,
    Full,
    JobCancelled,
    JobFailed,
    JobGone,
    JobLost,
    LeaseLost,
    ShutDown,
    StoreError,
    StoreMismatch,
    StoreRefused,
    StoreUnavailable,
    TooLarge,
    UnknownTask,
    WaitTimeout,
)
from conveyor.job import Job
from conveyor.queue import Queue
from conveyor.tasks import Task, task

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - grouped by what a reader looks for
    # the queue and its two ends
    "Queue",
    "Consumer",
    # work
    "task",
    "Task",
    "Job",
    "Call",
    "current_job",
    "CurrentJob",
    # what can go wrong
    "BadCall",
    "BadInput",
    "ConveyorError",
    "DuplicateJob",
    "Empty",
    "Full",
    "JobCancelled",
    "JobFailed",
    "JobGone",
    "JobLost",
    "LeaseLost",
    "ShutDown",
    "StoreError",
    "StoreMismatch",
    "StoreRefused",
    "StoreUnavailable",
    "TooLarge",
    "UnknownTask",
    "WaitTimeout",
]
