"""The line of blocked producers: first come, first served, and the dead block no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ShutDown
from conveyor.store import commands
from conveyor.store.commands import PutReply

if TYPE_CHECKING:
    from conftest import Lane

FULL = PutReply(0)


@pytest.fixture
def full(lane: Lane) -> Lane:
    """Return a full queue with room for one."""
    lane.put("first", maxsize=1)
    return lane


def is_woken(lane: Lane, waiter: str) -> bool:
    return lane.raw.exists(lane.key(f"wake:{waiter}")) == 1


def test_only_blocked_producers_are_added_to_the_line(full: Lane) -> None:
    before = full.dump()
    assert full.put("x") == FULL
    assert full.changes(before) == {}
    assert full.put("a", waiter="ann") == FULL
    assert full.changes(before) == {"line": {"ann": 1}, "seen": {"ann": "now"}}
    assert full.count().blocked == 1


@pytest.mark.parametrize("order", [("zoe", "bob", "ann"), ("ann", "zoe", "bob")])
def test_line_keeps_the_order_of_arrival_for_any_names(full: Lane, order: tuple[str, ...]) -> None:
    for waiter in order:
        full.put(f"of {waiter}", waiter=waiter)
    assert [name.decode() for name in full.raw.zrange(full.key("line"), 0, -1)] == [*order]
    for waiter in order:
        full.claim()
        for other in order:
            if other != waiter:
                assert full.put(f"of {other}", waiter=other).accepted == 0
        assert full.put(f"of {waiter}", waiter=waiter).accepted == 1
        order = tuple(name for name in order if name != waiter)


def test_repeated_put_keeps_the_place_in_line(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.put("b", waiter="bob")
    before = full.dump()
    assert full.put("a", waiter="ann") == FULL
    assert full.changes(before) == {}


def test_room_wakes_only_as_many_producers_as_fit(full: Lane) -> None:
    for waiter in ("ann", "bob", "cid"):
        full.put(f"of {waiter}", waiter=waiter)
    full.claim()
    assert [is_woken(full, waiter) for waiter in ("ann", "bob", "cid")] == [True, False, False]
    full.run(commands.bound, 2)
    assert [is_woken(full, waiter) for waiter in ("ann", "bob", "cid")] == [True, True, False]


def test_producer_outside_the_line_gets_only_leftover_room(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.claim()
    assert full.put("pushed in").accepted == 0
    assert full.put("a", waiter="ann") == PutReply(1)
    full.run(commands.bound, 2)
    assert full.put("now there is room").accepted == 1


def test_served_producer_leaves_the_line(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.claim()
    full.put("a", waiter="ann")
    state = full.dump()
    assert "line" not in state
    assert "seen" not in state


def test_partly_served_producer_keeps_its_place_for_the_rest(full: Lane) -> None:
    full.put("a1", "a2", waiter="ann")
    full.put("b", waiter="bob")
    full.claim()
    assert full.put("a1", "a2", waiter="ann") == PutReply(1)
    full.claim()
    assert full.put("b", waiter="bob").accepted == 0
    assert full.put("a2", waiter="ann") == PutReply(1)


def test_producer_that_leaves_admits_the_next(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.put("b", waiter="bob")
    full.claim()
    assert not is_woken(full, "bob")
    full.run(commands.leave, "ann")
    assert list(full.dump()["seen"]) == ["bob"]
    assert is_woken(full, "bob")
    assert full.put("b", waiter="bob").accepted == 1


def test_line_is_not_woken_without_room(full: Lane) -> None:
    for waiter in ("ann", "bob"):
        full.put(f"of {waiter}", waiter=waiter)
    full.run(commands.leave, "bob")
    assert not is_woken(full, "ann")


def test_repeated_or_unneeded_leave_changes_nothing(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.run(commands.leave, "ann")
    before = full.dump()
    assert full.run(commands.leave, "ann") == "OK"
    assert full.run(commands.leave, "who?") == "OK"
    assert full.changes(before) == {}


@pytest.mark.parametrize("ago", [6_000, -3_600_000])
def test_dead_producer_in_line_blocks_no_other_despite_the_clock(full: Lane, ago: int) -> None:
    full.put("a", waiter="dead")
    full.put("b", waiter="bob")
    full.claim()
    assert full.put("b", waiter="bob").accepted == 0
    now = full.raw.time()[0] * 1000
    full.raw.hset(full.key("seen"), "dead", now - ago)
    assert full.put("b", waiter="bob").accepted == 1
    state = full.dump()
    assert "line" not in state
    assert "seen" not in state


def test_many_dead_producers_in_line_block_no_other(full: Lane) -> None:
    dead = [f"dead{number}" for number in range(100)]
    for one in dead:
        full.put(one, waiter=one)
    full.claim()
    now = full.raw.time()[0] * 1000
    full.raw.hset(full.key("seen"), mapping=dict.fromkeys(dead, now - 6_000))
    assert full.put("b", waiter="bob").accepted == 1
    assert "line" not in full.dump()


def test_only_recently_seen_producers_count_as_blocked(full: Lane) -> None:
    for waiter in ("ann", "bob", "cid"):
        full.put(f"of {waiter}", waiter=waiter)
    assert full.count().blocked == 3
    now = full.raw.time()[0] * 1000
    full.raw.hset(full.key("seen"), mapping={"ann": now - 6_000, "bob": now + 3_600_000, "cid": now - 1_000})
    before = full.dump()
    assert full.count().blocked == 1
    full.raw.hdel(full.key("seen"), "cid")
    assert full.count().blocked == 0
    full.raw.hset(full.key("seen"), "cid", now)
    assert set(full.changes(before)) <= {"seen"}


def test_recently_seen_producer_does_not_count_as_dead(full: Lane) -> None:
    full.put("a", waiter="slow")
    full.raw.hset(full.key("seen"), "slow", full.raw.time()[0] * 1000 - 3_000)
    full.claim()
    assert full.put("b", waiter="bob").accepted == 0


def test_shutdown_wakes_every_producer_in_line(full: Lane) -> None:
    for waiter in ("ann", "bob"):
        full.put(f"of {waiter}", waiter=waiter)
    full.run(commands.shut)
    assert is_woken(full, "ann")
    assert is_woken(full, "bob")
    with pytest.raises(ShutDown):
        full.put("of ann", waiter="ann")


@pytest.mark.parametrize("way", ["claim", "cancel", "purge", "bound", "leave", "resume"])
def test_any_release_of_room_wakes_the_line(full: Lane, way: str) -> None:
    full.put("a", waiter="ann")
    if way == "leave":
        full.put("b", waiter="bob")
        full.claim()
        full.raw.delete(full.key("wake:ann"))
    if way == "resume":
        full.claim()
        full.raw.delete(full.key("wake:ann"))
    {
        "claim": full.claim,
        "cancel": lambda: full.run(commands.cancel, "first", b"away", 60.0),
        "purge": lambda: full.run(commands.purge, "ready", 1, b"away", 60.0),
        "bound": lambda: full.run(commands.bound, 5),
        "leave": lambda: full.run(commands.leave, "bob"),
        "resume": lambda: full.run(commands.resume),
    }[way]()
    assert is_woken(full, "ann")


def test_rest_of_a_put_keeps_its_place_in_line(full: Lane) -> None:
    assert full.put(waiter="ann", rest=2) == FULL
    assert full.put("b", waiter="bob") == FULL
    full.claim()
    assert full.put("a1", waiter="ann", rest=1) == PutReply(1)
    full.claim()
    assert full.put("b", waiter="bob").accepted == 0
    assert full.put("a2", waiter="ann") == PutReply(1)
    full.claim()
    assert full.put("b", waiter="bob") == PutReply(1)
    assert "line" not in full.dump()


def test_reply_and_wake_up_have_the_number_of_free_places(full: Lane) -> None:
    for waiter in ("ann", "bob"):
        full.put(waiter=waiter, rest=9)
    full.run(commands.bound, 5)
    assert [full.raw.lrange(full.key(f"wake:{one}"), 0, -1) for one in ("ann", "bob")] == [[b"4"], [b"3"]]
    assert full.put(waiter="bob", rest=9) == PutReply(0, 3)
    assert full.put("a1", waiter="ann", rest=8) == PutReply(1, 3)
    assert full.put("a2", waiter="ann", rest=1) == PutReply(1, 1)
    assert full.put("b1", waiter="bob", rest=8) == PutReply(1, 0)
    assert full.put("a3", waiter="ann") == PutReply(1)


def test_put_without_jobs_is_refused_after_shutdown(full: Lane) -> None:
    full.run(commands.shut)
    with pytest.raises(ShutDown):
        full.put(waiter="ann", rest=1)
    assert "line" not in full.dump()


def test_forget_removes_dead_producers_from_the_line(full: Lane) -> None:
    full.put("a", waiter="dead")
    full.put("b", waiter="bob")
    full.run(commands.listen, "producer01", 1000.0, [])
    full.raw.zadd(full.key("inboxes"), {"producer01": 1})
    full.claim()
    full.raw.hset(full.key("seen"), "dead", full.raw.time()[0] * 1000 - 6_000)
    full.run(commands.forget, 0.0)
    state = full.dump()
    assert list(state["line"]) == list(state["seen"]) == ["bob"]
    assert "inboxes" not in state
    assert is_woken(full, "bob")


def test_lifted_limit_wakes_the_line(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.run(commands.bound, 0)
    assert is_woken(full, "ann")
    assert full.put("a", waiter="ann") == PutReply(1)
    assert "line" not in full.dump()
