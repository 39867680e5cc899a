"""Jobs that expire: they are not started any more, whatever kind of worker takes them, and their callers learn it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import retry_jobs as jobs
from consumer_kit import lines

from conveyor import JobCancelled, JobExpired, Queue
from conveyor.monitor import Inspector, charts
from conveyor.monitor.history import HistoryFilter
from conveyor.monitor.merged_list import MergeLimits, finishes
from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def start(consume: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return a function that starts a consumer of this kind."""

    def consume_so(workers: int = 2, **changes: Any) -> Any:
        return consume(workers=workers, kind=kind, modules=("retry_jobs",), **changes)

    return consume_so


def timely(style: str, expires: Any) -> Any:
    return getattr(jobs, f"timely{style}").options(expires=expires)


def let_expire(seconds: float = 0.05) -> None:
    """Wait until jobs put before have expired, by any clock of this machine."""
    until = time.time() + seconds + 0.05
    while time.time() < until:
        time.sleep(0.01)


def test_expired_jobs_are_not_started_and_others_are(
    start: Any, style: str, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    late = [queue.submit(timely(style, 0.05), str(path)) for _ in range(70)]
    in_time = queue.submit(timely(style, timedelta(hours=1)), str(path))
    let_expire()
    start()
    assert in_time.result(60) == 2
    assert len(lines(path)) == 1
    for job in late:
        with pytest.raises(JobExpired, match=r"^no worker started it within 0\.05 s of its put$"):
            job.result(60)
        assert job.cancelled()
        assert job.status() == "expired"
        assert isinstance(job.exception(), JobCancelled)
    count = queue.count()
    assert (count.finished, count.cancelled, count.dead, count.live, count.imbalance) == (1, 70, 0, 0, 0)

    def figures() -> Any:
        return charts.totals([queue.name]).ask(queue.client)[queue.name].queue

    eventually(lambda: figures().expired == 70 and figures().finished == 71)
    assert (figures().failures, figures().runs.total) == (70, 2)


def test_time_of_expiry_may_be_given(start: Any, queue: Queue, path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.05)
    jobs_put = queue.submit_many(timely("", soon), [(str(path),)] * 3)
    let_expire()
    start()
    for job in jobs_put:
        with pytest.raises(JobExpired):
            job.result(60)
    with pytest.raises(JobExpired):
        queue.submit(timely("", datetime.now(UTC) - timedelta(days=1)), str(path)).result(60)


def test_time_counts_from_when_the_job_may_run(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    delayed = timely(style, 30).options(delay=0.3)
    assert queue.submit(delayed, str(path)).result(60) == 2


def test_retry_does_not_expire(start: Any, style: str, queue: Queue, path: Path) -> None:
    start()
    task = timely(style, 30).options(first_delay=0.3)
    assert queue.submit(task, str(path)).result(60) == 2


@pytest.mark.parametrize("how", ["throttled", "killed", "lapsed", "prefetched"])
def test_job_that_was_started_does_not_expire(
    start: Any, style: str, queue: Queue, path: Path, how: str
) -> None:
    job = queue.submit(timely(style, 0.05), str(path))
    client, name = queue.client, queue.name
    token = client.run(commands.claim(name, "ann", "n1", 1, 0.001 if how == "lapsed" else 60.0)).token
    if how == "throttled":
        client.run(commands.throttle(name, token, job.id, 0.001, b"attempt"))
    elif how == "killed":
        client.run(commands.release(name, token, [job.id], b"attempt"))
    elif how == "prefetched":
        client.run(commands.release(name, token, [job.id]))
    let_expire()
    start()
    if how == "prefetched":
        with pytest.raises(JobExpired):
            job.result(60)
    else:
        assert job.result(60) == 2


def test_page_and_history_show_an_expired_job(
    start: Any, queue: Queue, path: Path, eventually: Callable[..., Any]
) -> None:
    job = queue.submit(timely("", 0.05), str(path))
    waiting = Inspector(queue.client).job(job.id, queue.name)
    assert waiting is not None
    assert waiting.call is not None
    assert waiting.call.options.expires == 0.05
    let_expire()
    start()
    with pytest.raises(JobExpired):
        job.result(60)
    record = Inspector(queue.client).job(job.id, queue.name)
    assert record is not None
    assert (record.state, record.task) == ("expired", "retry_jobs.timely")
    listing = finishes([queue.name], "", HistoryFilter("", "expired", "", "", ""), MergeLimits(10, 100))
    assert [one.note.id for one in listing.ask(queue.client).rows] == [job.id]
