"""A job's handle: the job's state, its result, and its cancellation."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from conveyor import BadCall, DuplicateJob, Job, JobCancelled, clock
from conveyor.store import commands, control_channel, records
from conveyor.tasks import Task
from conveyor.wire import control_messages
from conveyor.wire.call import PutOptions, RunOptions
from conveyor.wire.outcome import encode_settled

if TYPE_CHECKING:
    from conftest import Bench


def double(number: int) -> int:
    return 2 * number


def own(name: str, **put: object) -> Task[..., int]:
    return Task(double, "double", PutOptions(id=name, **put), RunOptions())  # type: ignore[arg-type]


def test_handle_reports_the_state_throughout_the_life_of_a_job(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    assert (job.status(), job.running(), job.done()) == ("waiting", False, False)
    batch = bench.claim()
    assert (job.status(), job.running(), job.done()) == ("running", True, False)
    bench.worker.run(commands.retry(bench.queue.name, batch.token, job.id, 1000.0, b""))
    assert job.status() == "delayed"
    assert job.cancel()
    bench.eventually(job.done)  # it was asked before, so the outcome comes by push
    assert (job.status(), job.cancelled()) == ("cancelled", True)


@pytest.mark.parametrize("state", ["done", "failed", "lost", "cancelled"])
def test_status_of_a_finished_job_is_its_outcome(bench: Bench, state: str) -> None:
    job = bench.queue.submit(double, 1)
    bench.settle(state=state)
    assert job.status() == state
    assert job.done()
    assert job.status() == state


def test_status_of_a_dead_job_is_failed_without_its_outcome(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    settlement = commands.Settlement(job.id, encode_settled("failed"), 60.0)
    bench.worker.run(commands.fail(bench.queue.name, bench.claim().token, settlement))
    bench.server.raw.delete(f"conveyor:{{{bench.queue.name}}}:outcome:{job.id}")
    assert job.status() == "failed"


def test_handle_keeps_the_outcome_that_it_has_seen(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    settlement = commands.Settlement(job.id, encode_settled("failed"), 60.0)
    bench.worker.run(commands.fail(bench.queue.name, bench.claim().token, settlement))
    bench.eventually(job.done)
    bench.worker.run(commands.revive(bench.queue.name, [job.id]))
    again = Job(job.id, bench.queue.name, client=bench.queue.client)
    assert (job.status(), again.status()) == ("failed", "waiting")
    bench.settle(state="done")
    bench.eventually(again.done)
    assert (job.status(), again.status()) == ("failed", "done")


@pytest.mark.parametrize("number", [5, None, b"never-put"])
def test_id_of_another_type_is_refused(bench: Bench, number: object) -> None:
    with pytest.raises(BadCall, match="must be a str"):
        Job(number, bench.queue.name, client=bench.client)  # type: ignore[arg-type]


def test_unknown_job_is_gone_and_cannot_be_cancelled(bench: Bench) -> None:
    job = Job[int]("never-put", bench.queue.name, client=bench.client)
    assert job.status() == "gone"
    assert not job.cancel()


def test_waiting_job_is_cancelled_immediately_and_only_once(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    assert job.cancel()
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.result(timeout=20)
    assert bench.queue.count().cancelled == 1


def test_finished_job_cannot_be_cancelled(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    bench.settle(value=2)
    assert not job.cancel()
    assert job.result(timeout=20) == 2


def test_cancel_of_a_running_job_is_sent_to_its_consumer(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    bench.claim()
    assert job.cancel("no longer needed")
    order = control_messages.decode_command(bench.client.run(control_channel.await_command("worker", 5.0)))
    assert (order.verb, order.job, order.workers, order.reason) == (
        "cancel",
        job.id,
        ["worker"],
        "no longer needed",
    )


def test_progress_is_the_latest_report_of_the_job(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    assert job.progress() is None
    bench.claim()
    said = control_messages.Progress(3, 4, "nearly")
    bench.worker.run(records.set_progress(bench.queue.name, [(job.id, control_messages.encode(said))]))
    assert job.progress() == said


def test_custom_id_is_accepted_once(bench: Bench) -> None:
    job = bench.queue.submit(own("invoice-7"), 1)
    assert job.id == "invoice-7"
    with pytest.raises(DuplicateJob, match="invoice-7"):
        bench.queue.submit(own("invoice-7"), 2)
    bench.settle(value=2)
    with pytest.raises(DuplicateJob):
        bench.queue.submit(own("invoice-7"), 1)
    assert job.result(timeout=20) == 2


def test_same_call_with_a_known_id_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(1000.0)
    monkeypatch.setattr(clock, "wall", lambda: next(times))
    bench.queue.submit(own("invoice-7"), 1)
    with pytest.raises(DuplicateJob) as refusal:
        bench.queue.submit(own("invoice-7"), 1)
    assert "Job(id, queue)" in refusal.value.hint
    bench.settle(value=2)
    assert Job[int]("invoice-7", bench.queue.name, client=bench.client).result(timeout=20) == 2
    assert bench.queue.count().accepted == 1


@pytest.mark.parametrize("name", ["", "a b", "{a}", "a" * 65])
def test_invalid_job_id_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(BadCall):
        bench.queue.submit(own(name), 1)
    assert bench.queue.qsize() == 0


def test_submit_many_with_a_custom_id_is_refused(bench: Bench) -> None:
    with pytest.raises(BadCall, match="several"):
        bench.queue.submit_many(own("mine"), [(1,), (2,)])


def test_invalid_argument_is_refused_before_any_job_is_put(bench: Bench) -> None:
    with pytest.raises(BadCall, match="number"):
        bench.queue.submit_many(double, [(1,), ("two",)])
    assert bench.queue.count().accepted == 0


def test_priority_and_delay_decide_when_a_job_is_taken(bench: Bench) -> None:
    for name, priority, delay in (("low", 0, 0.0), ("high", 5, 0.0), ("later", 255, 1000.0)):
        bench.queue.submit(own(name, priority=priority, delay=delay), 1)
    assert [job.id for job in bench.claim(5).jobs] == ["high", "low"]
    assert Job[int]("later", bench.queue.name, client=bench.client).status() == "delayed"


def test_map_returns_the_results_in_the_order_of_the_items(bench: Bench) -> None:
    results = bench.queue.map(double, range(5))
    batch = bench.claim(5)
    for job in reversed(batch.jobs):
        value = encode_settled("done", bytes([int(job.id[-1], 36)]))
        told = commands.Settlement(job.id, value, 60.0)
        bench.worker.run(commands.finish(bench.queue.name, batch.token, [told]))
    assert list(results) == [int(job.id[-1], 36) for job in batch.jobs]


def test_empty_submission_is_accepted(bench: Bench) -> None:
    assert bench.queue.submit_many(double, []) == []
    assert list(bench.queue.map(double, [])) == []


@pytest.mark.parametrize("way", ["clear", "cancel"])
def test_outcome_of_a_cancelled_job_is_kept_as_its_task_demands(bench: Bench, way: str) -> None:
    job = bench.queue.submit(Task(double, "double", PutOptions(), RunOptions(keep=86400.0)), 2)
    if way == "clear":
        assert bench.queue.clear() == 1
    else:
        assert job.cancel()
    assert bench.server.raw.ttl(f"conveyor:{{{bench.queue.name}}}:outcome:{job.id}") > 80_000
