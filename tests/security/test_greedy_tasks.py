"""Tasks that take all memory or start endless processes: the platform's limits stop them, and the rest continues."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import psutil
import pytest
from consumer_kit import lines, runs

from conveyor import JobFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue

ROOM = 64 << 20  # bytes that a worker may take beyond its current use
FAR_MORE = 1 << 30
MANY = 40  # processes


def test_task_that_takes_all_memory_fails_without_side_effects(
    queue: Queue, consume: Callable[..., Any]
) -> None:
    running = consume()
    assert queue.submit(jobs.add, 1, 1).result(30) == 2
    (worker,) = running.workers()
    limit = worker.memory_info().vms + ROOM
    worker.rlimit(resource.RLIMIT_AS, (limit, limit))
    with pytest.raises(JobFailed, match="MemoryError"):
        queue.submit(jobs.hoard, FAR_MORE).result(30)
    assert queue.submit(jobs.add, 1, 2).result(30) == 3
    count = queue.count()
    assert (count.dead, count.live, count.imbalance) == (1, 0, 0)


def test_child_processes_of_a_task_end_with_it(
    queue: Queue, consume: Callable[..., Any], path: Path, eventually: Callable[..., Any]
) -> None:
    consume()
    with pytest.raises(JobFailed, match="TimeLimit"):
        queue.submit(jobs.breed, str(path), MANY).result(30)
    bred = {int(pid) for pid in lines(path)}
    assert len(bred) > 2
    eventually(lambda: not any(one.pid in bred and runs(one) for one in psutil.process_iter()))
    assert queue.submit(jobs.add, 1, 2).result(30) == 3
