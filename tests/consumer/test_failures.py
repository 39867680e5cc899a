"""Jobs whose task raises: reported as data, retried where that may help, then dead."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest
from consumer_kit import lines

from conveyor import JobFailed, StoreUnavailable
from conveyor.store import Client, commands
from conveyor.wire.outcome import delay_before

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor import Queue


def test_exception_arrives_as_type_message_and_traceback(queue: Queue, consume: Callable[..., Any]) -> None:
    consume()
    with pytest.raises(JobFailed, match=r"^ValueError: no good$") as caught:
        queue.submit(jobs.boom, "no good").result(30)
    assert (caught.value.kind, caught.value.reason) == ("ValueError", "no good")
    assert "raise ValueError(text)\nValueError: no good\n" in caught.value.traceback
    assert queue.count().dead == 1


def test_exceptions_of_any_type_cost_no_worker(queue: Queue, consume: Callable[..., Any]) -> None:
    running = consume()
    before = running.workers()
    for task, args, kind in (
        (jobs.base_boom, (), "KeyboardInterrupt"),
        (jobs.leave_python, (0,), "SystemExit"),
        (jobs.mute_boom, (), "Mute"),
        (jobs.deep_boom, (), "RecursionError"),
    ):
        with pytest.raises(JobFailed) as caught:
            queue.submit(task, *args).result(30)
        assert caught.value.kind == kind
    assert queue.submit(jobs.add, 1, 2).result(30) == 3
    assert running.workers() == before


def test_failed_job_is_retried_with_growing_pauses(
    queue: Queue, consume: Callable[..., Any], path: Path
) -> None:
    consume()
    job = queue.submit(jobs.steady.options(first_delay=0.1), str(path), 2)
    assert job.result(30) == 3
    first, second, third = map(float, lines(path))
    assert second - first >= 0.1
    assert third - second >= 0.2
    assert queue.count().dead == 0


def test_job_without_retries_left_is_dead(queue: Queue, consume: Callable[..., Any], path: Path) -> None:
    consume()
    with pytest.raises(JobFailed, match="OSError: try 3"):
        queue.submit(jobs.steady, str(path), 5).result(30)
    assert len(lines(path)) == 3
    count = queue.count()
    assert (count.dead, count.live, count.imbalance) == (1, 0, 0)


def test_idle_worker_waits_exactly_until_the_retry_is_due(
    queue: Queue, consume: Callable[..., Any], path: Path, quickest: Callable[..., float]
) -> None:
    consume(workers=3)
    numbers = itertools.count()

    def pause() -> float:
        file = path.with_name(f"marks-{next(numbers)}")
        assert queue.submit(jobs.steady.options(first_delay=0.5), str(file), 1).result(30) == 2
        first, second = map(float, lines(file))
        return second - first

    assert 0.5 <= quickest(pause, 1.2) < 1.2


def test_bad_input_is_not_retried(queue: Queue, consume: Callable[..., Any], path: Path) -> None:
    consume()
    with pytest.raises(JobFailed, match=r"^BadInput: it will never fit$"):
        queue.submit(jobs.stubborn, str(path)).result(30)
    assert lines(path) == ["run"]
    assert queue.count().dead == 1


def test_attempt_and_token_grow_with_each_run(queue: Queue, consume: Callable[..., Any], path: Path) -> None:
    consume()
    with pytest.raises(JobFailed):
        queue.submit(jobs.tell_tries, str(path)).result(30)
    tries = [tuple(map(int, line.split())) for line in lines(path)]
    assert [attempt for attempt, _ in tries] == [1, 2, 3]
    tokens = [token for _, token in tries]
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize("retry", [1, 2, 5])
def test_pauses_double_with_at_most_a_quarter_added(retry: int) -> None:
    for _ in range(50):
        assert 2.0 ** (retry - 1) <= delay_before(retry, 1.0) <= 1.25 * 2.0 ** (retry - 1)
    assert delay_before(500, 1.0) <= 3600 * 1.25


def test_retry_jitter_leaves_the_random_state_of_programs_alone(tmp_path: Path) -> None:
    before = random.getstate()
    delay_before(1, 1.0)
    with pytest.raises(StoreUnavailable):
        Client(f"unix://{tmp_path}/nothing").run(commands.server_time(), patience=0.1)
    assert random.getstate() == before
