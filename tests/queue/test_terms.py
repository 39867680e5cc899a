"""Limits and unique keys, as producers write them, and what the server makes of them without a worker."""

from __future__ import annotations

import enum
from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from conveyor import (
    BadCall,
    DuplicateJob,
    Full,
    Job,
    Limit,
    Queue,
    Task,
    Unique,
    middleware,
    result_of,
    results_of,
)
from conveyor.store import commands, keys, outbox, records
from conveyor.store.command import Command
from conveyor.tasks import registry
from conveyor.testing import run_jobs
from conveyor.wire.call import PutOptions, RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench

ran: list[Any] = []


def note(tenant: str, number: int = 0) -> int:
    ran.append((tenant, number))
    return number


def made(**options: Any) -> Task[..., int]:
    return Task(note, f"{__name__}.note", PutOptions(), RunOptions()).options(**options)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@pytest.fixture
def queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return a queue whose jobs the test runs itself."""
    monkeypatch.setitem(registry.tasks, f"{__name__}.note", made())
    return bench.queue


def counts(queue: Queue) -> tuple[int, int]:
    found = queue.count()
    return found.ready, found.deferred


def test_jobs_over_their_limit_are_deferred(queue: Queue) -> None:
    jobs = queue.submit_many(made(limit=Limit(running=2)), [("a", number) for number in range(5)])
    assert counts(queue) == (2, 3)
    assert [one.status() for one in jobs] == ["waiting"] * 2 + ["deferred"] * 3
    run_jobs(queue)
    assert [one.result(5) for one in jobs] == [0, 1, 2, 3, 4]
    assert ran == [("a", number) for number in range(5)]


@pytest.mark.parametrize(
    "by", ["tenant", ("tenant",), lambda tenant, number=0: tenant], ids=["name", "tuple", "function"]
)
def test_each_value_has_its_own_limit(queue: Queue, by: Any) -> None:
    task = made(limit=Limit(running=1, by=by))
    queue.submit_many(task, [(tenant, number) for number in range(3) for tenant in "abc"])
    assert counts(queue) == (3, 6)
    run_jobs(queue)
    assert ran[:3] == [("a", 0), ("b", 0), ("c", 0)]
    assert [one for one in ran if one[0] == "b"] == [("b", 0), ("b", 1), ("b", 2)]


def test_keys_take_turns_whatever_one_of_them_has_put(queue: Queue) -> None:
    task = made(limit=Limit(by="tenant"))
    queue.submit_many(task, [("big", number) for number in range(200)])
    queue.submit(task, "small", 1)
    run_jobs(queue)
    assert ran.index(("small", 1)) <= 17
    assert len(ran) == 201


def test_each_value_has_its_own_rate(queue: Queue) -> None:
    task = made(limit=Limit(starts=2, per=60, by="tenant"))
    queue.submit_many(task, [(tenant, number) for number in range(3) for tenant in "ab"])
    assert counts(queue) == (4, 2)


def test_low_priorities_get_on_if_the_queue_ages(queue: Queue) -> None:
    queue.age(1)  # each claim takes the priority of a random job
    for priority in (9, 0):
        queue.submit_many(made(priority=priority), [("a", priority)] * 40)
    run_jobs(queue)
    assert ("a", 0) in ran[:40]
    ran.clear()
    queue.age(0)
    for priority in (9, 0):
        queue.submit_many(made(priority=priority), [("a", priority)] * 40)
    run_jobs(queue)
    assert ran == [("a", 9)] * 40 + [("a", 0)] * 40


def test_tasks_share_a_limit_by_its_name(queue: Queue) -> None:
    first = made(limit=Limit(running=1, name="account"))
    other = Task(note, "another name", first.put, first.run)
    queue.submit(first, "a")
    queue.submit(other, "a")
    assert counts(queue) == (1, 1)


def test_higher_priority_comes_first_among_those_of_one_key(queue: Queue) -> None:
    limit = Limit(running=1)
    for priority in (0, 5, 3, 200):
        queue.submit(made(limit=limit, priority=priority), "a", priority)
    run_jobs(queue)
    assert [number for _, number in ran] == [0, 200, 5, 3]  # the first one was alone


def test_limit_is_that_of_the_last_put(queue: Queue) -> None:
    for running in (1, 1, 3):
        queue.submit(made(limit=Limit(running=running)), "a", running)
    assert counts(queue) == (3, 0)


def test_cancelled_and_purged_jobs_leave_room(queue: Queue) -> None:
    jobs = queue.submit_many(made(limit=Limit(running=1)), [("a", number) for number in range(5)])
    assert jobs[0].cancel()
    assert jobs[3].cancel()
    assert [one.status() for one in jobs] == ["cancelled", "waiting", "deferred", "cancelled", "deferred"]
    assert queue.clear() == 3
    assert counts(queue) == (0, 0)
    assert queue.count().imbalance == 0
    queue.submit(made(limit=Limit(running=1)), "a", 9)
    assert counts(queue) == (1, 0)


def test_unique_job_is_put_once_and_has_one_handle(queue: Queue) -> None:
    task = made(unique=True)
    first, again, other = queue.submit(task, "a"), queue.submit(task, "a"), queue.submit(task, "b")
    assert first.id == again.id != other.id
    assert queue.qsize() == 2
    many = queue.submit_many(task, [("c", 1), ("c", 1), ("a", 0), ("c", 2)])
    assert many[0].id == many[1].id
    assert queue.qsize() == 4
    run_jobs(queue)
    assert [one.result(5) for one in (first, again, other, *many)] == [0, 0, 0, 1, 1, 0, 2]
    assert queue.submit(task, "a").id != first.id  # that is over


def test_unique_key_can_be_made_of_some_arguments(queue: Queue) -> None:
    task = made(unique=Unique(by="tenant"))
    assert queue.submit(task, "a", 1).id == queue.submit(task, "a", number=2).id
    assert queue.submit(task, "b", 1).id != queue.submit(task, "a", 1).id


def keep(tenant: Any, number: int = 0) -> int:
    return number


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        ("a/b", PurePosixPath("a/b")),
        ("red", Color.RED),
        ("2026-11-30", date(2026, 11, 30)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (set("abcdefgh"), set("hgfedcba")),
    ],
)
def test_values_that_travel_alike_have_the_same_key(queue: Queue, one: object, other: object) -> None:
    task = Task(keep, f"{__name__}.keep", PutOptions(), RunOptions())
    by_tenant = task.options(unique=Unique(by="tenant"))
    assert queue.submit(by_tenant, one, 1).id == queue.submit(by_tenant, other, 2).id
    if type(one) is type(other):
        alike = task.options(unique=Unique())
        assert queue.submit(alike, one).id == queue.submit(alike, other).id


def test_message_that_is_refused_keeps_no_other_one_waiting(queue: Queue) -> None:
    before: Job[int] = queue.submit(made(), "a")
    refusing, taking = (Queue(f"{queue.name}-{name}", store=queue.client) for name in ("refusing", "taking"))
    followers = [one.submit(made(after=[before], when="ended"), "b") for one in (refusing, taking)]
    version = Command(("HSET", keys.key(refusing.name, "meta"), "version", "9"))
    queue.client.run(version)
    assert before.cancel()
    assert [one.status() for one in followers] == ["deferred", "waiting"]
    assert len(queue.client.run(commands.outbox(queue.name))) == 1
    queue.client.run(Command(("HSET", keys.key(refusing.name, "meta"), "version", "2")))
    queue.client.perform(outbox.deliver(queue.name))
    assert [one.status() for one in followers] == ["waiting", "waiting"]


def test_key_may_leave_out_an_argument_that_is_a_result(queue: Queue) -> None:
    before: Job[int] = queue.submit(made(), "a")
    task = made(unique=Unique(by="tenant"))
    assert queue.submit(task, "a", result_of(before)).id == queue.submit(task, "a", result_of(before)).id


def test_job_that_was_not_put_is_not_kept_for_a_loss_of_data(queue: Queue) -> None:
    """Not in the parts of a long list either, which are made one after the other."""
    calls = [("a", number) for number in range(2_000)]
    calls[-5] = ("b", 0)
    handles = queue.submit_many(made(unique=Unique(by="tenant")), calls)
    assert len({one.id for one in handles}) == 2
    for one in (handles[0], handles[-5]):
        kept, place = one.kept
        assert kept is not None
        assert [number for number in range(len(kept.jobs)) if number in kept] == [place]


def test_full_queue_names_the_jobs_that_stand_for_others(queue: Queue) -> None:
    bounded, task = Queue(queue.name, 1, store=queue.client), made(unique=Unique(by="tenant"), wait=0.0)
    first = bounded.submit(task, "a")
    with pytest.raises(Full) as error:
        bounded.submit_many(task, [("a", 1), ("b", 2)])
    assert (error.value.accepted, error.value.ids) == (1, [first.id])


def test_key_can_be_free_once_the_job_starts(queue: Queue) -> None:
    task = made(unique=Unique(until="started"))
    first = queue.submit(task, "a")
    assert queue.submit(task, "a").id == first.id
    batch = queue.client.run(commands.claim(queue.name, "ann", "n.1", 1, 30.0))
    second = queue.submit(task, "a")
    assert (batch.jobs[0].id, second.id == first.id) == (first.id, False)
    assert queue.submit(task, "a").id == second.id


def test_key_can_hold_for_a_period_after_the_put(queue: Queue) -> None:
    task = made(unique=Unique(seconds=timedelta(minutes=1)))
    first = queue.submit(task, "a")
    run_jobs(queue)
    again = queue.submit(task, "a")
    assert (again.id, again.result(5), len(ran)) == (first.id, 0, 1)


def test_job_is_kept_for_as_long_as_its_key_holds(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made(unique=Unique(seconds=timedelta(minutes=1)), keep=0.01)
    job = queue.submit(task, "a")
    run_jobs(queue)
    ttl = ("PTTL", keys.key(queue.name, f"outcome:{job.id}"))
    assert 50_000 < queue.client.run(Command(ttl)) <= 60_000
    assert queue.submit(task, "a").result(5) == 0


def test_waiting_job_can_get_new_arguments(queue: Queue) -> None:
    task = made(unique=Unique(by="tenant", replace=True))
    first = queue.submit(task, "a", 1)
    assert queue.submit(task, "a", 2).id == first.id
    run_jobs(queue)
    assert (ran, first.result(5)) == ([("a", 2)], 2)


def test_debounced_job_waits_until_the_calls_have_ended(queue: Queue) -> None:
    task = made(unique=Unique(by="tenant", replace=True), delay=60)
    first = queue.submit(task, "a", 1)
    due = queue.client.run(records.highest(queue.name, "delayed"))
    assert queue.submit(task.options(delay=120), "a", 2).id == first.id
    assert queue.client.run(records.highest(queue.name, "delayed")) >= due + 59_000
    assert queue.count().delayed == 1


def test_cancelled_job_holds_no_key(queue: Queue) -> None:
    task = made(unique=Unique(by="tenant"))
    first = queue.submit(task, "a", 1)
    first.cancel()
    assert queue.submit(task, "a", 1).id != first.id


def test_own_id_is_checked_with_terms_as_well(queue: Queue) -> None:
    task = made(limit=Limit(running=1), id="mine")
    queue.submit(task, "a")
    with pytest.raises(DuplicateJob, match="mine"):
        queue.submit(task, "b")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Limit(running=-1), "running must be a whole number"),
        (lambda: Limit(starts=100_000), "starts must be a whole number"),
        (lambda: Limit(per=0), "per must be between"),
        (lambda: Limit(by=1), "by must name parameters"),
        (lambda: Limit(running=2, in_order=True), "in order run one at a time"),
        (lambda: Unique(until="later"), "until must be"),
        (lambda: Unique(seconds=-1), "seconds must be between"),
        (lambda: made(limit=5), "limit must be a Limit"),
        (lambda: made(limit=Limit(per=5)), "limits nothing"),
        (lambda: made(after=Job("x", "q", client=object())), "expected several jobs, got a Job"),
        (lambda: results_of(Job("x", "q", client=object())), "expected several jobs, got a Job"),
        (lambda: made(unique="a"), "unique must be"),
        (lambda: made(limit=Limit(by="nope")), "limit: the task .* has no parameter 'nope'"),
        (lambda: made(unique=Unique(by=("tenant", "nope"))), "unique: the task .* has no parameter 'nope'"),
    ],
)
def test_wrong_terms_are_refused(make: Any, said: str) -> None:
    with pytest.raises(BadCall, match=said):
        make()


def test_wrong_keys_are_refused_before_anything_is_put(queue: Queue) -> None:
    with pytest.raises(BadCall, match="no parameter 'customer'"):
        queue.submit(made(limit=Limit(by="customer")), "a")
    before: Job[str] = Job("x", queue.name, client=queue.client)
    with pytest.raises(BadCall, match="a key cannot depend on arguments that are results"):
        queue.submit(made(unique=Unique(by="tenant")), result_of(before))
    replacing = made(unique=Unique(replace=True))
    for task, argument in ((replacing, result_of(before)), (replacing.options(after=[before]), "a")):
        with pytest.raises(BadCall, match="cannot replace another one"):
            queue.submit(task, argument)
    assert queue.qsize() == 0


@pytest.mark.parametrize("serializer", ["msgpack", "pickle"])
@pytest.mark.parametrize("surrounded", [False, True])
def test_only_the_last_of_many_calls_take_results(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, serializer: Any, *, surrounded: bool
) -> None:
    monkeypatch.setenv("CONVEYOR_KEY", "k" * 40)
    entered = []

    def around(submitted: Any) -> Iterator[None]:
        entered.append(submitted)
        yield

    if surrounded:
        monkeypatch.setattr(middleware.submits, "functions", [*middleware.submits.functions, around])
    task = made(serializer=serializer)
    before = queue.submit(task, "a", 7)
    calls: list[Any] = [("a", number) for number in range(1200)]
    calls[1100] = calls[-1] = ("b", result_of(before))
    jobs = queue.submit_many(task, iter(calls))
    assert counts(queue) == (1199, 2)
    run_jobs(queue)
    assert [one.result(5) for one in jobs] == [7 if who == "b" else number for who, number in calls]
    assert len(entered) == (1201 if surrounded else 0)
    with pytest.raises(BadCall, match="number"):
        queue.submit_many(task, iter([*calls[:1100], ("b", result_of(before)), ("b", "none")]))


def test_results_of_jobs_are_refused_inside_other_values(queue: Queue) -> None:
    before: Job[str] = Job("x", queue.name, client=queue.client)
    with pytest.raises(BadCall, match="can hold nothing else"):
        queue.submit(note, [result_of(before), 1])
    with pytest.raises(BadCall):
        queue.submit(note, {"a": result_of(before)})
    with pytest.raises(BadCall):
        queue.put(result_of(before))
    assert queue.qsize() == 0
