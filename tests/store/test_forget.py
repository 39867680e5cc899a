"""forget: an empty queue is removed with all its keys, immediately or after long disuse, and dead waiters too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import Queue
from conveyor.errors import StoreMismatch, StoreUnavailable
from conveyor.store import commands, forgetting, records
from conveyor.store.commands import ForgetReply, Settlement

if TYPE_CHECKING:
    from conftest import Lane

DAY = 86400.0
LONG = 30 * DAY


def let_time_pass(lane: Lane, seconds: float) -> None:
    """Simulate that the queue has been unused for the given time longer."""
    text = lane.raw.hget(lane.key("meta"), "unused").decode()
    mark, _, since = text.rpartition(" ")
    lane.raw.hset(lane.key("meta"), "unused", f"{mark} {int(since) - int(seconds * 1000)}")


def use(lane: Lane, one: str = "a") -> None:
    """Put a job and process it, so that every kind of key has existed."""
    lane.run(commands.join, "joe")
    token = lane.take(one)
    lane.run(commands.tally, "ann", 1, None, [("cut", "b=1 s=1")])
    lane.run(commands.finish, token, [Settlement(one, b"done", 600.0, b"note")])


def keys_of(lane: Lane) -> set[str]:
    """Return the remaining keys of the queue, except the note that it was deleted."""
    names = {key.decode() for key in lane.raw.scan_iter(count=1000) if lane.queue in key.decode()}
    return names - {lane.key("deleted")}


@pytest.mark.parametrize("where", ["ready", "delayed", "leased", "dead"])
def test_queue_with_jobs_is_not_removed(lane: Lane, where: str) -> None:
    lane.client.run(commands.note_queue(lane.queue))
    lane.put("a", delay=1000.0 if where == "delayed" else 0.0)
    if where in {"leased", "dead"}:
        token = lane.claim().token
        if where == "dead":
            lane.run(commands.fail, token, Settlement("a", b"no", 60.0, group="5af3"))
    before = lane.dump()
    assert forgetting.delete(lane.client, lane.queue) == ForgetReply("LIVE")._replace(**{where: 1})
    assert lane.changes(before) == {}
    assert lane.raw.sismember("conveyor:queues", lane.queue)


def test_deleted_queue_leaves_no_key_and_no_name(lane: Lane) -> None:
    lane.client.run(commands.note_queue(lane.queue))
    use(lane)
    lane.client.run_all(records.log(lane.queue, "a", "a line"))
    other = lane.raw.set(f"conveyor:{{{lane.queue}x}}:outcome:a", "other", ex=60)
    assert len(keys_of(lane)) > 8
    assert forgetting.delete(lane.client, lane.queue).word == "GONE"
    assert keys_of(lane) == {f"conveyor:{{{lane.queue}x}}:outcome:a"}
    assert other
    assert not lane.raw.sismember("conveyor:queues", lane.queue)
    assert forgetting.delete(lane.client, lane.queue).word == "GONE"


@pytest.mark.parametrize("step", ["drop_names", "some_remains", "clear"])
def test_jobs_put_during_a_deletion_stay(lane: Lane, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The producer noted the name a moment ago, so it would not do so again automatically."""
    producer = Queue(lane.queue, store=lane.server.another_client())
    producer.put("before")
    lane.run(commands.purge, "ready", 9, b"", 60.0)
    use(lane)
    real, put = getattr(forgetting, step), []

    def put_and_go_on(queue: str, *args: Any) -> Any:
        if not put:
            put.append(producer.put_many(range(50)))
            token = lane.claim().token
            lane.run(commands.finish, token, [Settlement(lane.dump()["leased"].popitem()[0], b"done", 600.0)])
        return real(queue, *args)

    monkeypatch.setattr(forgetting, step, put_and_go_on)
    Queue(lane.queue, store=lane.client).delete()
    assert put
    assert len(lane.dump()["ready"]) == 49
    assert lane.raw.keys(lane.key("outcome:*"))
    assert lane.raw.sismember("conveyor:queues", lane.queue)


def test_name_stays_if_the_server_fails_during_a_deletion(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(lane.queue, store=lane.client)
    queue.put_many(range(9))
    run = lane.client.run

    def fail(command: Any, **limits: Any) -> Any:
        if command.script is not None and command.script.name == "forget":
            raise StoreUnavailable
        return run(command, **limits)

    with monkeypatch.context() as patch:
        patch.setattr(lane.client, "run", fail)
        with pytest.raises(StoreUnavailable):
            queue.delete()
    assert lane.raw.sismember("conveyor:queues", lane.queue)


def test_only_the_last_deleted_births_are_kept(lane: Lane) -> None:
    born = []
    for _ in range(25):
        use(lane)
        born.append(int(lane.raw.hget(lane.key("meta"), "born")))
        lane.raw.delete(lane.key("outcome:a"))
        forgetting.delete(lane.client, lane.queue)
    known = [lane.client.run(commands.was_deleted(lane.queue, one)) for one in born]
    assert known == [False] * 5 + [True] * 20
    assert 0 < lane.raw.ttl(lane.key("deleted")) <= LONG


def test_late_tally_does_not_recreate_a_deleted_queue(lane: Lane) -> None:
    use(lane)
    forgetting.delete(lane.client, lane.queue)
    lane.run(commands.tally, "ann", 2, 1.0, [("cut", "b=1 s=1")])
    assert keys_of(lane) == set()


def test_queue_unused_for_thirty_days_is_forgotten(lane: Lane) -> None:
    lane.client.run(commands.note_queue(lane.queue))
    use(lane)
    for seconds in (0.0, LONG - 60.0):
        assert forgetting.forget_unused(lane.client) is None
        assert lane.run(commands.forget, LONG).word == "USED"
        let_time_pass(lane, seconds)
    forgetting.forget_unused(lane.client)
    assert lane.raw.exists(lane.key("meta"))
    let_time_pass(lane, 120.0)
    assert forgetting.forget_unused(lane.client) is None
    left = {key.rpartition("}:")[2].partition(":")[0] for key in keys_of(lane)}
    assert left <= {"outcome", "claim", "tally", "wake", "minute", "hour"}, "these expire by themselves"
    assert not lane.raw.sismember("conveyor:queues", lane.queue)


@pytest.mark.parametrize("how", ["put", "claim", "paused", "shut"])
def test_queue_in_use_is_not_forgotten(lane: Lane, how: str) -> None:
    lane.client.run(commands.note_queue(lane.queue))
    use(lane)
    if how == "claim":
        lane.put("b")
    lane.run(commands.forget, LONG)
    if how == "claim":
        token = lane.claim().token
        lane.run(commands.finish, token, [Settlement("b", b"", 0.0)])
        lane.run(commands.forget, LONG)
    let_time_pass(lane, LONG)
    {
        "put": lambda: (lane.put("c"), lane.run(commands.purge, "ready", 9, b"", 0.0)),
        "claim": lambda: use(lane, "d"),
        "paused": lambda: lane.run(commands.pause),
        "shut": lambda: lane.run(commands.shut),
    }[how]()
    forgetting.forget_unused(lane.client)
    assert lane.raw.exists(lane.key("meta"))
    assert lane.raw.sismember("conveyor:queues", lane.queue)


def test_put_between_query_and_removal_keeps_queue_and_name(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.client.run(commands.note_queue(lane.queue))
    use(lane)
    lane.run(commands.forget, LONG)
    let_time_pass(lane, LONG)
    idle = forgetting._idle

    def look_and_put(*args: Any) -> list[str]:
        found = idle(*args)
        lane.put("late")
        return found

    monkeypatch.setattr(forgetting, "_idle", look_and_put)
    forgetting.forget_unused(lane.client)
    assert list(lane.dump()["ready"]) == ["late"]
    assert lane.raw.sismember("conveyor:queues", lane.queue)


def test_queues_of_other_programs_are_left_alone(lane: Lane) -> None:
    """One is of another protocol version, one has foreign keys; the next one is forgotten."""
    for name in ("other-version", "spoiled", lane.queue):
        lane.client.run(commands.note_queue(name))
        lane.client.run(commands.bound(name, 1))
        lane.client.run(commands.forget(name, LONG))
    let_time_pass(lane, LONG)
    lane.raw.hset("conveyor:{other-version}:meta", "version", "3")
    lane.raw.set("conveyor:{spoiled}:ready", "text")
    forgetting.forget_unused(lane.client)
    assert lane.raw.smembers("conveyor:queues") == {b"other-version", b"spoiled"}
    assert keys_of(lane) == set()
    with pytest.raises(StoreMismatch):
        forgetting.delete(lane.client, "other-version")
    assert lane.raw.smembers("conveyor:queues") == {b"other-version", b"spoiled"}
    lane.raw.delete("conveyor:{spoiled}:ready")


def test_thousand_queues_are_inspected_in_chunks(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "FORGET_WITHIN", 30.0)  # the machine may be busy
    for number in range(1000):
        lane.raw.sadd("conveyor:queues", f"once{number}")
    forgetting.forget_unused(lane.client, unused=0.001)
    rounds, cursor = 1, "0"
    while cursor := forgetting.forget_unused(lane.client, cursor, unused=0.001):
        rounds += 1
    assert 5 < rounds < 100
    lane.raw.delete("conveyor:queues")
    for number in range(1000):
        lane.raw.delete(f"conveyor:{{once{number}}}:meta")
