"""Limits: how many jobs of a key, or of the queue, run at a time or start within a period; rests; order of a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.store import commands, keys
from conveyor.store.commands import PutParams, RowRange, Settlement

from .conftest import names

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45
LONG = 1000.0
ONE: Any = {"limit": "k", "limits": (1, 0, 60.0, False)}
TWO: Any = {"limit": "k", "limits": (2, 0, 60.0, False)}
ORDERED: Any = {"limit": "k", "limits": (1, 0, 60.0, True)}
RATE: Any = {"limit": "k", "limits": (0, 2, LONG, False)}


def turn(lane: Lane, *keys: str) -> None:
    """Set the time at which the next jobs of keys may start to a past one."""
    for one in keys:
        lane.raw.zadd(lane.key("turns"), {one: 1})
        starts = lane.key(f"starts:{one}")
        lane.raw.delete(starts)


def test_jobs_over_the_limit_of_their_key_are_deferred(lane: Lane) -> None:
    lane.submit("a", "b", "c", **TWO)
    assert lane.dump() == {
        "jobs": {one: f"bytes of {one}" for one in "abc"},
        "ready": {"a": TOP + 1, "b": TOP + 2},
        "deferred": {"c": TOP + 3},
        "lane:k": {"c": TOP + 3},
        "terms": {
            one: (letter, {"l": "k", "m": [2, 0, 60_000, 0]})
            for one, letter in zip("abc", "rrb", strict=True)
        },
        "limits": {"k": [2, 0, 60_000, 0, 2, 0, 0]},
        "bell": ["1"] * 3,
        "meta.version": "2",
        "meta.sequence": "3",
        "meta.accepted": "3",
    }


def test_end_of_a_job_makes_the_next_of_its_key_ready(lane: Lane) -> None:
    lane.submit("a", "b", "c", **ONE)
    batch = lane.claim(9)
    assert names(batch) == ["a"]
    assert lane.dump()["limits"] == {"k": [1, 0, 60_000, 0, 1, 0, 0]}
    lane.finish(batch)
    state = lane.dump()
    assert state.get("ready") == {"b": TOP + 4}
    assert state["limits"] == {"k": [1, 0, 60_000, 0, 1, 0, 0]}
    for expected in "bc":
        batch = lane.claim(9)
        assert names(batch) == [expected]
        lane.finish(batch)
    left = lane.dump()
    assert {"limits", "terms", "deferred", "lane:k", "turns"} & left.keys() == set()


def test_next_job_wakes_a_consumer(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    batch = lane.claim()
    lane.raw.delete(lane.key("bell"))
    lane.finish(batch)
    assert lane.raw.llen(lane.key("bell")) == 1


def test_other_keys_do_not_wait_for_a_full_one(lane: Lane) -> None:
    lane.submit(*(f"a{number}" for number in range(50)), **ONE)
    lane.submit("b", limit="other", limits=(1, 0, 60.0, False))
    lane.put("plain")
    assert names(lane.claim(9)) == ["a0", "b", "plain"]


def test_few_jobs_of_a_key_are_ready_at_a_time(lane: Lane) -> None:
    lane.submit(*(f"a{number}" for number in range(50)), limit="k")
    lane.submit("b", limit="other")
    assert names(lane.claim(20))[16:] == ["b"]
    assert lane.count().ready == 16


def test_priority_orders_the_jobs_of_a_key(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    lane.submit("urgent", priority=9, **ONE)
    lane.submit("front", front=True, **ONE)
    found = []
    while jobs := (batch := lane.claim()).jobs:
        found += [job.id for job in jobs]
        lane.finish(batch)
    assert found == ["a", "urgent", "front", "b"]


def test_next_job_keeps_its_priority(lane: Lane) -> None:
    lane.submit("a", **ONE)
    lane.submit("urgent", priority=9, **ONE)
    lane.put("plain")
    lane.finish(lane.claim())
    assert names(lane.claim()) == ["urgent"]


def test_delayed_job_gets_its_slot_once_it_is_due(lane: Lane) -> None:
    """The limit may have been forgotten meanwhile, since no job of its key was there."""
    lane.submit("a", "b", delay=LONG, priority=3, **ONE)
    state = lane.dump()
    assert state["terms"] == {one: ("-", {"l": "k", "m": [1, 0, 60_000, 0]}) for one in "ab"}
    assert state.get("priorities") == {"a": "3", "b": "3"}
    assert "limits" not in state
    lane.raw.zadd(lane.key("delayed"), {"a": 1, "b": 2})
    assert names(lane.claim(9)) == ["a"]
    assert lane.dump()["lane:k"] == {"b": 252 * 2**45 + 4}


def test_newest_definition_of_a_limit_holds(lane: Lane) -> None:
    lane.submit("a", **ONE)
    lane.submit("b", "c", "d", **TWO)
    assert names(lane.claim(9)) == ["a", "b"]
    lane.submit("e", **ONE)
    assert lane.dump()["limits"] == {"k": [1, 0, 60_000, 0, 2, 0, 0]}


def test_smaller_limit_holds_once_the_jobs_over_it_have_ended(lane: Lane) -> None:
    lane.submit(*"abcd", limit="k", limits=(3, 0, 60.0, False))
    batches = [lane.claim() for _ in range(3)]
    lane.submit("e", **ONE)
    for batch in batches[:2]:
        lane.finish(batch)
        assert names(lane.claim(9)) == []
    lane.finish(batches[2])
    assert names(lane.claim(9)) == ["d"]


@pytest.mark.parametrize("how", ["cancel", "purge"])
@pytest.mark.parametrize("state", ["ready", "deferred", "delayed"])
def test_job_that_ends_early_frees_its_slot(lane: Lane, how: str, state: str) -> None:
    lane.submit("a", "b", "c", **ONE)
    gone, then = {"ready": ("a", ["b"]), "deferred": ("b", []), "delayed": ("d", [])}[state]
    if state != "ready":
        lane.claim()
        lane.submit("d", delay=LONG, **ONE)
    if how == "cancel":
        lane.run(commands.cancel, gone, b"away", 60.0)
    else:
        assert lane.run(commands.purge, state, 1, b"away", 60.0) == 1
    assert lane.state(gone) == "over"
    assert names(lane.claim(9)) == then
    assert gone not in lane.dump()["terms"]


def test_run_that_was_to_be_cancelled_frees_its_slot(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    token = lane.claim().token
    lane.run(commands.cancel, "a", b"away", 60.0)
    assert names(lane.claim(9)) == []
    lane.run(commands.release, token, ["a"])
    assert names(lane.claim(9)) == ["b"]


@pytest.mark.parametrize("end", ["fail", "lost", "retry", "release"])
def test_run_that_is_not_the_last_frees_its_slot(lane: Lane, end: str) -> None:
    lane.submit("a", "b", **ONE)
    token = lane.claim().token
    if end == "fail":
        lane.run(commands.fail, token, Settlement("a", b"no", 60.0))
    elif end == "lost":
        lane.run(commands.lost, token, Settlement("a", b"no", 60.0), b"cancelled")
    elif end == "retry":
        lane.run(commands.retry, token, "a", LONG, b"")
    else:
        lane.run(commands.release, token, ["a"])
    assert names(lane.claim(9)) == (["b"] if end in {"fail", "retry"} else ["a"])
    lane.check()


def test_expired_lease_frees_its_slot_for_the_same_job(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    lane.claim()
    lane.let_leases_run_out()
    assert names(lane.claim(9)) == ["a"]
    assert lane.dump()["limits"] == {"k": [1, 0, 60_000, 0, 1, 0, 0]}


@pytest.mark.parametrize("limits", [(17, 0, 60.0, False), (2, 9, LONG, False)])
def test_claims_count_for_limits_that_need_it(lane: Lane, limits: Any) -> None:
    lane.submit("a", **ONE)
    lane.submit("b", "c", limit="other", limits=limits)
    assert names(lane.claim(2)) == ["a", "b"]
    state = lane.dump()
    assert [state["terms"][one][0] for one in "abc"] == ["t", "t", "r"]
    assert (state["limits"]["k"][4:6], state["limits"]["other"][4:6]) == ([0, 1], [1, 1])


def test_started_job_has_no_slot_of_a_limit_of_starts(lane: Lane) -> None:
    lane.submit("a", "b", **RATE)
    token = lane.claim().token
    state = lane.dump()
    assert [state["terms"][one][0] for one in "ab"] == ["-", "r"]
    assert state["limits"] == {"k": [0, 2, 1_000_000, 0, 1, 0, 0]}
    lane.claim()
    assert "limits" not in lane.dump()
    assert lane.run(commands.throttle, token, "a", 60.0) == "OK"
    assert lane.dump()["limits"] == {"k": [0, 2, 1_000_000, 0, 0, 0, "later"]}


def test_lost_job_that_was_to_be_cancelled_frees_its_slot(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    token = lane.claim().token
    lane.run(commands.cancel, "a", b"away", 60.0)
    assert lane.run(commands.lost, token, Settlement("a", b"no", 60.0), b"cancelled") == "cancelled"
    assert names(lane.claim(9)) == ["b"]


def test_job_that_comes_back_precedes_the_deferred_ones(lane: Lane) -> None:
    lane.submit(*"abcd", **TWO)
    token = lane.claim(2).token
    lane.submit("e", **ONE)  # a smaller limit
    lane.run(commands.release, token, ["a"])
    assert lane.dump()["lane:k"] == {"a": TOP + 1, "c": TOP + 3, "d": TOP + 4, "e": TOP + 5}
    lane.run(commands.release, token, ["b"])
    assert names(lane.claim(9)) == ["b"]


def test_job_that_comes_back_keeps_its_priority(lane: Lane) -> None:
    lane.submit("a", **TWO)
    token = lane.claim(1).token
    lane.submit("b", priority=9, **TWO)
    lane.submit("urgent", priority=9, **ONE)
    lane.run(commands.release, token, ["a"])
    assert lane.dump()["lane:k"] == {"a": TOP + 1, "urgent": 246 * 2**45 + 3}


def test_jobs_in_order_are_not_overtaken_by_a_retry(lane: Lane) -> None:
    lane.submit("a", "b", **ORDERED)
    assert lane.run(commands.retry, lane.claim().token, "a", LONG, b"") == "OK"
    state = lane.dump()
    assert state["terms"]["a"][0] == "k"
    assert names(lane.claim(9)) == []
    lane.raw.zadd(lane.key("delayed"), {"a": 1})
    batch = lane.claim(9)
    assert names(batch) == ["a"]
    lane.finish(batch)
    assert names(lane.claim(9)) == ["b"]


@pytest.mark.parametrize("end", ["lost", "release"])
def test_jobs_in_order_are_not_overtaken_by_an_urgent_one(lane: Lane, end: str) -> None:
    lane.submit("a", "b", **ORDERED)
    token = lane.claim().token
    lane.submit("urgent", priority=9, **ORDERED)
    if end == "lost":
        lane.run(commands.lost, token, Settlement("a", b"no", 60.0), b"cancelled")
    else:
        lane.run(commands.release, token, ["a"])
    assert names(lane.claim(9)) == ["a"]


def test_throttled_job_in_order_stays_the_first(lane: Lane) -> None:
    lane.submit("a", **ORDERED)
    token = lane.claim().token
    lane.submit("b", **ORDERED)
    lane.submit("urgent", priority=9, **ORDERED)
    lane.run(commands.throttle, token, "a", LONG)
    assert [*lane.dump()["lane:k"]] == ["a", "urgent", "b"]


def test_cancelled_retry_of_a_job_in_order_lets_the_next_go(lane: Lane) -> None:
    lane.submit("a", "b", **ORDERED)
    lane.run(commands.retry, lane.claim().token, "a", LONG, b"")
    lane.run(commands.cancel, "a", b"away", 60.0)
    assert names(lane.claim(9)) == ["b"]


# --- rates


def test_starts_within_a_period_are_limited(lane: Lane) -> None:
    lane.submit(*"abcd", **RATE)
    batch = lane.claim(9)
    assert names(batch) == ["a", "b"]
    lane.finish(batch)
    state = lane.dump()
    assert state.get("starts:k") == ["now"] * 2
    assert state.get("turns") == {"k": 1000}
    batch = lane.claim(9)
    assert names(batch) == []
    assert 50 < batch.wait <= 60
    turn(lane, "k")
    assert names(lane.claim(9)) == ["c", "d"]
    assert "turns" not in lane.dump()


def test_ready_jobs_count_as_started(lane: Lane) -> None:
    lane.submit(*"abcd", **RATE)
    assert lane.count().ready == 2
    token = lane.claim().token
    assert lane.count().ready == 1
    lane.run(commands.fail, token, Settlement("a", b"no", 60.0))
    assert names(lane.claim(9)) == ["b"]
    assert names(lane.claim(9)) == []


@pytest.mark.parametrize("attempt", [b"", b"attempt"])
def test_released_job_counts_as_a_start(lane: Lane, attempt: bytes) -> None:
    lane.submit(*"abc", **RATE)
    batch = lane.claim(2)
    lane.run(commands.release, batch.token, ["b"], attempt)
    assert names(lane.claim(9)) == []
    assert lane.dump()["lane:k"] == {"b": TOP + 2, "c": TOP + 3}


def test_wait_ends_with_the_period_of_the_oldest_start(lane: Lane) -> None:
    lane.submit(*"abc", limit="k", limits=(0, 1, 30.0, False))
    lane.claim(1)
    batch = lane.claim(9)
    assert names(batch) == []
    assert 25 < batch.wait <= 30


def test_slots_that_time_has_freed_are_used_by_the_next_script(lane: Lane) -> None:
    lane.submit(*"abcd", **RATE)
    lane.claim()
    lane.raw.delete(lane.key("starts:k"))  # as if the period were over a moment before the turn of the key
    assert names(lane.claim()) == ["b"]
    assert names(lane.claim(9)) == ["c"]


def test_retried_job_in_order_is_first_once_a_start_is_free(lane: Lane) -> None:
    lane.submit(*"abc", limit="k", limits=(1, 1, LONG, True))
    lane.run(commands.retry, lane.claim().token, "a", LONG, b"")
    lane.raw.zadd(lane.key("delayed"), {"a": 1})
    assert names(lane.claim()) == []
    turn(lane, "k")
    assert names(lane.claim()) == ["a"]


def test_first_start_of_a_queue_counts_if_its_job_was_delayed(lane: Lane) -> None:
    lane.submit("a", delay=LONG, limit="k", limits=(0, 1, LONG, False))
    lane.raw.zadd(lane.key("delayed"), {"a": 1})
    lane.finish(lane.claim())
    lane.submit("b", limit="k", limits=(0, 1, LONG, False))
    assert names(lane.claim()) == []


def test_starts_of_an_ended_period_are_dropped(lane: Lane) -> None:
    lane.submit(*"abc", **RATE)
    lane.claim(1)
    lane.raw.rpush(lane.key("starts:k"), *[1] * 100)
    lane.submit("d", **RATE)
    assert lane.raw.llen(lane.key("starts:k")) < 100
    lane.submit("e", **RATE)
    assert lane.raw.llen(lane.key("starts:k")) == 1
    assert 0 < lane.raw.pttl(lane.key("starts:k")) <= 1_060_000


def test_turn_of_a_key_without_jobs_is_over(lane: Lane) -> None:
    """Its limit has changed meanwhile, or its jobs were cancelled. Otherwise each claim would look for them at once."""
    lane.submit(*"abc", **RATE)
    lane.claim(2)
    lane.submit("d", **TWO)
    assert lane.dump().get("turns") == {"k": 1000}
    lane.raw.zadd(lane.key("turns"), {"k": 1, "gone": 1})
    assert lane.claim().wait > 1
    assert "turns" not in lane.dump()


def test_turn_of_a_key_is_over_with_its_last_deferred_job(lane: Lane) -> None:
    lane.submit(*"abc", **RATE)
    lane.claim(2)
    assert lane.dump().get("turns") == {"k": 1000}
    lane.run(commands.cancel, "c", b"away", 60.0)
    assert "turns" not in lane.dump()


def test_turns_of_many_keys_are_taken_in_slices(lane: Lane) -> None:
    for number in range(40):
        lane.submit(f"a{number}", f"b{number}", limit=f"k{number}", limits=(0, 1, LONG, False))
    lane.finish(lane.claim(100))
    turn(lane, *(f"k{number}" for number in range(40)))
    assert len(lane.claim(100).jobs) == 16
    found = 16
    while some := len(lane.claim(100).jobs):
        assert some <= 16
        found += some
    assert found == 40


# --- limits of the queue


def test_running_jobs_of_the_queue_are_limited(lane: Lane) -> None:
    lane.put(*"abcde")
    lane.run(commands.limit, 2, 0, 1.0)
    first = lane.claim(9)
    assert names(first) == ["a", "b"]
    assert lane.claim(9, owner="bob").state == "EMPTY"
    lane.raw.delete(lane.key("bell"))
    lane.finish(first)
    assert lane.raw.llen(lane.key("bell")) == 1
    assert names(lane.claim(9)) == ["c", "d"]


def test_starts_of_the_queue_are_limited(lane: Lane) -> None:
    lane.put(*"abcde")
    lane.run(commands.limit, 0, 2, 40.0)
    lane.finish(lane.claim(9))
    batch = lane.claim(9)
    assert batch.state == "EMPTY"
    assert 35 < batch.wait <= 40
    lane.raw.delete(lane.key("starts:"))
    assert names(lane.claim(9)) == ["c", "d"]


def test_limit_of_the_queue_is_set_and_removed(lane: Lane) -> None:
    lane.run(commands.limit, 1, 2, 3.0)
    assert lane.dump() == {"limits": {"": [1, 2, 3000, 0, 0, 0, 0]}, "meta.version": "2", "bell": ["1"]}
    lane.run(commands.limit, 0, 0, 3.0)
    assert lane.dump() == {"meta.version": "2", "bell": ["1"] * 2}


# --- rests


def test_throttled_key_rests_and_others_go_on(lane: Lane) -> None:
    lane.submit(*"abc", **TWO)
    lane.submit("z", limit="other")
    batch = lane.claim(1)
    before = lane.dump()
    assert lane.run(commands.throttle, batch.token, "a", LONG, b"attempt") == "OK"
    assert lane.changes(before) == {
        "attempts:a": ["attempt"],
        "bell": ["1"] * 5,
        "leased": None,
        "leases": None,
        "lane:k": {"a": TOP + 1, "c": TOP + 3},
        "deferred": {"a": TOP + 1, "c": TOP + 3},
        "limits": {"k": [2, 0, 60_000, 0, 1, 0, "later"], "other": [0, 0, 0, 0, 1, 0, 0]},
        "terms": {**before["terms"], "a": ("b", {"l": "k", "m": [2, 0, 60_000, 0]})},
        "turns": {"k": 1000},
    }
    batch = lane.claim(9)
    assert names(batch) == ["z"]
    assert lane.dump()["lane:k"] == {"a": TOP + 1, "b": TOP + 2, "c": TOP + 3}
    rest = lane.claim(9)
    assert names(rest) == []
    assert rest.wait > 50


def test_rest_ends_by_time(lane: Lane) -> None:
    lane.submit(*"ab", **ONE)
    lane.run(commands.throttle, lane.claim(1).token, "a", 0.001)
    found: list[str] = []
    while not found:
        found = names(lane.claim(9))
    assert found == ["a"]
    assert "turns" not in lane.dump()


def test_rest_of_a_key_without_jobs_is_forgotten(lane: Lane) -> None:
    lane.submit("a", **ONE)
    lane.run(commands.throttle, lane.claim(1).token, "a", LONG)
    lane.run(commands.cancel, "a", b"away", 60.0)
    assert lane.dump().get("turns") == {"k": 1000}
    limit = keys.key(lane.queue, "limits")
    assert lane.raw.hlen(limit) == 1, "a job that is put now rests"
    lane.submit("b", **ONE)
    assert names(lane.claim()) == []


@pytest.mark.parametrize("limited", [False, True])
def test_throttled_queue_rests(lane: Lane, *, limited: bool) -> None:
    if limited:
        lane.submit("a", **ONE)
    else:
        lane.put("a")
    lane.put("b")
    token = lane.claim(1).token
    sent = commands.throttle(lane.queue, token, "a", 30.0, whole_queue=limited)
    assert lane.client.run(sent) == "OK"
    batch = lane.claim(9)
    assert batch.state == "EMPTY"
    assert 25 < batch.wait <= 30
    lane.raw.hset(lane.key("meta"), "rest", 1)
    assert names(lane.claim(9)) == ["a", "b"]


def test_longest_rest_holds(lane: Lane) -> None:
    lane.put("a", "b")
    token = lane.claim(2).token
    lane.run(commands.throttle, token, "a", LONG)
    lane.run(commands.throttle, token, "b", 1.0)
    assert lane.claim().wait > 50
    lane.submit("c", "d", limit="k")
    lane.raw.hset(lane.key("meta"), "rest", 1)
    lane.claim(2)
    token = lane.claim(2).token
    lane.run(commands.throttle, token, "c", LONG)
    lane.run(commands.throttle, token, "d", 1.0)
    assert lane.dump().get("turns") == {"k": 1000}


def test_throttle_of_a_job_marked_as_cancelled_cancels_it(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    token = lane.claim(1).token
    lane.run(commands.renew, [("a", token, "S")], LONG)
    lane.run(commands.cancel, "a", b"away", 60.0)
    assert lane.run(commands.throttle, token, "a", LONG) == "cancelled"
    assert names(lane.claim(9)) == ["b"]


def test_throttle_with_another_token_changes_nothing(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    token = lane.claim().token
    before = lane.dump()
    for wrong in ("1", token[:-1], token + "0"):
        assert lane.run(commands.throttle, wrong, "a", LONG, b"attempt") == "STALE"
    assert lane.changes(before) == {}


def test_progress_of_a_throttled_run_is_removed(lane: Lane) -> None:
    token = lane.take("a")
    lane.raw.hset(lane.key("progress"), "a", "half")
    lane.run(commands.throttle, token, "a", LONG)
    assert "progress" not in lane.dump()


# --- dead jobs, and what has gone


def test_revived_jobs_keep_their_limit(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    for one in "ab":
        lane.run(commands.fail, lane.claim().token, Settlement(one, b"no", 60.0))
    assert "limits" not in lane.dump()
    assert lane.run(commands.revive, ["a", "b"]) == 2
    assert names(lane.claim(9)) == ["a"]
    assert lane.state("b") == "deferred"


def test_discarded_job_leaves_no_terms(lane: Lane) -> None:
    lane.submit("a", **ONE)
    lane.run(commands.fail, lane.claim().token, Settlement("a", b"no", 60.0))
    assert lane.dump()["terms"]["a"][0] == "-"
    lane.run(commands.discard, ["a"])
    assert "terms" not in lane.dump()


def test_dropped_dead_job_leaves_no_terms(lane: Lane, few_dead: None) -> None:
    lane.submit(*"abc", limit="k")
    token = lane.claim(3).token
    for one in "abc":
        lane.run(commands.fail, token, Settlement(one, b"no", 60.0))
    assert lane.dump()["terms"].keys() == {"b", "c"}


def test_job_without_bytes_frees_its_slot(lane: Lane) -> None:
    lane.sound = False
    lane.submit("a", "b", **ONE)
    lane.raw.hdel(lane.key("jobs"), "a")
    assert names(lane.claim(1)) == []
    assert names(lane.claim(1)) == ["b"]


def test_job_without_a_lease_frees_its_slot(lane: Lane) -> None:
    lane.sound = False
    lane.submit("a", "b", **ONE)
    lane.claim()
    lane.raw.hdel(lane.key("leases"), "a")
    lane.let_leases_run_out()
    assert names(lane.claim(1)) == ["b"]


def test_job_without_terms_runs_without_a_slot(lane: Lane) -> None:
    """Its slot would never be freed, as of one whose terms are gone while it has it."""
    lane.sound = False
    lane.submit("a", "b", "c", **ONE)
    lane.raw.hdel(lane.key("terms"), "b")
    lane.finish(lane.claim())
    assert lane.dump()["limits"]["k"][4:6] == [0, 0]
    lane.finish(lane.claim())
    lane.submit("d", **ONE)
    assert names(lane.claim()) == ["c"]


def test_job_of_a_lost_index_entry_is_not_deferred_when_it_ends(lane: Lane) -> None:
    lane.sound = False
    lane.submit("a", "b", **ONE)
    lane.raw.hdel(lane.key("terms"), "b")
    lane.run(commands.cancel, "b", b"away", 60.0)
    assert lane.count().deferred == 0


def test_deferred_jobs_take_room_and_are_counted(lane: Lane) -> None:
    lane.submit("a", "b", "c", maxsize=3, **ONE)
    assert lane.count().is_full
    assert lane.put("d").accepted == 0
    assert lane.run(commands.join, "joe") == 3
    batch = lane.claim()
    assert lane.put("d").accepted == 1
    lane.finish(batch)
    assert lane.count()[:3] == (2, 0, 0)


def test_shut_queue_waits_for_its_deferred_jobs(lane: Lane) -> None:
    lane.submit("a", "b", **ONE)
    batch = lane.claim()
    lane.run(commands.shut)
    assert lane.claim().state == "EMPTY"
    lane.finish(batch)
    lane.finish(lane.claim())
    assert lane.claim().state == "SHUT"


def test_limited_put_sent_twice_has_no_second_effect(lane: Lane) -> None:
    lane.submit("a", "b", "c", **TWO)
    for moved in (False, True):
        if moved:
            lane.finish(lane.claim())
        before = lane.dump()
        lane.submit("a", "b", "c", again=True, **TWO)
        lane.submit("a", "b", "c", **TWO)
        assert lane.changes(before) == {}


def test_page_of_deferred_jobs_is_listed(lane: Lane) -> None:
    lane.submit("a", "b", "c", **ONE)
    rows = lane.run(commands.rows, "deferred", RowRange(9)).rows
    assert sorted(row.id for row in rows) == ["b", "c"]


def test_limited_jobs_fill_a_bounded_queue_in_order(lane: Lane) -> None:
    assert lane.submit("a", "b", "c", maxsize=2, **ONE).accepted == 2
    jobs = [("plain", b"bytes")]
    assert lane.run(commands.put, jobs, PutParams(waiter="ann")).accepted == 0
    assert lane.submit("c", **ONE, waiter="bob").accepted == 0
    lane.claim()
    assert lane.submit("c", **ONE, waiter="bob").accepted == 0
    assert lane.run(commands.put, jobs, PutParams(waiter="ann")).accepted == 1
