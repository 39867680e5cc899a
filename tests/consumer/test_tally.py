"""Tallies of workers reach the histories soon and exactly, for every outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import consumer_jobs as jobs
import pytest

from conveyor import Queue
from conveyor.consumer.heartbeat import Heartbeat
from conveyor.consumer.settlement import MAX_TASKS, MAX_TOGETHER, Settler, Tally
from conveyor.monitor import charts as figures
from conveyor.store import commands, keys
from conveyor.wire import control_messages, statistics
from conveyor.wire.call import Call
from conveyor.wire.codec import Raw, encode
from conveyor.wire.outcome import Cancel, Done, Fail, Release, Retry, describe_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def totals(queue: Queue) -> figures.Totals:
    return figures.totals([queue.name]).ask(queue.client)[queue.name]


def points(queue: Queue) -> figures.Point:
    """Return the last two minutes as a single point."""
    now = statistics.bucket("minute", queue.client.run(commands.server_time()))
    series = figures.series(queue.name, "minute", now - 1, now).ask(queue.client)
    return figures.sum_of([[series[0]], [series[1]]])[0]


def test_jobs_of_mixed_outcomes_are_all_counted(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any], path: Path
) -> None:
    consume(workers=2)
    handles = queue.submit_many(jobs.brief, [(2,)] * 60)
    handles += queue.submit_many(jobs.boom, [("oh",)] * 30)
    handles += [queue.submit(jobs.steady, str(path.with_name(f"{one}")), 1) for one in range(10)]
    for handle in handles:
        handle.exception(30)
    eventually(lambda: totals(queue).queue.finished == 100)
    found = totals(queue)
    assert (found.queue.succeeded, found.queue.failed, found.queue.retried) == (70, 30, 10)
    assert found.queue.started == found.queue.runs.total == 110
    assert found.queue.waits.total == 100
    assert found.queue.runs.seconds > 60 * 0.002
    assert {task: one.finished for task, one in found.tasks.items()} == {
        "consumer_jobs.brief": 60,
        "consumer_jobs.boom": 30,
        "steady": 10,
    }
    point = points(queue)
    done = point.figures
    assert (done.succeeded, point.failed, done.retried, done.started) == (70, 30, 10, 110)
    p95 = done.runs.percentile(0.95)
    assert p95 is not None
    assert 0 < p95 <= done.runs.longest
    assert 0.002 < done.runs.longest < 20
    assert 0 < done.waits.longest < 20


def test_burst_of_tiny_jobs_is_counted_exactly(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    queue.submit_many(jobs.nothing, [()] * 20_000)
    consume(workers=2)
    eventually(lambda: queue.count().live == 0, 50.0)
    eventually(lambda: totals(queue).queue.succeeded >= 20_000)
    found = totals(queue)
    assert found.queue.succeeded == found.queue.waits.total == found.jobs.finished == 20_000
    assert list(found.tasks) == ["consumer_jobs.nothing"]


def test_exiting_worker_sends_its_tally_first(queue: Queue, consume: Callable[..., Any]) -> None:
    queue.submit_many(jobs.nothing, [()] * 500)
    consume(workers=2, until_empty=True).popen.wait(20)
    assert totals(queue).queue.succeeded == 500


def test_outcomes_that_killed_the_worker_are_counted(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any], path: Path
) -> None:
    consume(workers=1)
    handles = [
        queue.submit(jobs.limited, str(path)),
        queue.submit(jobs.limited_twice, str(path)),
        queue.submit(jobs.end_process, str(path), "exit3"),
    ]
    for handle in handles:
        handle.exception(30)
    eventually(lambda: totals(queue).queue.finished == 3)
    found = totals(queue).queue
    assert (found.timeout, found.lost, found.retried, found.succeeded) == (1, 1, 1, 1)
    assert found.died == 3  # the last job took a worker with it each time; those over their time were ended
    assert 0.2 <= totals(queue).tasks["limited"].runs.seconds < 10
    assert points(queue).failed == 1


def test_supervisor_records_the_queue_length_and_the_oldest_wait(
    queue: Queue, consume: Callable[..., Any], eventually: Callable[..., Any], path: Path
) -> None:
    queue.submit_many(jobs.hold, [(str(path),)] * 3)
    consume(workers=1)
    point = eventually(lambda: (found := points(queue)).depth and found)
    assert point.depth in {2, 3}
    assert 0 < point.oldest < 30
    path.with_name(path.name + ".go").touch()


def test_unacknowledged_tally_is_resent_and_counted_once(one_server: Any) -> None:
    client = one_server.client
    client.run(commands.bound("work", 0))
    tally = Tally("ann/1")
    tally.add("work", "cut", "succeeded", 0.2, -5.0)
    told = tally.commands(resting=True)
    client.run_all(told)  # and the answer is lost
    tally.add("work", "cut", "lost", 0.2)
    again = tally.commands(resting=True)
    assert again[:2] == told
    for one in [*again, *again]:
        client.run(one)
        tally.confirm(one)
    assert tally.commands(resting=True) == []
    of_queue = figures.totals(["work"]).ask(client)["work"].queue
    for found in (of_queue, figures.totals_of_all().ask(client)):
        assert (found.succeeded, found.lost, found.runs.total, found.waits.seconds) == (1, 1, 2, 0.0)


def test_busy_worker_sends_its_tally_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: now)
    tally = Tally("ann/1")
    tally.add("work", "cut", "succeeded", 0.2)
    now = 100.9
    assert tally.commands() == []
    now = 101.0
    for one in tally.commands():
        tally.confirm(one)
    tally.add("work", "cut", "succeeded", 0.2)
    now = 101.5
    assert tally.commands() == []
    assert [keys.ALL_QUEUES in one.words[1] for one in tally.commands(resting=True)] == [False, True]


def test_many_tasks_are_sent_in_several_commands_and_as_others() -> None:
    tally = Tally("ann/1")
    for number in range(2 * MAX_TASKS):
        tally.add("work", f"task{number}" * 100, "succeeded", 0.2)
    told = tally.commands(resting=True)
    assert len(told) == MAX_TASKS // MAX_TOGETHER + 2
    assert statistics.OTHER in told[-2].words
    assert told[-1].words[-2:] == ("*", f"b={2 * MAX_TASKS} s={2 * MAX_TASKS} R=80000000 R2=400 M=200000")
    assert max(len(str(one)) for command in told for one in command.words) <= 200


@pytest.mark.parametrize(
    ("outcome", "letter"),
    [
        (Done(b"\x01"), "s"),
        (Fail(describe_text("ValueError", "no")), "f"),
        (Retry(describe_text("ValueError", "no"), 1.0), "r"),
        (Cancel(), "c"),
        (Release(), ""),
    ],
)
def test_each_outcome_is_counted_under_its_kind(outcome: Any, letter: str) -> None:
    settler = Settler("host/1")
    settler.begin("work", "7", count=2)
    job = Call("tasks.cut", Raw(encode([])), Raw(encode({})), 0.0)
    settler.add("id", job, outcome, 0.1, tries=1)
    told = [str(one.words[-1]) for one in settler.tallies()]
    assert told == ([f"b=1 {letter}=1 R=100000 R1=1 M=100000"] * 2 if letter else [])


def test_undecodable_job_is_counted_without_a_task() -> None:
    settler = Settler("host/1")
    settler.begin("work", "7", count=2)
    settler.add("id", None, Fail(describe_text("ValueError", "no")), 0.0, 0)
    assert settler.tallies()[0].words[-2:] == ("?", "b=1 f=1 R0=1")


def test_gauges_are_recorded_every_10_s_while_busy_then_once(
    one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("conveyor.clock.monotonic", lambda: now)
    heartbeat = Heartbeat(
        one_server.client, control_messages.ConsumerReport("host-1", "host", 1, ["work"], "process", 0.0, [])
    )
    queue = Queue("work", store=one_server.client)
    queue.put("something")

    def noted(at: float) -> bool:
        nonlocal now
        now = at
        one_server.raw.delete(*one_server.raw.keys("*:minute:*") or ["none"])
        heartbeat.send([])
        return bool(one_server.raw.keys("*:minute:*"))

    assert [noted(at) for at in (100.0, 105.0, 109.9, 110.0)] == [True, False, False, True]
    queue.clear()
    assert [noted(at) for at in (120.0, 130.0, 140.0)] == [True, False, False], "a last one tells of none"
