"""The line of producers that wait for room: first come, first served, and nobody is held up by the dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ShutDown
from conveyor.store import commands
from conveyor.store.answers import PutAnswer

if TYPE_CHECKING:
    from conftest import Lane

FULL = PutAnswer(0, 1)


@pytest.fixture
def full(lane: Lane) -> Lane:
    """Give a queue with room for one, which is taken."""
    lane.put("first", maxsize=1)
    return lane


def is_woken(lane: Lane, waiter: str) -> bool:
    return lane.raw.exists(lane.key(f"wake:{waiter}")) == 1


def test_who_finds_no_room_and_waits_is_noted_and_who_does_not_wait_is_not(full: Lane) -> None:
    before = full.dump()
    assert full.put("x") == FULL
    assert full.changes(before) == {}
    assert full.put("a", waiter="ann") == FULL
    assert full.changes(before) == {"line": {"ann": 1}, "seen": {"ann": "now"}}
    assert full.count().blocked == 1


@pytest.mark.parametrize("order", [("zoe", "bob", "ann"), ("ann", "zoe", "bob")])
def test_the_line_keeps_the_order_of_arrival_whatever_the_names_are(
    full: Lane, order: tuple[str, ...]
) -> None:
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


def test_asking_again_does_not_cost_the_place(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.put("b", waiter="bob")
    before = full.dump()
    assert full.put("a", waiter="ann") == FULL
    assert full.changes(before) == {}


def test_room_wakes_the_first_in_line_and_only_as_many_as_there_is_room_for(full: Lane) -> None:
    for waiter in ("ann", "bob", "cid"):
        full.put(f"of {waiter}", waiter=waiter)
    full.claim()
    assert [is_woken(full, waiter) for waiter in ("ann", "bob", "cid")] == [True, False, False]
    full.run(commands.bound, 2)
    assert [is_woken(full, waiter) for waiter in ("ann", "bob", "cid")] == [True, True, False]


def test_who_does_not_stand_in_line_gets_only_what_the_line_leaves_over(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.claim()
    assert full.put("pushed in").accepted == 0
    assert full.put("a", waiter="ann") == PutAnswer(1, 1)
    full.run(commands.bound, 2)
    assert full.put("now there is room").accepted == 1


def test_who_was_served_has_left_the_line(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.claim()
    full.put("a", waiter="ann")
    state = full.dump()
    assert "line" not in state
    assert "seen" not in state


def test_who_got_a_part_keeps_its_place_for_the_rest(full: Lane) -> None:
    full.put("a1", "a2", waiter="ann")
    full.put("b", waiter="bob")
    full.claim()
    assert full.put("a1", "a2", waiter="ann") == PutAnswer(1, 1)
    full.claim()
    assert full.put("b", waiter="bob").accepted == 0
    assert full.put("a2", waiter="ann") == PutAnswer(1, 1)


def test_a_producer_that_leaves_lets_the_next_one_in(full: Lane) -> None:
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


def test_leaving_twice_or_without_having_waited_changes_nothing(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.run(commands.leave, "ann")
    before = full.dump()
    assert full.run(commands.leave, "ann") == "OK"
    assert full.run(commands.leave, "who?") == "OK"
    assert full.changes(before) == {}


@pytest.mark.parametrize("ago", [6_000, -3_600_000])
def test_a_producer_that_died_in_line_holds_nobody_up_even_if_the_clock_was_set_back(
    full: Lane, ago: int
) -> None:
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


def test_many_producers_that_died_in_line_hold_nobody_up(full: Lane) -> None:
    dead = [f"dead{number}" for number in range(100)]
    for one in dead:
        full.put(one, waiter=one)
    full.claim()
    now = full.raw.time()[0] * 1000
    full.raw.hset(full.key("seen"), mapping=dict.fromkeys(dead, now - 6_000))
    assert full.put("b", waiter="bob").accepted == 1
    assert "line" not in full.dump()


def test_of_the_producers_in_line_those_count_as_blocked_that_were_heard_of_lately(full: Lane) -> None:
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


def test_a_producer_heard_of_lately_is_not_taken_for_dead(full: Lane) -> None:
    full.put("a", waiter="slow")
    full.raw.hset(full.key("seen"), "slow", full.raw.time()[0] * 1000 - 3_000)
    full.claim()
    assert full.put("b", waiter="bob").accepted == 0


def test_shutting_the_queue_wakes_everyone_in_line(full: Lane) -> None:
    for waiter in ("ann", "bob"):
        full.put(f"of {waiter}", waiter=waiter)
    full.run(commands.shut)
    assert is_woken(full, "ann")
    assert is_woken(full, "bob")
    with pytest.raises(ShutDown):
        full.put("of ann", waiter="ann")


@pytest.mark.parametrize("way", ["claim", "cancel", "purge", "bound", "leave", "resume"])
def test_everything_that_makes_room_wakes_the_line(full: Lane, way: str) -> None:
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
    assert full.put("a1", waiter="ann", rest=1) == PutAnswer(1, 1)
    full.claim()
    assert full.put("b", waiter="bob").accepted == 0
    assert full.put("a2", waiter="ann") == PutAnswer(1, 1)
    full.claim()
    assert full.put("b", waiter="bob") == PutAnswer(1, 1)
    assert "line" not in full.dump()


def test_answer_and_hint_say_for_how_many_there_is_room(full: Lane) -> None:
    for waiter in ("ann", "bob"):
        full.put(waiter=waiter, rest=9)
    full.run(commands.bound, 5)
    assert [full.raw.lrange(full.key(f"wake:{one}"), 0, -1) for one in ("ann", "bob")] == [[b"4"], [b"3"]]
    assert full.put(waiter="bob", rest=9) == PutAnswer(0, 1, 3)
    assert full.put("a1", waiter="ann", rest=8) == PutAnswer(1, 2, 3)
    assert full.put("a2", waiter="ann", rest=1) == PutAnswer(1, 3, 1)
    assert full.put("b1", waiter="bob", rest=8) == PutAnswer(1, 4, 0)
    assert full.put("a3", waiter="ann") == PutAnswer(1, 5)


def test_producer_that_asks_without_jobs_is_refused_if_shut_down(full: Lane) -> None:
    full.run(commands.shut)
    with pytest.raises(ShutDown):
        full.put(waiter="ann", rest=1)
    assert "line" not in full.dump()


def test_forget_takes_the_dead_out_of_the_line(full: Lane) -> None:
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


def test_lifted_bound_wakes_the_line(full: Lane) -> None:
    full.put("a", waiter="ann")
    full.run(commands.bound, 0)
    assert is_woken(full, "ann")
    assert full.put("a", waiter="ann") == PutAnswer(1, 2)
    assert "line" not in full.dump()
