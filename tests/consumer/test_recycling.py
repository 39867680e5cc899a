"""Worker processes that are replaced between jobs, after a number of them or once they use too much memory."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import kind_jobs as jobs
import pytest
from consumer_kit import lines

from conveyor import BadCall, Consumer, Queue
from conveyor.consumer.process_usage import own_memory
from conveyor.consumer.settings import ConsumerSettings, read_size
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int | None = 3, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("kind_jobs",), **changes)

    return consume_so


@pytest.mark.timeout(400)  # 200 processes start, which takes long on a busy machine
def test_recyclings_under_load_lose_nothing(start: Any, queue: Queue, path: Path) -> None:
    start(max_jobs=2)

    def produce(task: Any) -> list[int]:
        return [one.result(90) for _ in range(5) for one in queue.submit_many(task, [(str(path), 1)] * 27)]

    with ThreadPoolExecutor(3) as producers:
        found = [*producers.map(produce, (jobs.meet, jobs.meet_async, jobs.meet))]
    runs = Counter(pid for some in found for pid in some)
    assert sum(runs.values()) == 405
    assert max(runs.values()) == 2, "no process runs more jobs than it may"
    assert len(runs) > 200
    assert len(lines(path)) == len(set(lines(path))) == 405, "no job ran twice"
    count = queue.client.run(commands.count(queue.name))
    assert (count.accepted, count.finished, count.live, count.dead) == (405, 405, 0, 0)


def test_number_of_jobs_is_exact_in_batches_of_tiny_jobs(start: Any, queue: Queue) -> None:
    start(1, max_jobs=70)
    found = [one.result(60) for one in queue.submit_many(jobs.grow, [(0,)] * 700)]
    assert [*Counter(pid for pid, _ in found).values()] == [70] * 10


@pytest.mark.parametrize("task", [jobs.grow, jobs.grow_async])
def test_process_that_outgrows_its_memory_is_replaced(
    start: Any, queue: Queue, consume: Any, task: Any
) -> None:
    first = start(1)
    _, used = queue.submit(task, 0).result(60)
    first.end()
    start(1, max_memory=used + 50 * MIB)
    found = [queue.submit(task, 30).result(60) for _ in range(8)]
    runs = Counter(pid for pid, _ in found)
    assert 3 <= len(runs) <= 5
    assert max(runs.values()) == 2


def test_process_over_a_tiny_memory_limit_runs_one_job(start: Any, queue: Queue) -> None:
    running = start(1, max_memory=1 << 20)
    found = [queue.submit(jobs.grow, 0).result(60) for _ in range(10)]
    assert len({pid for pid, _ in found}) == 10
    assert not running.has_left()


def test_consumer_until_empty_recycles_and_ends(
    start: Any, queue: Queue, path: Path, eventually: Any
) -> None:
    submitted = queue.submit_many(jobs.meet, [(str(path), 1)] * 12)
    running = start(2, max_jobs=2, until_empty=True)
    assert len({one.result(60) for one in submitted}) >= 6
    eventually(running.has_left)
    assert running.status == 0
    assert sum(running.consumer.jobs_done) in {0, 12}, "nobody waits for the consumer's last message here"


def test_replacement_of_a_recycled_worker_is_paused_likewise(start: Any, queue: Queue, path: Path) -> None:
    running = start(1, max_jobs=1)
    before = queue.submit(jobs.meet, str(path), 1).result(60)
    assert ("", "done") in running.answers(running.command("pause"), 4)
    job = queue.submit(jobs.meet, str(path), 1)
    assert not job.done()
    running.command("resume")
    assert job.result(60) != before


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 * MIB),
        ("2G", 2 << 30),
        ("1.5 GiB", 3 << 29),
        ("2048kb", 2 << 20),
        ("1048576", MIB),
        (7, 7),
    ],
)
def test_sizes_have_units_of_1024(text: str | int, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1G", "12 parsecs", "1e9", "1,5G", "٣M"])
def test_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(BadCall, match="invalid size"):
        read_size(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_jobs": 0}, "max_jobs must be a whole number and at least 1, got 0"),
        ({"max_jobs": 1.5}, "max_jobs must be a whole number"),
        ({"max_memory": "512"}, "max_memory must be at least 1048576 bytes"),
        ({"max_memory": 0.5}, "max_memory must be at least 1048576 bytes"),
        ({"max_workers": 0}, "max_workers must be a whole number between 1 and 1000"),
        ({"max_workers": 1001}, "max_workers must be a whole number between 1 and 1000"),
        (
            {"min_workers": 3, "max_workers": 2},
            "min_workers must be a whole number between 1 and max_workers",
        ),
        (
            {"min_workers": 0, "max_workers": 2},
            "min_workers must be a whole number between 1 and max_workers",
        ),
        ({"min_workers": 3}, "min_workers needs max_workers"),
        ({"workers": 3, "max_workers": 4}, "workers is a fixed number"),
    ],
)
def test_invalid_limits_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadCall, match=message):
        Consumer("work", **options)


def test_settings_without_limits_have_none() -> None:
    settings = ConsumerSettings()
    assert (settings.max_jobs, settings.max_memory, settings.max_workers) == (None, None, None)


def test_own_memory_is_what_the_system_says() -> None:
    assert own_memory() > 10 * MIB
