"""Workers are killed at random while they work: every job has exactly one outcome, and the right one."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import order_jobs
import psutil
import pytest
from consumer_kit import lines

from conveyor import JobLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


class Tormentor:
    """Kills a random worker again and again, at random moments; the same seed gives the same choices.

    It counts runs and not seconds: on a busy machine, workers killed so often in a second would never begin a job.
    """

    def __init__(self, running: Any, seed: int) -> None:
        self.running = running
        self.random = random.Random(seed)
        self.killed = 0
        self.next = 0.0

    def act(self, runs: int, pause: int) -> None:
        """Kill a worker if about `pause` more runs have begun since the last time."""
        if runs < self.next:
            return
        self.next = runs + self.random.uniform(0.2, 1.8) * pause
        time.sleep(self.random.uniform(0.0, 0.02))  # in the middle of runs, not only as they begin
        workers = self.running.workers()
        if workers:
            victim = self.random.choice(workers)
            try:
                (victim.suspend if self.random.random() < 0.2 else victim.kill)()
                victim.kill()
            except psutil.NoSuchProcess:
                return
            self.killed += 1


def check(queue: Queue, handles: list[Any], path: Path) -> Counter[str]:
    """Look at every outcome; gives how many there are of each kind."""
    found: Counter[str] = Counter()
    for number, job in enumerate(handles):
        error = job.exception(30)
        if error is None:
            assert job.result() == number
            found["done"] += 1
        else:
            assert isinstance(error, JobLost)
            assert "ended by SIGKILL" in str(error)
            found["lost"] += 1
    runs = Counter(lines(path))
    assert set(runs) == {str(number) for number in range(len(handles))}, "each ran"
    count = queue.count()
    assert (count.finished, count.dead) == (found["done"], found["lost"])
    assert (count.live, count.imbalance, count.orphans, count.lapsed) == (0, 0, 0, 0)
    return found


def torture(queue: Queue, running: Any, path: Path, size: int, pause: int) -> None:
    seed = int(os.environ.get("CONVEYOR_SEED", "20"))
    tormentor = Tormentor(running, seed)
    handles = queue.submit_many(order_jobs.unsteady, [(str(path), number) for number in range(size)])
    while queue.count().live:
        tormentor.act(len(lines(path)), pause)
        assert not running.has_left(), "the consumer itself is never killed here"
        time.sleep(0.005)
    assert tormentor.killed >= 5
    found = check(queue, handles, path)
    assert found["done"] >= 0.98 * size, f"seed {seed}: {found}"


@pytest.mark.timeout(90)
def test_every_job_has_one_outcome_whoever_is_killed(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    torture(queue, consume(workers=3), path, 500, 25)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(8))
def test_every_job_has_one_outcome_for_other_seeds(
    seed: int, queue: Queue, consume: Callable[..., Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_SEED", str(seed))
    torture(queue, consume(workers=4), path, 800, 20)
