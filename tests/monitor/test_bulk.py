"""Operations over many jobs: chunked, visible to others, stoppable, resumable, and never twice on a job."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import BadCall, StoreRefused
from conveyor.monitor import bulk
from conveyor.monitor.actions import Actions
from conveyor.store import commands
from conveyor.store.commands import PutParams, Settlement, Terms
from conveyor.wire import ids
from conveyor.wire.audit_entry import Matching, Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Films
    from conveyor.wire.audit_entry import AuditEntry

    Trail = Callable[..., list[AuditEntry]]

FAILED = b"\x93\xa6failed\xc0\x00"
RUNNER = """
import sys
from conveyor.monitor import bulk
from conveyor.store import connect
client = connect(sys.argv[1])
for step in bulk.run(client, bulk.load(client, sys.argv[2]), chunk=100, pause=0.05):
    print(step.done, flush=True)
    if step.done >= 300:
        sys.stdin.read()
"""


def finished(actions: Actions, begun: Operation, chunk: int = 500) -> Operation:
    return list(bulk.run(actions.client, begun, chunk, pause=0))[-1]


def shown(server: Any, operation_id: str) -> Operation:
    """Return an operation as another process sees it."""
    (found,) = bulk.operations([operation_id]).ask(server.another_client())
    return found


def test_retry_in_chunks_is_seen_by_another_client(
    films: Films, actions: Actions, trail: Trail, one_server: Any
) -> None:
    names = films.dead(1200)
    begun = actions.begin("retry", "films", reason="fixed")
    assert (begun.total, shown(one_server, begun.id).state) == (1200, "running")
    seen = []
    for step in bulk.run(actions.client, begun, pause=0):
        other = shown(one_server, begun.id)
        assert other == step
        seen.append((other.done, other.state, films.count().dead))
    assert seen == [(500, "running", 700), (1000, "running", 200), (1200, "done", 0)]
    assert [job.id for job in films.claim().jobs] == names[:500]
    assert films.count().imbalance == 0
    ended, began = trail()
    assert (began.action, began.reason, began.outcome, began.after["total"]) == (
        *("retry_jobs", "fixed", "begun", 1200),
    )
    assert (ended.outcome, ended.after["done"], ended.who, ended.origin) == ("done", 1200, "ann", "cli@there")


def test_retry_of_a_group_leaves_other_jobs_alone(films: Films, actions: Actions) -> None:
    for group in ("aaaaaaaa", "bbbbbbbb"):
        films.put(3)
        batch = films.claim()
        for job in batch.jobs:
            settlement = Settlement(job.id, FAILED, 600.0, group=group)
            films.client.run(commands.fail(films.name, batch.token, settlement))
    films.dead(1)
    ended = finished(actions, actions.begin("retry", "films", Matching(group="bbbbbbbb")))
    assert (ended.done, ended.skipped) == (3, 4)
    assert [job.id for job in films.claim().jobs] == [job.id for job in batch.jobs]


def dead_in(films: Films, name: str, jobs: int, group: str) -> Films:
    """Return another queue, with dead jobs of a group and one without."""
    other = type(films)(films.client)
    other.name = name
    other.dead(1)
    other.put(jobs)
    batch = other.claim()
    for job in batch.jobs:
        settlement = Settlement(job.id, FAILED, 600.0, group=group)
        other.client.run(commands.fail(name, batch.token, settlement))
    return other


@pytest.mark.parametrize("kind", ["retry", "discard"])
def test_group_is_processed_in_several_queues(
    films: Films, actions: Actions, trail: Trail, one_server: Any, kind: str
) -> None:
    queues = [dead_in(films, f"films-{number}", 3 + number, "aaaaaaaa") for number in range(4)]
    spared = dead_in(films, "films-9", 2, "aaaaaaaa")
    begun = actions.begin(kind, [one.name for one in queues], Matching(group="aaaaaaaa"), "fixed")
    assert (begun.queue, begun.total, len(begun.on)) == ("", 4 + 3 + 4 + 5 + 6, 4)
    steps = bulk.run(actions.client, begun, chunk=4, pause=0)
    half = [next(steps) for _ in range(3)][-1]
    actions.stop_operation(begun.id)
    assert list(steps)[-1].state == "stopped"
    assert shown(one_server, begun.id).on == begun.on
    ended = finished(actions, actions.resume_operation(begun.id), chunk=4)
    assert half.done < ended.done == 3 + 4 + 5 + 6
    assert (ended.skipped, ended.state, ended.queues) == (4, "done", begun.queues)
    assert [one.count().dead for one in queues] == [1] * 4
    waiting = [3, 4, 5, 6] if kind == "retry" else [0] * 4
    assert [one.count().ready for one in queues] == waiting
    assert spared.count().dead == 3
    act = trail()[-1]
    assert (act.target, act.before["queues"]) == ("4 queues", "films-0, films-1, films-2, films-3")


def test_jobs_that_die_again_are_retried_only_once(films: Films, actions: Actions) -> None:
    films.dead(250)
    done = 0
    for step in bulk.run(actions.client, actions.begin("retry", "films"), chunk=100, pause=0):
        assert len(films.kill_waiting()) == step.done - done
        done = step.done
    assert done == 250
    assert (films.count().dead, films.count().ready, films.count().imbalance) == (250, 0, 0)


def test_jobs_that_died_in_the_same_millisecond_are_all_retried(
    films: Films, actions: Actions, one_server: Any
) -> None:
    names = films.dead(250)
    one_server.raw.zadd("conveyor:{films}:dead", dict.fromkeys(names, 1_700_000_000_000))
    odd = tuple(names[1::2])
    films_of = actions.begin("retry", "films", Matching(task="other"))
    assert finished(actions, films_of, chunk=7).skipped == 250
    ended = finished(actions, actions.begin("discard", "films", Matching(ids=odd)), chunk=7)
    assert (ended.done, ended.skipped) == (125, 0)
    assert finished(actions, actions.begin("retry", "films"), chunk=7).done == 125
    assert (films.count().dead, films.count().ready, films.count().imbalance) == (0, 125, 0)


def test_jobs_are_retried_if_the_clock_was_set_back(films: Films, actions: Actions, one_server: Any) -> None:
    names = films.dead(1)
    later = one_server.raw.time()[0] * 1000 + 3_600_000
    one_server.raw.zadd("conveyor:{films}:dead", {names[0]: later})
    films.dead(1)
    assert finished(actions, actions.begin("retry", "films")).done == 2


def test_stopped_operation_can_be_resumed(
    films: Films, actions: Actions, trail: Trail, one_server: Any
) -> None:
    films.dead(400)
    begun = actions.begin("retry", "films")
    steps = bulk.run(actions.client, begun, chunk=100, pause=0)
    next(steps)
    Actions(one_server.another_client(), actions.actor).stop_operation(begun.id, "too fast")
    assert [(step.state, step.done) for step in steps] == [("stopped", 100)]
    assert (shown(one_server, begun.id).state, films.count().dead) == ("stopped", 300)
    assert [act.action for act in trail(2)] == ["retry_jobs", "stop_operation"]
    assert trail(1)[0].outcome == "stopped"
    again = actions.resume_operation(begun.id)
    assert finished(actions, again, chunk=100).done == 400
    assert (films.count().ready, films.count().imbalance) == (400, 0)


def test_operation_of_a_killed_process_is_stalled_and_resumable(
    films: Films, actions: Actions, start_python: Any, one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.dead(700)
    begun = actions.begin("retry", "films")
    runner = start_python(RUNNER, one_server.url, begun.id)
    assert [runner.stdout.readline() for _ in range(3)] == ["100\n", "200\n", "300\n"]
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    with pytest.raises(BadCall, match="is running"):
        actions.resume_operation(begun.id)
    films.kill_waiting()  # what was put back dies again: it must not be put back twice
    monkeypatch.setattr("conveyor.wire.audit_entry.STALLED_AFTER", 0.0)
    assert shown(one_server, begun.id).state == "stalled"
    again = bulk.resume(actions.client, begun.id, stalled_after=0.0)
    assert finished(actions, again).done == 700
    assert (films.count().ready, films.count().dead, films.count().imbalance) == (400, 300, 0)
    assert shown(one_server, begun.id).state == "done"


def test_stalled_operation_stays_stopped_if_its_process_resumes(
    films: Films, actions: Actions, one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    films.dead(3)
    steps = bulk.run(actions.client, actions.begin("discard", "films"), chunk=1, pause=0)
    begun = next(steps)
    with monkeypatch.context() as late:
        late.setattr("conveyor.wire.audit_entry.STALLED_AFTER", 0.0)
        assert bulk.stop(actions.client, begun.id).state == "stopped"
    assert [one.state for one in steps] == ["stopped"]
    assert shown(one_server, begun.id).state == "stopped"
    assert films.count().dead == 2


def test_closing_the_loop_stops_the_operation(films: Films, actions: Actions, one_server: Any) -> None:
    films.dead(3)
    begun = actions.begin("discard", "films")
    steps = bulk.run(actions.client, begun, chunk=1, pause=0)
    next(steps)
    steps.close()
    assert shown(one_server, begun.id).state == "stopped"
    assert films.count().discarded == 1


def test_operation_fails_and_is_resumable_if_the_server_refuses(
    films: Films, actions: Actions, trail: Trail, one_server: Any
) -> None:
    films.dead(5)
    begun = actions.begin("retry", "films")
    one_server.raw.config_set("maxmemory", "1mb")
    with pytest.raises(StoreRefused):
        finished(actions, begun)
    one_server.raw.config_set("maxmemory", "0")
    failed = shown(one_server, begun.id)
    assert failed.state == "failed"
    assert "maxmemory" in failed.error
    assert trail(1)[0].outcome.startswith("failed: ")
    assert finished(actions, actions.resume_operation(begun.id)).done == 5


def test_full_server_can_be_drained_by_operations(films: Films, actions: Actions, one_server: Any) -> None:
    films.dead(20)
    films.put(30)
    one_server.raw.config_set("maxmemory", "1mb")
    assert finished(actions, actions.begin("purge", "films"), chunk=20).done == 30
    assert finished(actions, actions.begin("discard", "films"), chunk=20).done == 20
    assert (films.count().live, films.count().imbalance) == (0, 0)


def test_only_jobs_of_the_given_task_are_retried(films: Films, actions: Actions) -> None:
    films.put(120, "cut")
    films.put(130, "paste")
    films.kill_waiting()
    ended = finished(actions, actions.begin("retry", "films", Matching(task="paste")), chunk=100)
    assert (ended.total, ended.done, ended.skipped) == (250, 130, 120)
    assert films.count().ready == 130


def test_only_jobs_dead_before_the_given_time_are_discarded(
    films: Films, actions: Actions, one_server: Any
) -> None:
    first, second = films.dead(2)
    one_server.raw.zadd("conveyor:{films}:dead", {first: 1000, second: 2000})
    ended = finished(actions, actions.begin("discard", "films", Matching(before_score=2000)))
    assert (ended.done, films.state(first), films.state(second)) == (1, "over", "dead")


def test_only_waiting_and_delayed_named_jobs_are_cancelled(films: Films, actions: Actions) -> None:
    (runs,) = films.put()
    films.claim()
    (waits,), (delayed,) = films.put(), films.put(delay=1000.0)
    named = Matching(ids=(waits, runs, "never-put", delayed))
    ended = finished(actions, actions.begin("cancel", "films", named), chunk=3)
    assert (ended.total, ended.done, ended.skipped) == (4, 2, 2)
    assert [films.state(one) for one in (waits, runs, delayed)] == ["over", "leased", "over"]


def test_cancel_covers_all_priorities_but_no_jobs_put_meanwhile(films: Films, actions: Actions) -> None:
    keys = [commands.key_priority(key) for key in (-9, 0, 9)]
    for priority in (0, 3, 255, *keys):
        films.put(10, priority=priority)
    for priority in (0, 255):
        films.put(10, priority=priority, front=True)
    begun = actions.begin("cancel", "films")
    done = 0
    for step in bulk.run(actions.client, begun, chunk=7, pause=0):
        done = step.done
        for priority in (0, 3, 200, 255, *keys):
            films.put(9, priority=priority)
        for priority in (0, 3, 200, 255):
            films.put(9, priority=priority, front=True)
    ready = films.count().ready
    assert done == 80
    assert films.count().cancelled == 80
    assert ready % 99 == 0
    films.put(8, delay=1000.0)
    assert finished(actions, actions.begin("cancel", "films"), chunk=5).done == ready + 8
    assert (films.count().qsize, films.count().imbalance) == (0, 0)


def test_delayed_jobs_that_become_due_meanwhile_are_cancelled(
    films: Films, actions: Actions, one_server: Any
) -> None:
    names = films.put(10, delay=1000.0)
    begun = actions.begin("cancel", "films")
    for name in names[5:]:
        one_server.raw.zadd("conveyor:{films}:delayed", {name: 1})
    steps = bulk.run(actions.client, begun, chunk=4, pause=0)
    assert actions.client.run(commands.promote("films")) == 5
    assert list(steps)[-1].done == 10


def test_purge_ends_while_producers_continue(films: Films, actions: Actions) -> None:
    films.put(25)
    for step in bulk.run(actions.client, actions.begin("purge", "films"), chunk=10, pause=0):
        assert step.done <= 25
        films.put(10)
    assert (step.state, step.done, films.count().ready) == ("done", 25, 30)


def test_purge_spares_jobs_put_meanwhile(films: Films, actions: Actions) -> None:
    old = films.put(20) + films.put(20, delay=1000.0)
    begun = actions.begin("purge", "films")
    fresh: list[str] = []
    for _ in bulk.run(actions.client, begun, chunk=7, pause=0):
        fresh += films.put(3, priority=9) + films.put(2, delay=2000.0)
    states = actions.client.run_all([commands.state("films", one) for one in old + fresh])
    assert [one.state for one in states[:40]] == ["over"] * 40
    assert {one.state for one in states[40:]} == {"ready", "delayed"}


def test_operation_on_an_empty_queue_finishes_immediately(actions: Actions) -> None:
    for kind in ("retry", "discard", "cancel", "purge"):
        (step,) = bulk.run(actions.client, actions.begin(kind, "nothing"), pause=0)
        assert (step.state, step.total, step.done, step.skipped) == ("done", 0, 0, 0)


@pytest.mark.parametrize(
    "wished",
    [
        ("sing", Matching()),
        ("purge", Matching(task="cut")),
        ("cancel", Matching(before_score=1.0)),
        ("retry", Matching(ids=("x",) * 1001)),
    ],
)
def test_invalid_operations_are_refused(actions: Actions, wished: tuple[str, Matching]) -> None:
    with pytest.raises(BadCall):
        actions.begin(wished[0], "films", wished[1])


@pytest.mark.parametrize(
    ("kind", "matching", "queues"),
    [
        ("purge", Matching(), ["a", "b"]),
        ("cancel", Matching(), ["a", "b"]),
        ("retry", Matching(ids=("x",)), ["a", "b"]),
        ("retry", Matching(), ["a", "b/c"]),
        ("retry", Matching(), [f"q{number}" for number in range(1001)]),
    ],
)
def test_operation_on_several_queues_is_refused(
    actions: Actions, kind: str, matching: Matching, queues: list[str]
) -> None:
    with pytest.raises(BadCall):
        actions.begin(kind, queues, matching)


def test_unknown_or_finished_operations_cannot_be_resumed(films: Films, actions: Actions) -> None:
    begun = actions.begin("purge", "films")
    finished(actions, begun)
    for name in (begun.id, "unknown"):
        with pytest.raises(BadCall):
            actions.resume_operation(name)
    with pytest.raises(BadCall):
        actions.stop_operation("unknown")


def test_operation_list_is_newest_first_and_bounded(actions: Actions, one_server: Any) -> None:
    for number in range(1005):
        bulk.save(actions.client, Operation("purge", "films", id=f"n{number}", started=number, state="done"))
    assert one_server.raw.zcard("conveyor:operations") == 1000
    names = bulk.operation_names(0, 3).ask(one_server.client)
    assert names == ["n1004", "n1003", "n1002"]
    one_server.raw.set("conveyor:operation:n1003", b"\xc1", ex=60)
    found = bulk.operations([*names, "forgotten"]).ask(one_server.client)
    assert [one.id for one in found] == ["n1004", "n1002"]


def limited(films: Films, count: int) -> list[str]:
    """Put jobs of a limit of one, of which all but the first are deferred, and return their ids."""
    names = ids.new_ids(count)
    own = {one: commands.pack_terms(limit="disk") for one in names}
    params = PutParams(terms=Terms(own, limit=(1, 0, 60.0, False)))
    for first in range(0, count, 400):
        films.client.run(
            commands.put(films.name, [(one, b"bytes") for one in names[first : first + 400]], params)
        )
    return names


@pytest.mark.parametrize("kind", ["cancel", "purge"])
def test_deferred_jobs_are_cancelled_with_the_others(films: Films, actions: Actions, kind: str) -> None:
    films.put(30)
    films.put(30, delay=600.0)
    limited(films, 900)
    begun = actions.begin(kind, "films")
    assert begun.total == 960
    later = films.put(2) if kind == "purge" else []
    done = finished(actions, begun, chunk=100)
    assert (done.done, done.state) == (960, "done")
    count = films.count()
    assert (count.ready, count.deferred, count.delayed, count.cancelled) == (len(later), 0, 0, 960)
    assert [job.id for job in films.claim().jobs] == later
    assert count.imbalance == 0


def test_chosen_deferred_jobs_are_cancelled(films: Films, actions: Actions) -> None:
    names = limited(films, 5)
    done = finished(actions, actions.begin("cancel", "films", Matching(ids=tuple(names[3:]))))
    assert (done.done, films.count().deferred) == (2, 2)


def test_job_after_a_purged_one_is_cancelled_with_it(films: Films, actions: Actions) -> None:
    first, second = ids.new_ids(2)
    films.client.run(commands.put("films", [(first, b"one")], PutParams()))
    own = {second: commands.pack_terms(after=[f"films {first}"])}
    films.client.run(commands.put("films", [(second, b"two")], PutParams(terms=Terms(own))))
    done = finished(actions, actions.begin("purge", "films"))
    assert (done.state, films.count().qsize, films.count().cancelled) == ("done", 0, 2)
