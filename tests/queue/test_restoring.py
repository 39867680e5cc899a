"""A server that lost its data: the loss is noticed and logged, and jobs still held by producers are put again."""

from __future__ import annotations

import gc
import logging
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from conveyor import Job, JobGone, LifoQueue, Queue, StoreUnavailable, WaitTimeout, inbox, restoring
from conveyor.inbox import inbox_of
from conveyor.store import Client, commands
from conveyor.store.commands import PutParams
from conveyor.store.waiting import put_jobs
from conveyor.tasks import Task
from conveyor.wire.call import PutOptions, RunOptions

if TYPE_CHECKING:
    from conftest import Bench
    from conveyor.store.command import Operation


def double(number: int) -> int:
    return 2 * number


def ready(bench: Bench) -> list[str]:
    return [one.decode() for one in bench.server.raw.zrange(f"conveyor:{{{bench.queue.name}}}:ready", 0, -1)]


def expect_all(jobs: list[Job[int]]) -> list[Job[int]]:
    """Wait for jobs without blocking; return the list of those that have ended."""
    ended: list[Job[int]] = []
    for job in jobs:
        job.add_done_callback(ended.append)
    return ended


def losses(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return [one for one in told if "has lost the queue" in one]


def test_awaited_jobs_are_put_again_if_the_server_was_emptied(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [bench.queue.submit(double, 0), *bench.queue.submit_many(double, [(1,), (2,), (3,)])]
    ended = expect_all(jobs)
    bench.settle(value="before")
    bench.eventually(lambda: ended == jobs[:1])
    bench.claim()
    bench.server.raw.flushall()
    bench.eventually(lambda: ready(bench) == [job.id for job in jobs[1:]], 8.0)
    assert bench.server.raw.smembers("conveyor:queues") == {bench.queue.name.encode()}
    assert [job.status() for job in jobs[1:]] == ["waiting"] * 3
    bench.settle(3, value="after")
    bench.eventually(lambda: ended == jobs)
    assert [job.result(0) for job in jobs] == ["before", "after", "after", "after"]
    assert len(losses(caplog)) == 1
    assert bench.queue.name in losses(caplog)[0]


def test_lost_jobs_of_a_lifo_queue_keep_their_order(bench: Bench) -> None:
    stack = LifoQueue(bench.queue.name, store=bench.client)
    jobs = [stack.submit(double, 0), *stack.submit_many(double, [(1,), (2,)]), bench.queue.submit(double, 3)]
    expect_all(jobs)
    bench.server.raw.flushall()
    bench.eventually(lambda: ready(bench) == [jobs[place].id for place in (2, 1, 0, 3)], 8.0)


def test_jobs_are_put_again_if_the_server_was_restarted_empty(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    bench.server.stop()
    bench.server.start()
    other = bench.queue.submit(double, 2)  # which notices it
    bench.eventually(lambda: set(ready(bench)) == {job.id, other.id}, 8.0)
    bench.settle(2, value="both")
    assert (job.result(timeout=5), other.result(timeout=5)) == ("both", "both")


def test_put_that_ends_during_a_restoration_is_put_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The put's jobs were put before the loss, and are kept once the earlier ones are being put again."""
    first = bench.queue.submit(double, 0)
    expect_all([first])
    late = restoring.Kept(bench.queue.name, [("late", b"a job")], PutParams(), 0, 60.0)
    restorer, put_jobs = inbox_of(bench.queue.client).restorer, restoring.put_jobs

    def put_jobs_meanwhile(*words: Any) -> Operation[None]:
        yield from put_jobs(*words)
        if not late.losses:
            restorer.keep(late)

    monkeypatch.setattr(restoring, "put_jobs", put_jobs_meanwhile)
    bench.server.raw.flushall()
    bench.eventually(lambda: ready(bench) == [first.id, "late"], 8.0)


def test_put_that_outlasts_a_restoration_is_put_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that puts jobs again has ended by then, and no caller waits for a result."""
    first = bench.queue.submit(double, 0)
    late = restoring.Kept(bench.queue.name, [("late", b"a job")], PutParams(), 0, 60.0)
    monkeypatch.setattr(inbox, "HOLD_AGAIN", 0.05)
    bench.server.raw.flushall()
    second = bench.queue.submit(double, 1)  # which notices it
    mine = inbox_of(bench.queue.client)
    bench.eventually(lambda: mine.thread is None and not mine.restorer.due)
    assert set(ready(bench)) == {first.id, second.id}
    mine.keep(late)
    bench.eventually(lambda: "late" in ready(bench), 8.0)


@pytest.mark.parametrize("more", [1, 9])  # than were lost, too
def test_older_state_of_a_server_is_noticed(
    more: int, server: Any, bench_at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench: Bench = bench_at(server)
    jobs = bench.queue.submit_many(double, [(number,) for number in range(4)])
    key = f"conveyor:{{{bench.queue.name}}}"
    for job in jobs[2:]:  # as a replica that did not get the last writes
        server.raw.zrem(f"{key}:ready", job.id)
        server.raw.hdel(f"{key}:jobs", job.id)
    server.raw.hset(f"{key}:meta", mapping={"sequence": 2, "accepted": 2})
    new = bench.queue.submit_many(double, [(5,)] * more)
    bench.eventually(lambda: set(ready(bench)) >= {job.id for job in jobs}, 8.0)
    assert len(ready(bench)) == 4 + len(new), "those that the server still had are not put twice"
    assert len(losses(caplog)) == 1


def test_emptied_server_is_noticed_by_a_producer_of_items(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.queue.put("first")
    bench.server.raw.flushall()
    bench.queue.put("second")
    assert bench.server.raw.sismember("conveyor:queues", bench.queue.name)
    assert bench.queue.qsize() == 1
    assert len(losses(caplog)) == 1


def test_deleted_queue_does_not_count_as_lost(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    ended = bench.queue.submit(double, 1)
    bench.settle(value="done")
    Queue(bench.queue.name, store=Client(bench.server.url)).delete()
    other = bench.queue.submit(double, 3)
    with pytest.raises(JobGone):
        ended.result(timeout=10)
    assert (ready(bench), losses(caplog)) == ([other.id], [])


@pytest.fixture
def failed_checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fail the first check for a deleted queue; return the queue then."""
    was_deleted, failed = commands.was_deleted, []

    def fail_once(queue: str, born: int) -> Any:
        if not failed:
            failed.append(queue)
            raise StoreUnavailable
        return was_deleted(queue, born)

    monkeypatch.setattr(commands, "was_deleted", fail_once)
    return failed


def test_failed_check_does_not_turn_a_deletion_into_a_loss(
    bench: Bench, caplog: pytest.LogCaptureFixture, failed_checks: list[str]
) -> None:
    ended = bench.queue.submit(double, 1)
    bench.settle(value="done")
    Queue(bench.queue.name, store=Client(bench.server.url)).delete()
    others = [bench.queue.submit(double, number) for number in (2, 3)]
    assert failed_checks
    with pytest.raises(JobGone):
        ended.result(timeout=10)
    assert (ready(bench), losses(caplog)) == ([one.id for one in others], [])


def test_failed_check_does_not_turn_a_loss_into_a_deletion(bench: Bench, failed_checks: list[str]) -> None:
    job = bench.queue.submit(double, 1)
    bench.server.raw.flushall()
    ended = expect_all([])
    with pytest.raises(StoreUnavailable):
        job.add_done_callback(ended.append)
    assert failed_checks
    bench.eventually(lambda: ready(bench) == [job.id], 8.0)
    assert ended == []


def test_lasting_check_failure_does_not_block_other_results(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_queue, checks = bench.make(), []
    other = other_queue.submit(double, 2)
    ended = expect_all([bench.queue.submit(double, 1), other])

    def fail(queue: str, _: int) -> Any:
        checks.append(queue)
        raise StoreUnavailable

    monkeypatch.setattr(commands, "was_deleted", fail)
    bench.server.raw.delete(*bench.server.raw.keys(f"conveyor:{{{bench.queue.name}}}:*"))
    bench.queue.submit(double, 4)
    inbox_of(bench.client)._doubt_all()
    bench.eventually(lambda: len(checks) > 2, 10.0)
    bench.settle(value=4, queue=other_queue)
    bench.eventually(lambda: ended == [other], 10.0)


def test_inbox_counts_as_open_only_after_a_check(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.queue.submit(double, 1)
    bench.server.raw.flushall()
    with monkeypatch.context() as failing:
        failing.setattr(restoring.Restorer, "_was_deleted", Mock(side_effect=StoreUnavailable))
        with pytest.raises(StoreUnavailable):
            job.add_done_callback(lambda _: None)
        assert not inbox_of(bench.client).open_for(bench.queue.name)
    bench.eventually(lambda: inbox_of(bench.client).open_for(bench.queue.name), 8.0)


def test_put_with_a_failed_check_counts_the_accepted_jobs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.queue.put("before")
    bench.server.raw.flushall()
    monkeypatch.setattr(restoring.Restorer, "_was_deleted", Mock(side_effect=StoreUnavailable))
    jobs = [(bench.queue.name + one, b"x") for one in "ab"]
    with pytest.raises(StoreUnavailable) as failed:
        bench.client.perform(
            put_jobs(bench.client, bench.queue.name, jobs, PutParams(), None, inbox_of(bench.client).restorer)
        )
    assert (failed.value.accepted, bench.queue.qsize()) == (2, 2)


def test_check_gets_the_time_limit_of_the_query(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = bench.queue.submit(double, 1)
    bench.settle(value="done")
    Queue(bench.queue.name, store=Client(bench.server.url)).delete()
    times: list[float | None] = []
    was_deleted = restoring.Restorer._was_deleted

    def note(restorer: Any, queue: str, born: int, within: float | None) -> bool:
        times.append(within)
        return was_deleted(restorer, queue, born, within)

    monkeypatch.setattr(restoring.Restorer, "_was_deleted", note)
    with pytest.raises(JobGone):
        ended.result(timeout=30)
    assert times[0] is None or times[0] > 20.0


def test_known_deletion_is_not_queried(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queue.submit(double, 1)
    bench.settle(value="done")
    restorer = inbox_of(bench.client).restorer
    before = restorer.knows(bench.queue.name)
    Queue(bench.queue.name, store=Client(bench.server.url)).delete()
    bench.queue.submit(double, 2)
    monkeypatch.delattr(commands, "was_deleted")
    assert not restorer.observe(bench.queue.name, before, restorer.knows(bench.queue.name).lineage)


def test_loss_after_a_deletion_is_noticed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.queue.submit(double, 1)
    bench.settle(value="done")
    Queue(bench.queue.name, store=Client(bench.server.url)).delete()
    jobs = bench.queue.submit_many(double, [(2,), (3,)])
    ended = expect_all(jobs)
    raw = bench.server.raw
    found = raw.keys(f"conveyor:{{{bench.queue.name}}}:*")
    raw.delete(*[key for key in found if not key.endswith(b":deleted")])  # as right after the deletion
    bench.eventually(lambda: ready(bench) == [job.id for job in jobs], 8.0)
    assert len(losses(caplog)) == 1
    bench.settle(2, value=4)
    bench.eventually(lambda: ended == jobs)


def test_deletion_is_known_to_a_user_with_rights_on_that_queue(
    server: Any, bench_at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """With the keys that docs/running.md names."""
    bench: Bench = bench_at(server)
    name = bench.queue.name
    rights = "resetchannels +@read +@write +@connection -@dangerous +evalsha +script|load +time +info"
    keys = f"~conveyor:{{{name}}}:* ~conveyor:queues"
    server.raw.execute_command("ACL", "SETUSER", "one", "on", ">pw", *rights.split(), *keys.split())
    queue = Queue(name, store=Client(server.url_of("one")))
    ended = queue.submit(double, 1)
    bench.settle(value="done")
    bench.queue.delete()
    other = queue.submit(double, 3)
    with pytest.raises(JobGone):
        ended.result(timeout=10)
    assert (ready(bench), losses(caplog)) == ([other.id], [])
    server.raw.execute_command("ACL", "DELUSER", "one")
    bench.settle(value=6)


def test_concurrent_puts_are_not_mistaken_for_a_loss(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bench.queue.put, range(400)))
    assert losses(caplog) == []


def test_lost_jobs_of_other_producers_are_gone(bench: Bench) -> None:
    job = bench.queue.submit(double, 1)
    other = Client(bench.server.url)
    handle = Job[int](job.id, bench.queue.name, client=other)
    assert not handle.done()
    inbox_of(bench.client).restorer._kept.clear()
    bench.server.raw.flushall()
    with pytest.raises(JobGone):
        handle.result(timeout=10)


def test_forked_child_does_not_wait_for_jobs_it_cannot_restore(bench: Bench, forked: Any) -> None:
    job = bench.queue.submit(double, 1)

    def wait() -> str:
        bench.queue.submit(double, 2)
        bench.server.raw.connection_pool.reset()
        bench.server.raw.flushall()
        bench.queue.submit(double, 3)  # which notices it
        try:
            job.result(timeout=8)
        except (JobGone, WaitTimeout) as error:
            return type(error).__name__
        return ""

    assert forked(wait) == "JobGone"


def test_possibly_finished_job_is_not_put_again_unless_awaited(bench: Bench) -> None:
    short = Task(double, "double", PutOptions(), RunOptions(keep=0.0))
    unwatched, awaited = bench.queue.submit(short, 1), bench.queue.submit(short, 2)
    expect_all([awaited])
    bench.server.raw.flushall()
    bench.eventually(lambda: ready(bench) == [awaited.id], 8.0)
    with pytest.raises(JobGone):
        unwatched.result(timeout=5)
    bench.settle(value=4)
    assert awaited.result(timeout=5) == 4


def test_finished_jobs_and_jobs_without_handles_are_not_kept(bench: Bench) -> None:
    restorer, entry = inbox_of(bench.client).restorer, restoring.ENTRY_BYTES
    jobs = bench.queue.submit_many(double, [(number,) for number in range(100)])
    dropped = bench.queue.submit(double, 1)
    assert restorer._size > 100 * entry
    bench.settle(100, value=1)
    assert {job.result(timeout=5) for job in jobs} == {1}
    del dropped
    gc.collect()
    last = bench.queue.submit(double, 1)
    assert 0 < restorer._size < 2 * entry
    assert [kept.jobs[0][0] for kept in restorer._kept if any(kept.jobs)] == [last.id]


def test_kept_bytes_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "MAX_KEPT", 100_000)
    jobs = bench.queue.submit_many(textwrap.dedent, [("x" * 10_000,) for _ in range(30)])
    expect_all(jobs)
    bench.server.raw.flushall()
    bench.eventually(lambda: ready(bench) == [job.id for job in jobs[:9]], 8.0)
    with pytest.raises(JobGone):
        jobs[9].result(timeout=10)


def test_lost_jobs_wait_for_room_in_a_bounded_queue(bench: Bench) -> None:
    queue = Queue(bench.queue.name, 2, store=bench.client)
    jobs = [queue.submit(double, number) for number in range(2)]
    ended = expect_all(jobs)
    bench.server.raw.flushall()
    place = commands.PutParams(maxsize=2)
    bench.worker.run(commands.put(queue.name, [("a", b"bytes"), ("b", b"bytes")], place))
    bench.eventually(lambda: inbox_of(bench.client).restorer.due)
    assert ready(bench) == ["a", "b"]
    bench.claim(2)
    bench.eventually(lambda: ready(bench) == [job.id for job in jobs], 8.0)
    bench.settle(2, value="done")
    bench.eventually(lambda: ended == jobs)


def test_lost_jobs_are_woken_for_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    never = 600.0
    monkeypatch.setattr(restoring, "TRY_AGAIN", never)
    monkeypatch.setattr(inbox, "TRY_AGAIN", never)
    Queue(bench.queue.name, 2, store=bench.client).put_many(["a", "b"])
    ids, own = [f"job{number}" for number in range(4)], inbox_of(bench.client)
    own.restorer.known[bench.queue.name] = restoring.Known(losses=1)
    kept = restoring.Kept(bench.queue.name, [(one, one.encode()) for one in ids], PutParams(), 0, 600.0)
    own.keep(kept)
    bench.eventually(lambda: bench.queue.count().blocked == 1)
    bench.settle(2)
    bench.eventually(lambda: ready(bench) == ids[:2])
    bench.settle(2)
    bench.eventually(lambda: ready(bench) == ids[2:])
    bench.eventually(lambda: bench.queue.count().blocked == 0)


def test_lost_jobs_of_several_puts_keep_their_place_in_line(bench: Bench) -> None:
    name, restorer = bench.queue.name, restoring.Restorer(bench.client)
    line = f"conveyor:{{{name}}}:line"
    restorer.known[name] = restoring.Known(losses=1)
    place, ids = PutParams(own_ids=True), ("job0", "job1", "job2")
    kept = [restoring.Kept(name, [(one, b"bytes")], place, 0, 600.0) for one in ids]
    for number in range(3):
        restorer.keep(kept[number])
    Queue(name, 1, store=bench.client).put("first")
    assert not restorer.restore(name, {}, restorer)
    bench.worker.run(commands.put(name, [], PutParams(waiter="rival", rest=9)))
    in_line = [restorer.waiter.encode(), b"rival"]
    for one in ids[:2]:
        assert bench.server.raw.zrange(line, 0, -1) == in_line
        bench.settle()
        assert not restorer.restore(name, {}, restorer)
        assert ready(bench) == [one]
    kept.clear()
    gc.collect()
    assert restorer.restore(name, {}, restorer)
    assert bench.server.raw.zrange(line, 0, -1) == in_line[1:]


def test_delayed_lost_job_returns_before_its_outcome_expires(bench: Bench) -> None:
    name, restorer = bench.queue.name, restoring.Restorer(bench.client)
    restorer.known[name] = restoring.Known(losses=1)
    kept = restoring.Kept(name, [("job0", b"bytes")], PutParams(delay=600.0), 0, 0.0)
    restorer.keep(kept)
    assert restorer.restore(name, {}, restorer)
    assert bench.queue.count().delayed == 1


def test_lost_jobs_are_sent_once_while_bounded_queue_drains(
    server: Any, bench_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Bench = bench_at(server)
    name, ids = bench.queue.name, [f"job{number}" for number in range(50)]
    bench.worker.run(commands.bound(name, 5))
    restorer = restoring.Restorer(bench.client)
    kept = restoring.Kept(name, [(one, one.encode()) for one in ids], PutParams(), 0, 600.0)
    restorer.keep(kept)
    restorer.known[name] = restoring.Known(losses=1)
    sent: list[str] = []
    run = bench.client.run

    def watch(command: Any, **limits: Any) -> Any:
        if command.script is not None and command.script.name == "put":
            sent.extend(word for word in command.words if word in ids)
        return run(command, **limits)

    monkeypatch.setattr(bench.client, "run", watch)
    drained: list[str] = []
    while not restorer.restore(name, {}, restorer):
        drained += ready(bench)
        bench.settle(5)
    assert drained + ready(bench) == ids
    assert sent == ids, "none is sent twice or without success"
    assert bench.queue.count().blocked == 0
    bench.settle(5)
