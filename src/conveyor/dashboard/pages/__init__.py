"""All pages, in the order of the menu."""

from __future__ import annotations

from conveyor.dashboard.pages.audit import AUDIT
from conveyor.dashboard.pages.enqueue import ENQUEUE
from conveyor.dashboard.pages.failures import FAILURES
from conveyor.dashboard.pages.job import FOUND, JOB
from conveyor.dashboard.pages.jobs import JOBS
from conveyor.dashboard.pages.operations import OPERATIONS
from conveyor.dashboard.pages.overview import OVERVIEW
from conveyor.dashboard.pages.queue import QUEUE
from conveyor.dashboard.pages.queues import QUEUES
from conveyor.dashboard.pages.schedules import SCHEDULES
from conveyor.dashboard.pages.system import SYSTEM_PAGE
from conveyor.dashboard.pages.worker import WORKER
from conveyor.dashboard.pages.workers import WORKERS

ALL = (
    OVERVIEW,
    QUEUES,
    QUEUE,
    JOBS,
    JOB,
    FOUND,
    WORKERS,
    WORKER,
    FAILURES,
    ENQUEUE,
    SCHEDULES,
    OPERATIONS,
    AUDIT,
    SYSTEM_PAGE,
)
