"""claim: ready -> leased, in order, under a token, and the same batch again for the same nonce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor.store import commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Lane

TOP = 255 * 2**45
LONG = 1000.0


def taken(batch: commands.Batch) -> list[str]:
    return [job.id for job in batch.jobs]


def test_claim_moves_the_first_jobs_under_a_token_and_starts_one(
    lane: Lane,
) -> None:
    lane.put("a", "b", "c")
    before = lane.dump()
    batch = lane.claim(2, nonce="once")
    assert [(job.id, job.data) for job in batch.jobs] == [("a", b"bytes of a"), ("b", b"bytes of b")]
    assert (batch.state, batch.left) == ("OK", 1)
    assert lane.changes(before) == {
        "ready": {"c": TOP + 3},
        "leased": {"a": 1000, "b": 1000},
        "leases": {"a": f"#1 ann S {TOP + 1}", "b": f"#1 ann H {TOP + 2}"},
        "claim:ann": "once #1 a b",
    }


def test_tokens_only_grow(lane: Lane) -> None:
    lane.put("a", "b", "c")
    tokens = [int(lane.claim().token) for _ in range(3)]
    assert tokens == sorted(set(tokens))


def test_leases_of_many_jobs_are_kept_in_a_hash_table(lane: Lane) -> None:
    lane.put(*(f"job{number}" for number in range(200)))
    few, many = lane.claim(3), lane.claim(100)
    assert lane.raw.object("encoding", lane.key("leases")) == b"hashtable"
    assert int(many.token) > int(few.token)
    lane.run(commands.finish, many.token, [commands.Settlement(job.id, b"done", 60.0) for job in many.jobs])
    assert lane.raw.hlen(lane.key("leases")) == 3


def test_tokens_grow_if_the_clock_is_set_back(lane: Lane) -> None:
    lane.put("a", "b")
    first = int(lane.claim().token)
    lane.raw.hset(lane.key("meta"), "token", first + 10**12)
    assert int(lane.claim().token) == first + 10**12 + 1


@pytest.mark.parametrize("moved", [(), ("a",), ("a", "b")])
def test_claim_sent_twice_returns_the_jobs_still_held(lane: Lane, moved: tuple[str, ...]) -> None:
    lane.put("a", "b", "c")
    batch = lane.claim(2, nonce="once")
    lane.run(commands.release, batch.token, list(moved))
    before = lane.dump()
    again = lane.claim(2, nonce="once")
    assert again.token == batch.token
    assert taken(again) == [one for one in ("a", "b") if one not in moved]
    assert [job.data for job in again.jobs] == [f"bytes of {one}".encode() for one in taken(again)]
    assert lane.changes(before) == {}


def test_nonce_with_the_same_prefix_is_different(lane: Lane) -> None:
    lane.put("a", "b")
    lane.claim(nonce="once")
    assert taken(lane.claim(nonce="on")) == ["b"]


def test_same_nonce_of_another_owner_is_different(lane: Lane) -> None:
    lane.put("a", "b")
    lane.claim(nonce="once", owner="ann")
    assert taken(lane.claim(nonce="once", owner="bob")) == ["b"]


def test_job_taken_by_another_owner_is_not_returned_again(lane: Lane) -> None:
    lane.put("a")
    batch = lane.claim(nonce="once", owner="ann")
    lane.run(commands.release, batch.token, ["a"])
    assert taken(lane.claim(owner="bob")) == ["a"]
    assert taken(lane.claim(nonce="once", owner="ann")) == []


@pytest.mark.parametrize(
    ("prepare", "state"), [((), "EMPTY"), ((commands.pause,), "PAUSED"), ((commands.shut,), "SHUT")]
)
def test_claim_without_jobs_has_a_reason_and_changes_nothing(lane: Lane, prepare: tuple, state: str) -> None:
    if state == "PAUSED":
        lane.put("a")
    for verb in prepare:
        lane.run(verb)
    before = lane.dump()
    assert lane.claim().state == state
    assert lane.changes(before) == {}


def test_queue_after_shutdown_still_returns_waiting_jobs(
    lane: Lane,
) -> None:
    lane.put("a")
    lane.put("later", delay=1000.0)
    lane.run(commands.shut)
    assert taken(lane.claim()) == ["a"]
    assert lane.claim().state == "EMPTY"
    lane.run(commands.purge, "delayed", 9, b"", 0.0)
    assert lane.claim().state == "SHUT"


def test_pause_and_resume_change_no_job_and_wake_waiters(lane: Lane) -> None:
    lane.put("a", "b")
    lane.raw.delete(lane.key("bell"))
    before = lane.dump()
    lane.run(commands.pause)
    lane.run(commands.pause)
    assert lane.changes(before) == {"meta.paused": "1"}
    lane.run(commands.resume)
    assert lane.changes(before) == {"bell": ["1", "1"]}


@pytest.mark.parametrize(("delay", "most"), [(5.0, 5.0), (1000.0, 60.0)])
def test_empty_claim_has_the_time_of_the_next_poll(lane: Lane, delay: float, most: float) -> None:
    lane.put("later", delay=delay)
    assert most - 2 < lane.claim().wait <= most


def test_empty_claim_waits_for_the_next_lease_to_expire(lane: Lane) -> None:
    lane.put("a")
    lane.claim(lease=7.0)
    assert 5.0 < lane.claim().wait <= 7.0


def test_claim_returns_at_most_a_mebibyte_but_at_least_a_job(lane: Lane) -> None:
    big = b"x" * 600_000
    lane.run(commands.put, [(one, big) for one in "abc"], commands.PutParams())
    lane.run(commands.put, [("huge", b"x" * (1 << 20) + b"y")], commands.PutParams(priority=1))
    assert taken(lane.claim(10)) == ["huge"]
    assert taken(lane.claim(10)) == ["a"]


def test_wake_up_is_passed_on_while_jobs_remain(lane: Lane) -> None:
    lane.put("a", "b")
    lane.raw.delete(lane.key("bell"))
    lane.claim()
    assert lane.raw.llen(lane.key("bell")) == 1
    lane.raw.delete(lane.key("bell"))
    lane.claim()
    assert lane.raw.llen(lane.key("bell")) == 0


def test_recovered_job_is_claimed_separately(lane: Lane) -> None:
    """If it is the job that kills workers, no other job is blamed with it."""
    lane.put("a", "b", "bad", "c", "d")
    token = lane.claim(5).token
    lane.run(commands.lost, token, commands.Settlement("bad", b"lost", 60.0), b"cancelled")
    lane.run(commands.release, token, ["a", "b", "c", "d"])
    assert [taken(lane.claim(9)) for _ in range(3)] == [["a", "b"], ["bad"], ["c", "d"]]


def test_retried_job_is_not_claimed_separately(lane: Lane) -> None:
    token = lane.take("a")
    lane.put("b")
    lane.run(commands.retry, token, "a", 0.0, b"")
    batch = lane.claim(9)
    assert taken(batch) == ["b", "a"]
    assert batch.jobs[1].retries == 1


def test_entries_without_a_job_are_dropped_and_counted(lane: Lane) -> None:
    lane.put("a")
    lane.raw.zadd(lane.key("ready"), {"ghost1": 1, "ghost2": 2})
    lane.sound = False
    assert taken(lane.claim(2)) == []
    lane.sound = True
    assert taken(lane.claim()) == ["a"]
    assert lane.count().orphans == 2


def test_five_hundred_jobs_are_claimed_together(lane: Lane) -> None:
    ids = [f"job{number:03}" for number in range(500)]
    lane.put(*ids)
    batch = lane.claim(500)
    assert taken(batch) == ids
    assert len(lane.dump()["leased"]) == 500


def test_duplicate_of_an_old_claim_returns_no_jobs(lane: Lane) -> None:
    assert lane.claim(nonce="ann.9").state == "EMPTY"
    lane.put("a", "b")
    assert taken(lane.claim(nonce="ann.10")) == ["a"]
    before = lane.dump()
    assert lane.claim(nonce="ann.9").jobs == ()
    assert lane.changes(before) == {}
    assert taken(lane.claim(nonce="bob.1")) == ["b"], "another process of that name counts from 1"


@pytest.mark.parametrize("state", ["EMPTY", "PAUSED", "SHUT"])
def test_repeated_empty_claim_returns_no_jobs_later(lane: Lane, state: str) -> None:
    if state != "EMPTY":
        lane.run(commands.pause if state == "PAUSED" else commands.shut)
    assert lane.run_again(commands.claim, "ann", "ann.1", 1, LONG).state == state
    lane.run(commands.resume)
    lane.put("a")
    assert lane.claim(nonce="ann.1").jobs == []
    assert taken(lane.claim(nonce="ann.2")) == ["a"]


def test_claim_for_0_jobs_returns_the_jobs_of_its_nonce(lane: Lane) -> None:
    lane.put("a", "b", "c")
    batch = lane.claim(2, nonce="ann.1")
    before = lane.dump()
    again = lane.claim(0, nonce="ann.1")
    assert (again.token, taken(again)) == (batch.token, ["a", "b"])
    assert lane.changes(before) == {}


def test_claim_for_0_jobs_voids_a_claim_under_way(lane: Lane) -> None:
    lane.put("a")
    assert lane.claim(0, nonce="ann.1").jobs == ()
    assert lane.claim(1, nonce="ann.1").jobs == []
    assert taken(lane.claim(1, nonce="ann.2")) == ["a"]


def test_unreceived_jobs_do_not_count_as_crashed(lane: Lane) -> None:
    lane.put("a", "b")
    for number in range(1, 11):
        batch = lane.run(commands.claim, "ann", f"ann.{number}", 1, LONG, commands.HELD)
        assert " H " in lane.dump()["leases"]["a"]
        lane.let_leases_run_out()
        lane.run(commands.reap)
        assert lane.dump()["tries"] == {"a": f"0 0 {number}"}
    batch = lane.run(commands.claim, "ann", "ann.11", 1, LONG, commands.HELD)
    assert taken(batch) == ["a"]
    assert " S " in lane.dump()["leases"]["a"], "it came back too often to be above suspicion"


@pytest.fixture
def own_lane(server: Any, lane_at: type[Lane], tmp_path: Path) -> Iterator[Lane]:
    """Return an empty queue on a separate server, whose memory was never in use for anything else."""
    own = type(server)(server.kind, server.binary, tmp_path)
    try:
        yield lane_at(own)
    finally:
        own.stop()


def test_claim_reads_only_the_claimed_jobs(own_lane: Lane) -> None:
    """Memory of scripts shows how much they read: 60 jobs of 1 MB would need 60 MB."""
    large = b"x" * 1_000_000
    for number in range(60):
        own_lane.run(commands.put, [(f"job{number:02}", large)], commands.PutParams())
    own_lane.raw.execute_command("MEMORY", "PURGE")
    before = own_lane.raw.info("memory")["used_memory"]
    assert taken(own_lane.claim(50)) == ["job00"]
    highest = own_lane.raw.info("memory")["used_memory_peak"]
    assert highest - before < 20_000_000


def test_one_of_several_claims_goes_past_the_priorities(lane: Lane) -> None:
    lane.put("low", "lower")
    lane.put(*(f"high{number}" for number in range(20)), priority=9)
    lane.run(commands.age, 1)  # each of them
    order = []
    for _ in range(22):
        batch = lane.claim(9)
        assert len(batch.jobs) == 1
        order.append(batch.jobs[0].id)
    assert sorted(order) == sorted({"low", "lower", *(f"high{number}" for number in range(20))})
    assert order.index("low") < order.index("lower")
    assert [one for one in order if one.startswith("high")] == [f"high{number}" for number in range(20)]
    lane.check()
    lane.run(commands.age, 0)
    lane.put("plain")
    lane.put("urgent", priority=9)
    assert [job.id for job in lane.claim(9).jobs] == ["urgent", "plain"]
