"""Every action is performed, reported and recorded: author, target, reason, before and after."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import BadCall, StoreRefused
from conveyor.monitor.actions import Actions, Actor
from conveyor.store import commands, keys
from conveyor.wire import control_messages
from conveyor.wire.audit_entry import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Films

    Trail = Callable[..., list[AuditEntry]]


def facts(act: AuditEntry) -> tuple[Any, ...]:
    return (
        act.action,
        act.target,
        act.queue,
        act.reason,
        act.before,
        act.after,
        act.outcome,
        act.who,
        act.origin,
    )


def told(server: Any, consumer: str) -> list[control_messages.ControlCommand]:
    return [
        control_messages.decode_command(data) for data in server.raw.lrange(keys.control_key(consumer), 0, -1)
    ]


def test_queue_is_paused_and_resumed(films: Films, actions: Actions, trail: Trail) -> None:
    films.put(2)
    answer = actions.pause_queue("films", "too hot")
    assert (answer.before.paused, answer.after.paused, answer.after.qsize, answer.recorded) == (
        0,
        1,
        2,
        True,
    )
    assert films.claim().state == "PAUSED"
    assert actions.resume_queue("films").after.paused == 0
    resumed, paused = trail()
    open_, shut = {"paused": False, "shutdown": False}, {"paused": True, "shutdown": False}
    assert facts(paused) == (
        *("pause_queue", "films", "films", "too hot", open_, shut, "done", "ann", "cli@there"),
    )
    assert facts(resumed)[:7] == ("resume_queue", "films", "films", "", shut, open_, "done")


def test_queue_limit_is_changed(films: Films, actions: Actions, trail: Trail) -> None:
    assert actions.bound_queue("films", 7, "small").after.maxsize == 7
    (act,) = trail()
    assert facts(act)[:7] == (
        *("bound_queue", "films", "films", "small", {"maxsize": 0}, {"maxsize": 7}, "done"),
    )
    with pytest.raises(BadCall):
        actions.bound_queue("films", -1)


def test_waiting_job_is_cancelled_once(films: Films, actions: Actions, trail: Trail) -> None:
    (job,) = films.put()
    assert actions.cancel_job("films", job, "wrong").state == "cancelled"
    (act,) = trail()
    before, after = {"state": "waiting", "task": "cut"}, {"state": "cancelled"}
    assert facts(act)[:7] == ("cancel_job", job, "films", "wrong", before, after, "cancelled")
    assert films.count().cancelled == 1


def test_cancel_of_a_running_job_is_sent_to_its_worker(
    films: Films, actions: Actions, trail: Trail, one_server: Any
) -> None:
    (job,) = films.put()
    films.claim()
    assert actions.cancel_job("films", job, "wrong").state == "running"
    (order,) = told(one_server, "host-ab12")
    assert (order.verb, order.job, order.workers, order.reason) == ("cancel", job, ["host-ab12/1"], "wrong")
    assert trail()[0].outcome == "running"


def test_impossible_cancel_is_reported_and_recorded(films: Films, actions: Actions, trail: Trail) -> None:
    (job,) = films.dead()
    assert actions.cancel_job("films", job).state == "dead"
    assert actions.cancel_job("films", "never-put").state == "gone"
    assert [act.outcome for act in trail()] == ["not done: gone", "not done: dead"]


def test_dead_job_is_retried_or_discarded(films: Films, actions: Actions, trail: Trail) -> None:
    first, second = films.dead(2)
    assert actions.retry_job("films", first, "again")[:2] == ("waiting", True)
    assert actions.retry_job("films", first)[:2] == ("waiting", False)
    assert actions.discard_job("films", second, "no use")[:2] == ("discarded", True)
    assert (films.state(first), films.state(second)) == ("ready", "over")
    discarded, again, retried = trail()
    dead = {"state": "dead", "task": "cut"}
    assert facts(retried)[:7] == ("retry_job", first, "films", "again", dead, {"state": "waiting"}, "waiting")
    assert again.outcome == "not dead: waiting"
    assert facts(discarded)[:5] == ("discard_job", second, "films", "no use", dead)
    assert (films.count().discarded, films.count().imbalance) == (1, 0)


def test_each_worker_and_consumer_gets_one_stop_command(
    actions: Actions, trail: Trail, one_server: Any
) -> None:
    order = actions.control_workers("stop", ["a-1/1", "a-1/2", "b-1/1", "b-1"], "holiday")
    (to_a,), (to_b,) = told(one_server, "a-1"), told(one_server, "b-1")
    assert (to_a.id, to_a.verb, to_a.workers, to_a.reason) == (
        order.id,
        "stop",
        ["a-1/1", "a-1/2"],
        "holiday",
    )
    assert to_b.workers == [], "the whole consumer"
    (act,) = trail()
    assert (act.action, act.target, act.reason) == ("stop_workers", "a-1/1, a-1/2, b-1/1, b-1", "holiday")
    with pytest.raises(BadCall):
        actions.control_workers("sing", ["a-1"])


def test_control_commands_expire_by_the_clock_of_the_server(
    actions: Actions, one_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)  # the caller's clock is a day ahead
    for verb, seconds in (("kill", 10), ("stack", 10), ("stop", 60), ("pause", 60), ("resume", 60)):
        actions.control_workers(verb, [f"{verb}-1"])
        (order,) = told(one_server, f"{verb}-1")
        second, micros = one_server.raw.time()
        assert seconds - 5 < order.expires - (second + micros / 1e6) <= seconds


def test_kill_command_names_the_job_of_each_worker(actions: Actions, one_server: Any) -> None:
    jobs = {"a-1/1": "x", "a-1/3": "y", "b-1": "z"}
    order = actions.control_workers("kill", ["a-1/1", "a-1/2", "a-1/3", "b-1"], jobs=jobs)
    assert sorted((one.workers, one.job, one.id) for one in told(one_server, "a-1")) == [
        (["a-1/1"], "x", order.id),
        (["a-1/2"], "", order.id),
        (["a-1/3"], "y", order.id),
    ]
    (whole,) = told(one_server, "b-1")
    assert (whole.workers, whole.job) == ([], "")
    actions.control_workers("stop", ["c-1/1", "c-1/2"], jobs={"c-1/1": "x"})
    assert [one.job for one in told(one_server, "c-1")] == [""], "what it runs is finished, whatever it is"


def test_callers_can_record_their_own_actions(actions: Actions, trail: Trail) -> None:
    assert actions.record(AuditEntry("enqueue_job", "x", "films", after={"jobs": 1}, outcome="done"))
    assert actions.record(AuditEntry("enqueue_job", "y", "films", who="bob", origin="page"))
    assert [(act.target, act.who, act.origin) for act in trail()] == [
        *[("y", "bob", "page"), ("x", "ann", "cli@there")],
    ]


def test_action_on_a_full_server_happens_and_is_recorded(
    films: Films, actions: Actions, trail: Trail, one_server: Any
) -> None:
    (waits,) = films.put()
    one_server.raw.config_set("maxmemory", "1mb")
    assert actions.pause_queue("films", "full").recorded
    assert actions.cancel_job("films", waits).state == "cancelled"
    assert films.count().paused == 1
    assert [act.action for act in trail()] == ["cancel_job", "pause_queue"]


def test_action_that_the_server_refuses_is_recorded_as_refused(
    films: Films, actions: Actions, trail: Trail, one_server: Any
) -> None:
    (job,) = films.dead()
    one_server.raw.config_set("maxmemory", "1mb")
    with pytest.raises(StoreRefused):
        actions.retry_job("films", job, "again")
    (act,) = trail()
    assert (act.action, act.reason) == ("retry_job", "again")
    assert act.outcome.startswith("refused: ")
    assert films.state(job) == "dead"


def test_action_happens_and_reports_if_it_cannot_be_recorded(
    films: Films, actions: Actions, one_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one_server.raw.set(keys.AUDIT, "no stream")
    with caplog.at_level(logging.INFO, "conveyor.audit"):
        answer = actions.pause_queue("films", "why not")
    one_server.raw.delete(keys.AUDIT)
    assert (answer.recorded, films.count().paused) == (False, 1)
    assert [line.levelname for line in caplog.records] == ["INFO", "WARNING"]
    assert 'reason="why not"' in caplog.text


def test_each_action_is_a_line_of_the_log(
    films: Films, actions: Actions, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "conveyor.audit"):
        actions.bound_queue("films", 3, "two\nlines\x9b\u202e, token=s3cr3t")
    (line,) = caplog.records
    assert line.getMessage() == (
        'action="bound_queue" target="films" queue="films" reason="two\\nlines\\x9b\\u202e, token=•••" '
        'before={"maxsize":0} after={"maxsize":3} outcome="done" who="ann" origin="cli@there"'
    )
    assert line.act.action == "bound_queue"


@pytest.mark.parametrize("name", ["", "../x", "a b", "{x}"])
def test_invalid_queue_names_are_refused(actions: Actions, name: str) -> None:
    for act in (actions.pause_queue, actions.resume_queue):
        with pytest.raises(BadCall):
            act(name)
    for act in (actions.cancel_job, actions.retry_job, actions.discard_job):
        with pytest.raises(BadCall):
            act(name, "id")


def test_actions_work_on_every_server(server: Any) -> None:
    actions = Actions(server.client, Actor("ann", "here"))
    assert actions.pause_queue("films").recorded
    assert actions.cancel_job("films", "x").recorded
    assert actions.begin("purge", "films").state == "running"
    assert server.client.run(commands.count("films")).paused == 1
    assert server.raw.xlen(keys.AUDIT) == 3
