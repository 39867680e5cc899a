"""Jobs after jobs: deferred until those before have ended, in this queue or another one; told in slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import JobGone
from conveyor.store import commands
from conveyor.store.commands import FollowReply, HookJob, Link, Message, Settlement
from conveyor.wire.outcome import encode_settled

from .conftest import names, packed_hook

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45
LONG = 1000.0
STATE = b"\x93\xa4done\xc2\x00"  # of an outcome that nobody wants
DONE, FAILED, CANCELLED = map(encode_settled, ("done", "failed", "cancelled"))


def after(lane: Lane, *ids: str, policy: str = "d") -> Any:
    """Return the terms of a job that comes after others of its queue."""
    return {"after": [f"{lane.queue} {one}" for one in ids], "policy": policy}


def end(lane: Lane, *ids: str, state: str = "done", keep: float = 60.0) -> None:
    """Take some jobs and end them."""
    batch = lane.claim(len(ids))
    assert names(batch) == [*ids]
    outcome = encode_settled(state)
    if state == "failed":
        for one in ids:
            lane.run(commands.fail, batch.token, Settlement(one, outcome, keep))
    else:
        settled = [Settlement(one, outcome, keep) for one in ids]
        lane.run(commands.finish, batch.token, settled, "cancelled" if state == "cancelled" else "finished")


def test_follower_is_deferred_and_noted(lane: Lane) -> None:
    lane.put("a")
    before = lane.dump()
    lane.submit("b", **after(lane, "a"))
    own = f"{lane.queue} a"
    assert lane.changes(before) == {
        "jobs": {one: f"bytes of {one}" for one in "ab"},
        "deferred": {"b": TOP + 2},
        "terms": {"b": ("a", {"p": "d"})},
        "after:b": {own},
        "followers:a": {f"{lane.queue} b "},
        "followed": {"a"},
        "links:a": {f"> {lane.queue} b"},
        "links:b": {f"< {own}"},
        "bell": ["1"] * 2,
        "meta.sequence": "2",
        "meta.accepted": "2",
    }
    assert lane.run(commands.links, "b") == [Link(is_before=True, queue=lane.queue, id="a")]
    assert lane.run(commands.links, "a") == [Link(is_before=False, queue=lane.queue, id="b")]
    for one in "ab":
        assert 604_700_000 < lane.raw.pttl(lane.key(f"links:{one}")) <= 604_800_000


def test_end_of_the_job_before_lets_it_go_on(lane: Lane) -> None:
    lane.put("a", "z")
    lane.submit("b", **after(lane, "a"))
    lane.raw.delete(lane.key("bell"))
    end(lane, "a")
    state = lane.dump()
    assert state.get("ready") == {"z": TOP + 2, "b": TOP + 3}
    assert {"deferred", "after:b", "followers:a", "followed", "ended"} & state.keys() == set()
    assert state["bell"]
    end(lane, "z", "b")
    assert "terms" not in lane.dump()


def test_job_waits_for_all_before_it(lane: Lane) -> None:
    lane.put("a", "b")
    lane.submit("c", **after(lane, "a", "b"))
    end(lane, "a")
    assert lane.dump()["after:c"] == {f"{lane.queue} b"}
    assert lane.state("c") == "deferred"
    end(lane, "b")
    assert lane.state("c") == "ready"


def test_job_after_ended_ones_is_ready_at_once(lane: Lane) -> None:
    lane.put("a")
    end(lane, "a")
    lane.submit("b", **after(lane, "a", policy="di"))
    assert lane.state("b") == "ready"
    assert lane.inputs("b") == {f"{lane.queue} a": DONE}
    assert "followers:a" not in lane.dump()


ENDS = [("done", "dei"), ("failed", "fe"), ("cancelled", "e")]


@pytest.mark.parametrize("policy", ["d", "f", "e", "di"])
@pytest.mark.parametrize(("state", "fitting"), ENDS)
@pytest.mark.parametrize("late", [False, True])
def test_policy_decides_whether_it_goes_on_or_is_cancelled(
    lane: Lane, policy: str, state: str, fitting: str, *, late: bool
) -> None:
    lane.put("a")
    if not late:
        lane.submit("b", **after(lane, "a", policy=policy))
    end(lane, "a", state=state)
    if late:
        lane.submit("b", **after(lane, "a", policy=policy))
    goes_on = policy[0] in fitting
    assert lane.state("b") == ("ready" if goes_on else "over")
    count = lane.count()
    assert (count.cancelled, count.imbalance) == ((state == "cancelled") + (not goes_on), 0)
    if not goes_on:
        assert f"a, which it comes after, ended as {state}".encode() in lane.raw.get(lane.key("outcome:b"))
        assert {"after:b", "terms"} & lane.dump().keys() == set()


def test_cancellation_goes_down_and_wakes_who_waits(lane: Lane) -> None:
    lane.put("a", maxsize=4)
    for one, before in zip("bcd", "abc", strict=True):
        lane.submit(one, **after(lane, before))
    lane.put("blocked", waiter="ann")
    token = lane.claim().token
    lane.raw.delete(lane.key("wake:ann"))
    lane.run(commands.fail, token, Settlement("a", FAILED, 60.0))
    assert [lane.state(one) for one in "bcd"] == ["over"] * 3
    assert lane.raw.lrange(lane.key("wake:ann"), 0, -1) == [b"4"]


def test_last_cancellation_wakes_joiners(lane: Lane) -> None:
    lane.put("a")
    lane.submit("b", **after(lane, "a"))
    lane.run(commands.join, "joe")
    end(lane, "a", state="failed")
    assert lane.raw.exists(lane.key("wake:joe"))


def test_dead_job_has_ended_even_if_its_outcome_has_expired(lane: Lane) -> None:
    lane.put("a")
    end(lane, "a", state="failed")
    lane.raw.delete(lane.key("outcome:a"))
    lane.submit("b", **after(lane, "a", policy="f"))
    assert lane.state("b") == "ready"
    assert lane.run(commands.follow, "a", "other", ["c"], b"i") == FollowReply(waits=False, outcome=FAILED)


def test_revived_job_is_followed_again(lane: Lane) -> None:
    lane.put("a")
    end(lane, "a", state="failed")
    lane.run(commands.revive, ["a"])
    lane.submit("b", **after(lane, "a"))
    assert lane.state("b") == "deferred"
    end(lane, "a")
    assert lane.state("b") == "ready"


def test_unknown_job_before_is_refused_without_effect(lane: Lane) -> None:
    lane.put("a")
    before = lane.dump()
    with pytest.raises(JobGone, match="gone"):
        lane.submit("b", **after(lane, "a", "gone"))
    assert lane.changes(before) == {}


def test_unknown_job_before_counts_as_ended_in_a_resent_put(lane: Lane) -> None:
    """The server has lost its data: whoever waits for the follower must get an answer."""
    lane.submit("b", again=True, **after(lane, "gone"))
    lane.submit("c", again=True, **after(lane, "gone", policy="e"))
    assert (lane.state("b"), lane.state("c")) == ("over", "ready")


def test_follower_keeps_its_priority_and_place(lane: Lane) -> None:
    lane.put("a")
    lane.submit("b", priority=7, **after(lane, "a"))
    lane.put("later", priority=7)
    batch = lane.run(commands.claim, "bob", "n.1", 9, LONG)
    assert names(batch) == ["later", "a"]
    lane.finish(batch)
    assert lane.dump()["ready"] == {"b": 248 * 2**45 + 2}


def test_delay_begins_once_those_before_have_ended(lane: Lane) -> None:
    lane.put("a")
    lane.submit("b", priority=7, delay=LONG, **after(lane, "a"))
    end(lane, "a")
    state = lane.dump()
    assert (state.get("delayed"), state.get("priorities")) == ({"b": 1000}, {"b": "7"})
    lane.raw.zadd(lane.key("delayed"), {"b": 1})
    assert names(lane.claim()) == ["b"]


def test_follower_with_a_limit_needs_a_slot(lane: Lane) -> None:
    lane.put("a")
    for one in "bc":
        lane.submit(one, limit="k", limits=(1, 0, 60.0, False), **after(lane, "a"))
    assert "limits" not in lane.dump()
    end(lane, "a")
    assert sorted([lane.state("b"), lane.state("c")]) == ["deferred", "ready"]
    assert len(lane.claim(9).jobs) == 1


def test_retry_is_no_end(lane: Lane) -> None:
    lane.put("a")
    lane.submit("b", **after(lane, "a", policy="e"))
    token = lane.claim().token
    lane.run(commands.retry, token, "a", LONG, b"")
    assert lane.state("b") == "deferred"


@pytest.mark.parametrize("how", ["cancel", "purge"])
def test_cancelled_follower_leaves_nothing(lane: Lane, how: str) -> None:
    lane.put("a")
    lane.submit("b", **after(lane, "a"))
    if how == "cancel":
        assert lane.run(commands.cancel, "b", CANCELLED, 60.0)[0] == "cancelled"
    else:
        assert lane.run(commands.purge, "deferred", 9, CANCELLED, 60.0) == 1
    assert {"deferred", "terms", "after:b"} & lane.dump().keys() == set()
    end(lane, "a")
    assert "followers:a" not in lane.dump()


def test_old_end_does_not_reach_a_new_job_with_the_same_id(lane: Lane) -> None:
    lane.put("a", "z")
    lane.submit("b", **after(lane, "a"))
    lane.run(commands.cancel, "b", CANCELLED, 60.0)
    lane.raw.delete(lane.key("outcome:b"))
    lane.submit("b", **after(lane, "z"))
    end(lane, "a")
    assert lane.state("b") == "deferred"


def test_inputs_are_kept_until_the_job_is_over(lane: Lane) -> None:
    lane.put("a", "b")
    lane.submit("c", **after(lane, "a", "b", policy="ei"))
    end(lane, "a")
    end(lane, "b", state="failed")
    assert lane.inputs("c") == {f"{lane.queue} a": DONE, f"{lane.queue} b": FAILED}
    end(lane, "c", state="failed")
    assert lane.raw.exists(lane.key("inputs:c")), "it may be revived"
    assert lane.run(commands.discard, ["c"]) == 1
    assert not lane.raw.exists(lane.key("inputs:c"))


def test_dropped_dead_job_leaves_no_inputs(lane: Lane, few_dead: None) -> None:
    lane.put("a")
    end(lane, "a")
    for one in "bcd":
        lane.submit(one, **after(lane, "a", policy="di"))
        end(lane, one, state="failed")
    assert {"inputs:b", "inputs:c", "inputs:d"} & lane.dump().keys() == {"inputs:c", "inputs:d"}


# --- slices


def test_many_followers_go_on_in_slices(lane: Lane) -> None:
    lane.put("a")
    for letter in "fghi":
        lane.submit(*(f"{letter}{number}" for number in range(50)), **after(lane, "a"))
    end(lane, "a", keep=90.0)
    assert lane.count().deferred == 200 - 64
    assert lane.raw.pttl(lane.key("outcome:a")) == -1, "the others need it"
    assert lane.raw.lrange(lane.key("ended"), 0, -1)[0].startswith(b"a ")
    assert lane.claim(1).wait == 0.001
    assert lane.count().deferred == 200 - 2 * 64
    lane.run(commands.renew, [], LONG)
    lane.run(commands.promote)
    assert lane.count().deferred == 0
    assert 80_000 < lane.raw.pttl(lane.key("outcome:a")) <= 90_000
    assert {"ended", "followed", "followers:a"} & lane.dump().keys() == set()


def test_outcomes_behind_a_job_with_many_followers_are_kept_too(lane: Lane) -> None:
    lane.put("a", "b")
    lane.submit(*(f"f{number}" for number in range(100)), **after(lane, "a"))
    lane.submit("c", **after(lane, "b"))
    end(lane, "a", "b", keep=0.0)
    assert lane.raw.pttl(lane.key("outcome:b")) == -1
    assert lane.state("c") == "deferred"
    lane.run(commands.promote)
    assert lane.state("c") == "ready"
    assert 0 < lane.raw.pttl(lane.key("outcome:b")) <= 20_000


def test_stream_of_a_followed_job_expires_with_its_outcome(lane: Lane) -> None:
    lane.put("a")
    lane.submit("b", **after(lane, "a"))
    token = lane.claim().token
    lane.run(commands.append, token, "a", 0, [b"\x01"])
    lane.run(commands.finish, token, [Settlement("a", DONE, 60.0)])
    assert 0 < lane.raw.pttl(lane.key("stream:a")) <= 60_000


def test_followers_of_a_revived_job_wait_for_its_next_end(lane: Lane) -> None:
    lane.put("a")
    lane.submit(*(f"f{number}" for number in range(100)), **after(lane, "a", policy="e"))
    end(lane, "a", state="failed")
    assert lane.count().deferred == 68, "a failure cancels most followers, so its slices are smaller"
    lane.run(commands.revive, ["a"])
    for _ in range(2):
        lane.run(commands.promote)
    assert lane.count().deferred == 68
    assert "ended" not in lane.dump()
    lane.run(commands.purge, "ready", 100, CANCELLED, 60.0)
    for _ in range(2):
        lane.run(commands.promote)
    assert lane.count().deferred == 0


def test_many_jobs_before_are_noted_in_slices(lane: Lane) -> None:
    ids = [f"j{number}" for number in range(200)]
    lane.put(*ids)
    end(lane, *ids[:10])
    lane.submit("c", **after(lane, *ids, policy="di"))
    state = lane.dump()
    assert (len(state["after:c"]), len(state["before:c"])) == (54, 3)
    assert state["unlinked"] == ["c"]
    end(lane, *ids[10:110])  # of which some are noted by the claim, and some have ended before they are
    assert lane.state("c") == "deferred"
    lane.raw.zadd(lane.key("delayed"), {"none": 9e15})
    for _ in range(4):
        lane.run(commands.promote)
    lane.raw.delete(lane.key("delayed"))
    state = lane.dump()
    assert {"before:c", "unlinked"} & state.keys() == set()
    assert len(state["after:c"]) == 90
    end(lane, *ids[110:])
    for _ in range(2):
        lane.run(commands.promote)
    assert lane.state("c") == "ready"
    assert len(lane.inputs("c")) == 200


def test_job_waits_for_those_before_it_that_are_not_noted_yet(lane: Lane) -> None:
    ids = [f"j{number}" for number in range(65)]
    lane.put(*ids)
    end(lane, *ids[:64])
    lane.submit("c", **after(lane, *ids))
    assert lane.state("c") == "deferred"


def test_cancelled_job_leaves_no_jobs_before_it_to_be_noted(lane: Lane) -> None:
    ids = [f"j{number}" for number in range(200)]
    lane.put(*ids)
    lane.submit("c", **after(lane, *ids))
    lane.run(commands.cancel, "c", CANCELLED, 60.0)
    assert "before:c" not in lane.dump()
    lane.run(commands.promote)
    assert "unlinked" not in lane.dump()


def test_jobs_with_many_before_them_share_a_slice(lane: Lane) -> None:
    ids = [f"j{number}" for number in range(60)]
    lane.put(*ids)
    lane.submit("a", "b", "c", "d", **after(lane, *ids))
    assert lane.dump().get("unlinked") == ["b", "c", "d"]
    for _ in range(3):
        lane.run(commands.promote)
    assert "unlinked" not in lane.dump()
    end(lane, *ids)
    for _ in range(4):
        lane.run(commands.promote)
    assert lane.count().ready == 4


# --- other queues


def messages(lane: Lane) -> list[Message]:
    return lane.run(commands.outbox)


def test_job_after_one_of_another_queue_leaves_a_message(lane: Lane) -> None:
    lane.submit("b", after=["other a"], policy="di")
    assert messages(lane) == [Message("follow", "other", "a", f"{lane.queue} b", b"i")]
    assert lane.claim().has_messages
    state = lane.dump()
    assert (state["after:b"], state["links:b"]) == ({"other a"}, {"< other a"})
    lane.run(commands.delivered, messages(lane))
    assert not lane.claim().has_messages
    assert "outbox" not in lane.dump()


def test_jobs_after_the_same_one_elsewhere_share_a_message(lane: Lane) -> None:
    lane.submit("b", "c", after=["other a"], policy="d")
    assert messages(lane) == [Message("follow", "other", "a", f"{lane.queue} b,c", b"")]


@pytest.mark.parametrize("wants", [b"", b"i"])
def test_end_of_a_job_leaves_a_message_for_a_follower_elsewhere(lane: Lane, wants: bytes) -> None:
    lane.put("a")
    assert lane.run(commands.follow, "a", "other", ["b"], wants).waits
    state = lane.dump()
    assert (state.get("followed"), state["links:a"]) == ({"a"}, {"> other b"})
    batch = lane.claim()
    outcome = b"\x93\xa4done\xc4\x03\x00\xff\x20\x01"
    lane.run(commands.finish, batch.token, [Settlement("a", outcome, 60.0)])
    (message,) = messages(lane)
    assert message[:4] == ("go_on", "other", "b", f"{lane.queue} a")
    assert message.outcome == (outcome if wants else STATE)
    lane.run(commands.delivered, [message])
    assert messages(lane) == []


def test_follower_that_wants_the_outcome_now_gets_it_once(lane: Lane) -> None:
    lane.put("a")
    for wants in (b"", b"i", b"i"):
        lane.run(commands.follow, "a", "other", ["b"], wants)
    assert lane.dump()["followers:a"] == {"other b i"}


def test_follow_of_an_ended_or_unknown_job_says_so(lane: Lane) -> None:
    lane.put("a")
    end(lane, "a")
    before = lane.dump()
    assert lane.run(commands.follow, "a", "other", ["b"], b"i") == FollowReply(waits=False, outcome=DONE)
    assert lane.run(commands.follow, "a", "other", ["b"]) == FollowReply(waits=False, outcome=STATE)
    assert lane.changes(before) == {"links:a": {"> other b"}}
    before = lane.dump()
    assert lane.run(commands.follow, "gone", "other", ["b"]) == FollowReply(waits=False)
    assert lane.changes(before) == {}


@pytest.mark.parametrize("policy", ["d", "ei"])
@pytest.mark.parametrize("outcome", [DONE, FAILED])
def test_end_elsewhere_lets_a_job_go_on(lane: Lane, policy: str, outcome: bytes) -> None:
    lane.submit("b", after=["other a"], policy=policy)
    lane.raw.delete(lane.key("bell"))
    assert lane.run(commands.go_on, ["b"], "other a", outcome) == "OK"
    goes_on = policy != "d" or outcome == DONE
    assert lane.state("b") == ("ready" if goes_on else "over")
    assert lane.inputs("b") == ({"other a": outcome} if policy == "ei" else {})
    assert lane.raw.exists(lane.key("bell")) == goes_on
    before = lane.dump()
    for _ in range(2):
        assert lane.run(commands.go_on, ["b"], "other a", outcome) == "OK"
    assert lane.changes(before) == {}


def test_end_of_an_unrelated_job_changes_nothing(lane: Lane) -> None:
    lane.submit("b", after=["other a"], policy="d")
    before = lane.dump()
    lane.run(commands.go_on, ["b"], "other z", FAILED)
    lane.run(commands.go_on, ["z"], "other a", DONE)
    assert lane.changes(before) == {}


def test_followers_elsewhere_get_one_message_for_each_slice(lane: Lane) -> None:
    lane.put("a")
    expected = {f"{queue} f{number}" for queue in ("other", "third") for number in range(50)}
    for queue in ("other", "third"):
        lane.run(commands.follow, "a", queue, [f"f{number}" for number in range(50)])
    end(lane, "a")
    assert sum(len(one.id.split(",")) for one in messages(lane)) == 64
    lane.run(commands.promote)
    found = messages(lane)
    assert len(found) <= 4
    assert {f"{one.queue} {job}" for one in found for job in one.id.split(",")} == expected


def test_queue_with_messages_is_not_forgotten(lane: Lane) -> None:
    lane.submit("b", after=["other a"], policy="d")
    lane.run(commands.cancel, "b", CANCELLED, 60.0)
    assert lane.client.run(commands.forget(lane.queue, 0.0, remove=True)).word == "USED"
    assert lane.client.run(commands.any_work([lane.queue]))
    lane.run(commands.delivered, messages(lane))
    assert not lane.client.run(commands.any_work([lane.queue]))
    assert lane.client.run(commands.forget(lane.queue, 0.0, remove=True)).word == "GONE"


def test_queue_with_untold_followers_elsewhere_is_not_forgotten(lane: Lane) -> None:
    lane.put("a")
    for number in range(65):
        lane.run(commands.follow, "a", "other", [f"f{number}"])
    end(lane, "a")
    lane.raw.delete(lane.key("outbox"))
    assert lane.client.run(commands.forget(lane.queue, 0.0, remove=True)).word == "USED"
    lane.run(commands.promote)
    assert "ended" not in lane.dump()


# --- inputs that jobs share


LARGE = encode_settled("done", bytes(2000))


def end_large(lane: Lane, job_id: str = "a", outcome: bytes = LARGE) -> None:
    """Take the next job, and end it with a large outcome."""
    batch = lane.claim()
    assert names(batch) == [job_id]
    lane.run(commands.finish, batch.token, [Settlement(job_id, outcome, 60.0)])


def shared(lane: Lane) -> dict[str, int]:
    """Return how many jobs share each large input."""
    prefix = lane.key("shared:") + lane.queue + " "
    found = lane.raw.keys(lane.key("shared:*").replace("{", "\\{").replace("}", "\\}"))
    return {one.decode().removeprefix(prefix): int(lane.raw.hget(one, "jobs") or 0) for one in found}


def test_large_outcome_is_kept_once_for_all_followers(lane: Lane) -> None:
    lane.put("a")
    lane.submit(*(f"f{number}" for number in range(100)), **after(lane, "a", policy="di"))
    lane.submit("g", **after(lane, "a"))
    end_large(lane)
    lane.run(commands.promote)
    assert shared(lane) == {"a": 100}
    assert lane.raw.pttl(lane.key(f"shared:{lane.queue} a")) == -1
    lane.raw.delete(lane.key("outcome:a"))
    late = lane.inputs("f99")
    assert (late, lane.inputs("g")) == ({f"{lane.queue} a": LARGE}, {})
    assert lane.raw.hlen(lane.key("inputs:f99")) == 1
    lane.finish(lane.claim(50))
    left = sum(shared(lane).values())
    assert 49 <= left <= 50
    lane.finish(lane.claim(100))
    assert shared(lane) == {}


def test_job_after_one_that_has_ended_shares_its_outcome(lane: Lane) -> None:
    lane.put("a")
    end_large(lane)
    lane.submit("b", "c", **after(lane, "a", policy="di"))
    lane.submit("d", **after(lane, "a", policy="di"))
    assert shared(lane) == {"a": 3}
    assert [lane.inputs(one) for one in "bcd"] == [{f"{lane.queue} a": LARGE}] * 3


def test_large_outcome_of_another_queue_is_kept_once(lane: Lane) -> None:
    lane.submit("b", "c", "d", after=["other a"], policy="di")
    for ids in (["b", "c"], ["b", "c"], ["d"]):
        lane.run(commands.go_on, ids, "other a", LARGE)
    assert lane.raw.hgetall(lane.key("shared:other a")) == {b"outcome": LARGE, b"jobs": b"3"}
    assert [lane.inputs(one) for one in "bcd"] == [{"other a": LARGE}] * 3


@pytest.mark.parametrize("how", ["done", "retried", "recovered", "released", "revived"])
def test_shared_input_is_there_until_the_job_is_over(lane: Lane, how: str) -> None:
    lane.put("a")
    lane.submit("b", **after(lane, "a", policy="di"))
    end_large(lane)
    batch = lane.claim()
    if how == "retried":
        lane.run(commands.retry, batch.token, "b", 0.0, b"")
    elif how == "recovered":
        lane.let_leases_run_out("b")
        lane.run(commands.reap)
    elif how == "released":
        lane.run(commands.release, batch.token, ["b"])
    elif how == "revived":
        lane.run(commands.fail, batch.token, Settlement("b", FAILED, 60.0))
        assert shared(lane) == {"a": 1}
        lane.run(commands.revive, ["b"])
    assert lane.inputs("b") == {f"{lane.queue} a": LARGE}
    lane.finish(batch if how == "done" else lane.claim())
    assert shared(lane) == {}


@pytest.mark.parametrize("how", ["cancel", "purge", "discard", "drop"])
def test_jobs_that_end_without_a_result_leave_no_shared_input(lane: Lane, few_dead: None, how: str) -> None:
    lane.put("a")
    lane.submit("b", "c", **after(lane, "a", policy="di"))
    end_large(lane)
    assert shared(lane) == {"a": 2}
    if how == "cancel":
        for one in "bc":
            lane.run(commands.cancel, one, CANCELLED, 60.0)
    elif how == "purge":
        lane.run(commands.purge, "ready", 9, CANCELLED, 60.0)
    else:
        end(lane, *lane.dump()["ready"], state="failed")
        assert shared(lane) == {"a": 2}
        if how == "drop":
            for one in "xy":
                lane.put(one)
                end(lane, one, state="failed")
        else:
            lane.run(commands.discard, ["b", "c"])
    assert shared(lane) == {}


def test_follower_cancelled_after_it_got_an_input_leaves_none(lane: Lane) -> None:
    """Its inputs come and go within one script, and the next job after the same one gets them nevertheless."""
    lane.put("a")
    end_large(lane)
    lane.put("z")
    end(lane, "z", state="cancelled")
    own = [f"{lane.queue} {one}" for one in "az"]
    packed = {
        "b": commands.pack_terms(after=own, policy="di"),
        "c": commands.pack_terms(after=own[:1], policy="di"),
    }
    jobs = [(one, b"bytes") for one in packed]
    lane.run(commands.submit, jobs, commands.PutParams(terms=commands.Terms(packed)))
    assert (lane.state("b"), lane.state("c")) == ("over", "ready")
    assert shared(lane) == {"a": 1}
    assert lane.inputs("c") == {f"{lane.queue} a": LARGE}


def test_new_outcome_is_not_taken_for_the_shared_old_one(lane: Lane) -> None:
    lane.put("a")
    lane.submit("b", **after(lane, "a", policy="ei"))
    failure = encode_settled("failed", bytes(3000))
    lane.run(commands.fail, lane.claim().token, Settlement("a", failure, 60.0))
    lane.run(commands.revive, ["a"])
    lane.submit("c", **after(lane, "a", policy="ei"))
    batch = lane.claim(2)
    lane.run(commands.finish, batch.token, [Settlement("a", LARGE, 60.0)])
    assert lane.inputs("b") == {f"{lane.queue} a": failure}
    assert lane.inputs("c") == {f"{lane.queue} a": LARGE}
    assert shared(lane) == {"a": 1}


def test_job_shares_at_most_64_inputs(lane: Lane) -> None:
    ids = [f"j{number}" for number in range(70)]
    lane.put(*ids)
    token = lane.claim(70).token
    lane.run(commands.finish, token, [Settlement(one, LARGE, 60.0) for one in ids])
    lane.submit("b", **after(lane, *ids, policy="di"))
    lane.run(commands.promote)
    assert len(shared(lane)) == 64
    assert lane.inputs("b") == {f"{lane.queue} {one}": LARGE for one in ids}
    end(lane, "b")
    assert shared(lane) == {}


def test_hooks_share_a_large_outcome(lane: Lane) -> None:
    lane.submit("a", hooks=[hook(one, lane.queue) for one in "de"])
    end_large(lane)
    assert shared(lane) == {"a": 2}
    assert lane.inputs("hook-d.1") == lane.inputs("hook-e.1") == {f"{lane.queue} a": LARGE}
    lane.finish(lane.claim(2))
    assert shared(lane) == {}


def test_consumer_is_woken_while_followers_are_left_to_tell(lane: Lane) -> None:
    lane.put("a")
    for first in range(0, 90, 30):
        lane.submit(*(f"b{number}" for number in range(first, first + 30)), **after(lane, "a"))
    lane.raw.delete(lane.key("bell"))
    lane.run(commands.cancel, "a", encode_settled("cancelled"), 60.0)
    assert lane.count().deferred == 58
    assert lane.raw.llen(lane.key("bell")) == 1


# --- sent twice


def test_put_of_a_follower_sent_twice_has_no_second_effect(lane: Lane) -> None:
    lane.put("a")
    lane.submit("b", **after(lane, "a", policy="di"))
    before = lane.dump()
    lane.submit("b", again=True, **after(lane, "a", policy="di"))
    lane.submit("b", **after(lane, "a", policy="di"))
    assert lane.changes(before) == {}
    end(lane, "a")
    lane.raw.delete(lane.key("outcome:a"))
    before = lane.dump()
    lane.submit("b", again=True, **after(lane, "a", policy="di"))
    lane.submit("b", **after(lane, "a", policy="di"))
    assert lane.changes(before) == {}


def test_late_follow_changes_nothing_for_the_follower(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.follow, "a", "other", ["b"])
    end(lane, "a")
    before = lane.dump()
    assert lane.run(commands.follow, "a", "other", ["b"]) == FollowReply(waits=False, outcome=STATE)
    assert lane.changes(before) == {}


def test_late_follow_of_a_forgotten_job_cancels_no_follower(lane: Lane) -> None:
    lane.put("a")
    lane.run(commands.follow, "a", "other", ["b"])
    end(lane, "a")
    lane.raw.delete(lane.key("outcome:a"))
    assert lane.run(commands.follow, "a", "other", ["b"]).waits
    assert not lane.run(commands.follow, "a", "other", ["c"]).waits


# --- hooks


def hook(policy: str, queue: str, **options: Any) -> HookJob:
    return HookJob(policy, queue, f"hook-{policy}", f"call {policy}".encode(), **options)


@pytest.mark.parametrize(("state", "put"), [("done", "de"), ("failed", "fe"), ("cancelled", "e")])
def test_end_of_a_job_puts_its_hooks(lane: Lane, state: str, put: str) -> None:
    lane.submit("a", maxsize=1, hooks=[hook(one, lane.queue) for one in "dfe"])
    end(lane, "a", state=state)
    found = lane.dump()
    assert found.get("ready", {}).keys() == {f"hook-{one}.1" for one in put}
    for one in put:
        assert found["jobs"][f"hook-{one}.1"] == f"call {one}"
        assert lane.inputs(f"hook-{one}.1") == {f"{lane.queue} a": encode_settled(state)}
    lane.finish(lane.claim(9))
    assert {"terms"} & lane.dump().keys() <= ({"terms"} if state == "failed" else set())


def test_each_end_of_a_revived_job_has_its_own_hook(lane: Lane) -> None:
    lane.submit("a", hooks=[hook("f", lane.queue)])
    end(lane, "a", state="failed")
    end(lane, "hook-f.1", state="failed")
    lane.run(commands.revive, ["a"])
    end(lane, "a", state="failed")
    assert names(lane.claim()) == ["hook-f.3"]
    assert lane.dump()["dead"].keys() == {"a", "hook-f.1"}


def test_hook_has_its_own_priority_limit_and_delay(lane: Lane) -> None:
    own: dict[str, Any] = {"priority": 3, "limit_key": "tell", "limit": (1, 0, 60.0, False)}
    lane.submit("a", hooks=[hook("d", lane.queue, **own)._replace(id=f"hook-{n}") for n in range(2)])
    lane.submit("b", hooks=[hook("d", lane.queue, delay=LONG)])
    end(lane, "a")
    assert (lane.state("hook-0.2"), lane.state("hook-1.2")) == ("ready", "deferred")
    end(lane, "hook-0.2")  # in front of the other job
    end(lane, "hook-1.2")
    end(lane, "b")
    assert lane.state("hook-d.5") == "delayed"


def test_hook_of_another_queue_is_a_message(lane: Lane) -> None:
    lane.submit("a", hooks=[hook("d", "other", priority=3)])
    lane.raw.delete(lane.key("bell"))
    end(lane, "a")
    assert lane.raw.exists(lane.key("bell"))
    assert len(messages(lane)) == 1
    (message,) = messages(lane)
    assert message[:4] == ("hook", "other", "hook-d.1", f"{lane.queue} a")
    lane.run(commands.delivered, [message])
    assert messages(lane) == []
    lane.put("z")
    lane.run(commands.hook, message.id, message.source, message.outcome)  # as if this were the other one
    (job,) = lane.claim().jobs
    assert (job.id, job.data) == ("hook-d.1", b"call d")
    assert lane.inputs("hook-d.1") == {f"{lane.queue} a": DONE}


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({}, "ready"),
        ({"delay": LONG}, "delayed"),
        ({"limit_key": "k", "limit": (1, 0, 60.0, False)}, "deferred"),
    ],
)
def test_hook_of_a_job_elsewhere_is_put_once(lane: Lane, options: dict[str, Any], state: str) -> None:
    lane.submit("a", limit="k", limits=(1, 0, 60.0, False), maxsize=1)
    lane.raw.delete(lane.key("bell"))
    packed = packed_hook(hook("d", lane.queue, **options))
    lane.run(commands.hook, "h", "other a", packed)
    assert lane.state("h") == state
    assert lane.raw.exists(lane.key("bell"))
    assert lane.inputs("h") == {"other a": DONE}
    before = lane.dump()
    lane.run(commands.hook, "h", "other a", packed)
    assert lane.changes(before) == {}


def test_finished_hook_is_not_put_again_by_a_late_message(lane: Lane) -> None:
    packed = packed_hook(hook("d", lane.queue))
    lane.run(commands.hook, "h", "other a", packed)
    end(lane, "h")
    before = lane.dump()
    lane.run(commands.hook, "h", "other a", packed)
    assert lane.changes(before) == {}
