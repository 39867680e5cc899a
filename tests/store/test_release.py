"""release: leased -> ready at the old position, without blame; and renew: leased for longer, by explicit list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.store import commands

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45


def test_released_jobs_return_to_their_position_without_blame(lane: Lane) -> None:
    token = lane.take("a", "b", "c")
    lane.put("d")
    lane.raw.hset(lane.key("progress"), "b", "half")
    before = lane.dump()
    assert lane.run(commands.release, token, ["a", "b"]) == 2
    assert lane.changes(before) == {
        "leased": {"c": 1000},
        "leases": {"c": f"#1 ann H {TOP + 3}"},
        "progress": None,
        "ready": {"a": TOP + 1, "b": TOP + 2, "d": TOP + 4},
        "bell": before["bell"] + ["1", "1"],
    }


def test_job_from_the_front_returns_to_its_position(lane: Lane) -> None:
    lane.put("a", "b", priority=255, front=True)
    lane.put("c", priority=commands.key_priority(-1))
    batch = lane.claim(3)
    assert [job.id for job in batch.jobs] == ["c", "b", "a"]
    lane.put("d", priority=255, front=True)
    lane.run(commands.release, batch.token, ["a", "b", "c"])
    assert lane.dump()["ready"] == {"c": -(2**52) - 2**32 + 3, "d": -4, "b": -2, "a": -1}


def test_released_run_is_recorded_once_and_uses_no_attempt(lane: Lane) -> None:
    token = lane.take("a")
    assert lane.run(commands.release, token, ["a"], b"killed") == 1
    assert lane.run_again(commands.release, token, ["a"], b"killed") == 0
    assert lane.raw.lrange(lane.key("attempts:a"), 0, -1) == [b"killed"]
    assert 0 < lane.raw.pttl(lane.key("attempts:a")) <= 86_400_000
    assert lane.raw.hget(lane.key("tries"), "a") is None


def test_second_or_foreign_release_changes_nothing(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.run(commands.release, token, ["a"])
    before = lane.dump()
    assert lane.run_again(commands.release, token, ["a"]) == 0
    assert lane.run(commands.release, "1", ["b"]) == 0
    assert lane.run(commands.release, token[:-1], ["b"]) == 0
    assert lane.run(commands.release, token, []) == 0
    assert lane.changes(before) == {}


def test_release_of_a_job_marked_as_cancelled_cancels_it(lane: Lane) -> None:
    token = lane.take("a")
    lane.run(commands.cancel, "a", b"cancelled", 60.0)
    lane.run(commands.join, "joe")
    assert lane.run(commands.release, token, ["a"]) == 1
    count = lane.count()
    assert (count.live, count.cancelled) == (0, 1)
    assert lane.raw.exists(lane.key("wake:joe"))


def test_renewal_extends_the_named_leases_and_their_start_flags(lane: Lane) -> None:
    lane.put("a", "b", "c")
    token = lane.claim(3, lease=200.0).token
    before = lane.dump()
    renewal = lane.run(commands.renew, [("a", token, "H"), ("b", token, "S")], 1000.0)
    assert (renewal.lost, renewal.cancelled) == ([], [])
    assert lane.changes(before) == {
        "leased": {"a": 1000, "b": 1000, "c": 200},
        "leases": {"a": f"#1 ann H {TOP + 1}", "b": f"#1 ann S {TOP + 2}", "c": f"#1 ann H {TOP + 3}"},
    }


def test_renewal_sent_twice_has_no_second_effect(lane: Lane) -> None:
    token = lane.take("a")
    before = lane.dump()
    for _ in range(2):
        assert lane.run_again(commands.renew, [("a", token, "S")], 1000.0).lost == []
        assert lane.changes(before) == {}


def test_renewal_reports_lost_leases_and_restores_none(lane: Lane) -> None:
    token = lane.take("a", "finished", "given back")
    lane.run(commands.finish, token, [commands.Settlement("finished", b"", 60.0)])
    lane.run(commands.release, token, ["given back"])
    before = lane.dump()
    held = [
        ("a", "1", "S"),
        ("finished", token, "S"),
        ("given back", token, "S"),
        ("never put", token, "S"),
    ]
    assert lane.run(commands.renew, held, 1000.0).lost == [0, 1, 2, 3]
    assert lane.changes(before) == {}


def test_renewal_reports_cancel_requests_until_the_jobs_end(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.run(commands.cancel, "a", b"cancelled", 60.0)
    for started in ("S", "H"):
        renewal = lane.run(commands.renew, [("a", token, started), ("b", token, "S")], 1000.0)
        assert renewal.cancelled == [0]
    assert lane.dump()["leases"]["a"] == f"#1 ann C {TOP + 1}"


def test_renewal_names_the_lost_lease_if_a_job_is_held_twice(lane: Lane) -> None:
    old = lane.take("a", "b")
    lane.run(commands.release, old, ["a"])
    new = lane.claim(owner="bob").token
    held = [("b", old, "S"), ("a", new, "S"), ("a", old, "H")]
    assert lane.run(commands.renew, held, 1000.0) == ([2], [])
    assert lane.dump()["leases"]["a"] == f"#2 bob S {TOP + 1}"


def test_renewal_recovers_expired_leases_of_others(lane: Lane) -> None:
    token = lane.take("mine", "abandoned")
    lane.let_leases_run_out("abandoned")
    lane.run(commands.renew, [("mine", token, "S")], 1000.0)
    state = lane.dump()
    assert state.get("ready") == {"abandoned": TOP + 2}
    assert state["tries"] == {"abandoned": "0 0 1"}


def test_timely_renewal_keeps_even_an_expired_lease(lane: Lane) -> None:
    """The job has not been taken since, so no other holder needs protection."""
    token = lane.take("a")
    lane.let_leases_run_out()
    assert lane.run(commands.renew, [("a", token, "S")], 1000.0).lost == []
    assert lane.dump()["leased"] == {"a": 1000}


def test_renewal_on_an_emptied_server_reports_all_leases_lost(lane: Lane) -> None:
    token = lane.take("a")
    lane.raw.flushall()
    assert lane.run(commands.renew, [("a", token, "S")], 1000.0).lost == [0]
    assert lane.dump() == {}
