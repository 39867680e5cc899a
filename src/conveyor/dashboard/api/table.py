"""All endpoints, in the order of the description."""

from __future__ import annotations

from conveyor.dashboard.api import enqueue, jobs, looking, one_job, operations, queues, tasks, workers

ENDPOINTS = (
    *queues.ENDPOINTS,
    *jobs.ENDPOINTS,
    *enqueue.ENDPOINTS,
    *one_job.ENDPOINTS,
    *workers.ENDPOINTS,
    *operations.ENDPOINTS,
    *tasks.ENDPOINTS,
    *looking.ENDPOINTS,
)
