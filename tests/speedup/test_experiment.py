"""A real experiment: workers that are ready before the clock starts, exact counts, and nothing left behind."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import order_jobs
import pytest

from conveyor import ConveyorError, JobFailed, Queue, Task
from conveyor.monitor import Inspector
from conveyor.speedup import Run, measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TASKS = """
import os, pathlib, time
from conveyor import task

folder = pathlib.Path(__file__).parent
(folder / f"loaded-{os.getpid()}").touch()


@task(name="meet")
def meet(run: int, number: int, count: int) -> int:
    "Wait for the other jobs of the order to start, which needs as many workers."
    (folder / f"job-{run}-{number}").touch()
    while len(list(folder.glob(f"job-{run}-*"))) < count:
        time.sleep(0.002)
    return os.getpid()


@meet.splits
def split(count: int) -> list:
    "Note how many processes have loaded this module when the clock has started."
    loaded = len(list(folder.glob("loaded-*")))
    with (folder / "seen").open("a") as seen:
        seen.write(f"{loaded - 1} ")
    return [{"run": loaded, "number": number, "count": count} for number in range(count)]
"""


@pytest.fixture
def meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task[..., Any]]:
    """Return a task whose jobs wait for each other."""
    (tmp_path / "meeting.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("meeting").meet
    del sys.modules["meeting"]


def measured(
    task: Any, arguments: dict[str, Any], plan: Sequence[int], server: Any, **options: Any
) -> list[Run]:
    return list(measure(task, arguments, plan, client=server.client, **options))


def left_on(server: Any) -> tuple[Any, ...]:
    """Return the queues and consumers of the server."""
    return server.raw.smembers("conveyor:queues"), server.raw.zcard("conveyor:consumers")


def test_new_workers_are_ready_before_the_clock_starts(
    meet: Task[..., Any], one_server: Any, tmp_path: Path
) -> None:
    runs = measured(meet, {"count": 2}, [2, 3, 2], one_server)
    assert [run.workers for run in runs] == [2, 3, 2]
    assert (tmp_path / "seen").read_text().split() == ["2", "5", "7"], "all that were started so far"
    assert [sum(run.jobs_per_worker) for run in runs] == [2, 2, 2]
    assert [run.jobs_per_worker for run in runs] == [[1, 1], [0, 1, 1], [1, 1]]
    assert left_on(one_server) == (set(), 0)


def test_times_and_counts_of_a_run_are_exact(server: Any) -> None:
    seen: list[tuple[int, int]] = []
    (run,) = measured(
        order_jobs.piece_of_time,
        {"seconds": 0.02, "count": 6},
        [1],
        server,
        on_progress=lambda done, jobs: seen.append((done, jobs)),
    )
    assert run.jobs_per_worker == [6]
    assert 0.12 <= run.job_seconds <= run.wall_seconds
    assert run.queueing_seconds is not None
    assert 0.05 <= run.queueing_seconds <= run.wall_seconds, "five jobs wait for those before them"
    assert seen[-1] == (6, 6)
    assert left_on(server) == (set(), 0)


def test_jobs_of_a_burst_are_all_counted(one_server: Any) -> None:
    """Outcomes of tiny jobs do not name their worker."""
    arguments = {"seconds": 0.0, "count": 2000}
    (run,) = measured(order_jobs.piece_of_time, arguments, [2], one_server)
    assert len(run.jobs_per_worker) == 2
    assert sum(run.jobs_per_worker) == 2000
    assert run.queueing_seconds is not None


def test_failing_job_ends_the_experiment(one_server: Any, tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "marks"), "count": 6}
    with pytest.raises(JobFailed, match="part 2"):
        measured(order_jobs.fragile, arguments, [1, 2], one_server)
    assert left_on(one_server) == (set(), 0)


def test_experiment_that_is_closed_early_leaves_nothing(one_server: Any) -> None:
    other = Queue("other", store=one_server.client)
    other.put("mine")
    experiment = measure(
        order_jobs.piece_of_time, {"seconds": 0.0, "count": 2}, [1, 2, 3], client=one_server.client
    )
    assert next(experiment).workers == 1
    experiment.close()
    assert left_on(one_server) == ({b"other"}, 0)
    assert other.qsize() == 1


def test_experiment_whose_workers_exit_ends(one_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conveyor.monitor.follow.WORKER_INTERVAL", 0.0)
    monkeypatch.setattr("conveyor.speedup.MAX_ABSENCE", 0.0)
    monkeypatch.setattr("conveyor.speedup.UPDATE_EVERY", 0.05)
    supervisors: set[int] = set()

    def stop(done: int, jobs: int) -> None:
        if not supervisors:
            supervisors.update(one.pid for one in Inspector(one_server.client).consumers())
            os.kill(*supervisors, signal.SIGTERM)

    with pytest.raises(ConveyorError, match="exited before the work was done"):
        measured(order_jobs.piece_of_time, {"seconds": 60.0, "count": 1}, [1], one_server, on_progress=stop)
    assert left_on(one_server) == (set(), 0)
