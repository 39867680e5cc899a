"""lost and reap: a worker crashed with a job, or missed its heartbeats; which job is blamed, and when it is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import pytest

from conveyor import held_items
from conveyor.consumer import settings
from conveyor.store import commands
from conveyor.store.commands import Settlement
from conveyor.wire.outcome import decode_attempt

if TYPE_CHECKING:
    from conftest import Lane

TOP = 255 * 2**45
LONG = 1000.0  # seconds; a lease that does not end while a test runs
LOST = b"its workers died"


def lost(lane: Lane, token: str, job_id: str) -> str:
    return lane.run(
        commands.lost, token, Settlement(job_id, LOST, 600.0, b"note", b"attempt", "5af3"), b"cancelled"
    )


def died(lane: Lane, token: str, job_id: str) -> str:
    """Lose a job's worker in one of the two ways and return the job's state."""
    return lost(lane, token, job_id)


def lapsed(lane: Lane, token: str, job_id: str) -> str:
    lane.let_leases_run_out(job_id)
    lane.run(commands.reap)
    state = lane.run(commands.state, job_id)
    return state.state


def test_lost_running_job_counts_a_crash_and_keeps_its_position(lane: Lane) -> None:
    token = lane.take("a", "b")
    lane.put("c")
    lane.raw.hset(lane.key("progress"), "a", "half")
    before = lane.dump()
    assert lost(lane, token, "a") == "ready"
    assert lane.changes(before) == {
        "attempts:a": ["attempt"],
        "leased": {"b": 1000},
        "leases": {"b": f"#1 ann H {TOP + 2}"},
        "progress": None,
        "ready": {"a": TOP + 1, "c": TOP + 3},
        "tries": {"a": "0 1 1"},
        "bell": before["bell"] + ["1"],
        "history": ["note"],
    }


@pytest.mark.parametrize("owner", ["my host", "my\thost name"])
def test_lease_of_any_owner_is_renewed_and_reaped(owner: str, lane: Lane) -> None:
    lane.put("a")
    token = lane.claim(owner=owner).token
    assert lane.run(commands.renew, [("a", token, commands.STARTED)], LONG).lost == []
    assert lapsed(lane, token, "a") == "ready"
    assert lane.dump()["ready"] == {"a": TOP + 1}


def test_only_the_started_job_of_an_expired_lease_is_blamed(lane: Lane) -> None:
    lane.take("started", "held")
    lane.raw.hset(lane.key("progress"), "started", "half")
    lane.let_leases_run_out()
    before = lane.dump()
    assert lane.run(commands.reap) == 2
    attempt = decode_attempt(lane.raw.lindex(lane.key("attempts:started"), 0))
    assert (attempt.attempt, attempt.worker, attempt.state) == (1, "ann", "lost")
    assert lane.changes(before) == {
        "attempts:started": [ANY],
        "leased": None,
        "leases": None,
        "progress": None,
        "ready": {"started": TOP + 1, "held": TOP + 2},
        "tries": {"started": "0 0 1 1", "held": "0 0 1"},
        "bell": before["bell"] + ["1", "1"],
        "meta.lapsed": "2",
    }


def test_held_job_reported_as_running_counts_a_crash(lane: Lane) -> None:
    token = lane.take("first", "second")
    assert lost(lane, token, "second") == "ready"
    assert lane.dump()["tries"] == {"second": "0 1 1"}


@pytest.mark.parametrize(("ending", "most", "tries"), [(died, 3, "0 3 2"), (lapsed, 10, "0 0 9 10")])
def test_job_is_dead_after_three_crashes_or_ten_lapses(
    lane: Lane, ending: Any, most: int, tries: str
) -> None:
    lane.put("bad")
    for before in range(most - 1):
        batch = lane.claim()
        assert batch.jobs[0].crashes == before
        assert ending(lane, batch.token, "bad") == "ready"
    assert ending(lane, lane.claim().token, "bad") == "dead"
    state = lane.dump()
    assert state["dead"] == {"bad": 0}
    assert state["jobs"] == {"bad": "bytes of bad"}
    assert state["tries"] == {"bad": tries}
    assert state["groups"] == {"bad": "5af3" if ending is died else "lost"}
    attempts = lane.raw.lrange(lane.key("attempts:bad"), 0, -1)
    assert len(attempts) == most
    if ending is lapsed:
        assert [decode_attempt(one).attempt for one in attempts] == list(range(1, most + 1))
    reason = lane.raw.hget(lane.key("reasons"), "bad")
    assert reason == LOST if ending is died else b"ten leases" in reason


def test_lapses_and_crashes_are_counted_separately(lane: Lane) -> None:
    lane.put("a")
    for _ in range(2):
        assert lost(lane, lane.claim().token, "a") == "ready"
    for _ in range(9):
        assert lapsed(lane, lane.claim().token, "a") == "ready"
    lane.run(commands.retry, lane.claim().token, "a", 0.0, b"")
    assert lane.dump()["tries"] == {"a": "1 2 11 9"}
    assert lane.claim().jobs[0][2:] == (1, 11)


def test_job_of_an_exiting_consumer_is_never_blamed(lane: Lane) -> None:
    lane.put("long")
    for number in range(1, 21):
        batch = lane.claim()
        lane.run(commands.renew, [("long", batch.token, commands.LEAVING)], 100.0)
        assert lane.dump()["leases"]["long"].split()[2] == "L"
        assert lapsed(lane, batch.token, "long") == "ready"
        assert lane.dump()["tries"] == {"long": f"0 0 {number}"}
    attempt = decode_attempt(lane.raw.lindex(lane.key("attempts:long"), -1))
    assert (attempt.state, attempt.attempt) == ("killed", 1)
    assert "exiting" in attempt.message


def test_exit_does_not_excuse_an_observed_crash(lane: Lane) -> None:
    token = lane.take("a")
    lane.run(commands.renew, [("a", token, commands.LEAVING)], 100.0)
    assert lost(lane, token, "a") == "ready"
    assert lane.dump()["tries"] == {"a": "0 1 1"}


def test_blameless_job_is_recovered_any_number_of_times(lane: Lane) -> None:
    lane.put("first", "held")
    for _ in range(5):
        batch = lane.claim(9)
        lane.let_leases_run_out()
        lane.run(commands.renew, [(job.id, batch.token, "H") for job in batch.jobs], 100.0)
        lane.let_leases_run_out()
        lane.run(commands.reap)
    assert lane.dump()["tries"]["first"].startswith("0 0 ")
    assert lane.count().dead == 0


def test_retries_and_crashes_are_counted_separately(lane: Lane) -> None:
    lane.put("a")
    lost(lane, lane.claim().token, "a")
    lane.run(commands.retry, lane.claim().token, "a", 0.0, b"")
    lost(lane, lane.claim().token, "a")
    assert lane.dump()["tries"] == {"a": "1 2 2"}


@pytest.mark.parametrize("ending", [died, lapsed])
def test_job_marked_as_cancelled_is_cancelled_if_its_worker_dies(lane: Lane, ending: Any) -> None:
    token = lane.take("a")
    lane.run(commands.cancel, "a", b"", 60.0)
    assert ending(lane, token, "a") in {"cancelled", "over"}
    count = lane.count()
    assert (count.live, count.cancelled) == (0, 1)


def test_second_or_foreign_loss_report_changes_nothing(lane: Lane) -> None:
    token = lane.take("a", "b")
    lost(lane, token, "a")
    before = lane.dump()
    assert lost(lane, token, "a") == "STALE"
    assert lost(lane, "1", "b") == "STALE"
    assert lost(lane, token[:-1], "b") == "STALE"
    assert lane.changes(before) == {}


def test_second_reap_recovers_no_job(lane: Lane) -> None:
    lane.take("a")
    lane.let_leases_run_out()
    lane.run(commands.reap)
    before = lane.dump()
    assert lane.run_again(commands.reap) == 0
    assert lane.changes(before) == {}


def test_reap_covers_32_leases_and_every_reap_makes_progress(lane: Lane) -> None:
    ids = [f"job{number:03}" for number in range(100)]
    lane.take(*ids)
    lane.let_leases_run_out()
    assert [lane.run(commands.reap) for _ in range(5)] == [32, 32, 32, 4, 0]


def test_claim_recovers_an_abandoned_job_and_takes_it(lane: Lane) -> None:
    lane.take("abandoned")
    lane.let_leases_run_out()
    batch = lane.claim(owner="bob")
    assert [(job.id, job.crashes) for job in batch.jobs] == [("abandoned", 1)]


def test_entry_without_a_lease_is_dropped_and_counted(lane: Lane) -> None:
    lane.take("a")
    lane.raw.zadd(lane.key("leased"), {"ghost": 1})
    lane.run(commands.reap)
    assert lane.count().orphans == 1
    assert lane.dump()["leased"] == {"a": 1000}


def test_entries_without_leases_do_not_starve_recovery(lane: Lane) -> None:
    lane.take("a", "b")
    lane.let_leases_run_out()
    lane.raw.zadd(lane.key("leased"), {f"GHOST{number:03}": 1 for number in range(99)})  # they are first
    assert [lane.run(commands.reap) for _ in range(5)] == [32, 32, 32, 5, 0]
    assert (lane.count().orphans, lane.count().ready) == (99, 2)


@pytest.mark.parametrize("how", ["reap", "renew", "claim"])
def test_joiners_are_woken_if_recovery_ends_the_last_job(lane: Lane, how: str) -> None:
    token = lane.take("a")
    lane.run(commands.cancel, "a", b"", 60.0)
    lane.run(commands.join, "joe")
    lane.let_leases_run_out()
    if how == "reap":
        lane.run(commands.reap)
    elif how == "claim":
        lane.claim(owner="bob")
    else:
        lane.run(commands.renew, [("gone", token, "S")], 100.0)
    assert lane.count().live == 0
    assert lane.raw.exists(lane.key("wake:joe"))


# --- the lease clock: it must follow the server's, except if that one jumps


def test_clock_set_an_hour_ahead_ends_no_lease(lane: Lane) -> None:
    lane.put("a")
    token = lane.claim(lease=15.0).token
    lane.turn_clock(3_600_000)
    assert lane.run(commands.reap) == 0
    assert lane.claim(owner="bob").jobs == ()
    assert lane.run(commands.renew, [("a", token, "S")], 15.0).lost == []


def test_abandoned_lease_ends_in_time_after_a_clock_jump(lane: Lane) -> None:
    """A step is at most five seconds, so three polls more than five seconds apart end a lease of fifteen."""
    lane.put("a")
    lane.claim(lease=15.0)
    moved = 0
    for _ in range(3):
        lane.turn_clock(6_000)
        moved += lane.run(commands.reap)
    assert moved == 1


def test_clock_set_back_does_not_freeze_leases(lane: Lane) -> None:
    lane.put("a")
    lane.claim(lease=9.0)
    lane.turn_clock(-3_600_000)
    assert lane.run(commands.reap) == 0
    for _ in range(2):
        lane.turn_clock(5_000)
        lane.run(commands.reap)
    assert lane.count().leased == 0


@pytest.mark.parametrize(
    ("lease", "gap"),
    [
        pytest.param(settings.LEASE, settings.RENEWAL + settings.TICK, id="consumers"),
        pytest.param(held_items.LEASE, held_items.RENEWAL, id="holders"),
    ],
)
def test_lease_ends_within_20_seconds_if_workers_only_renew(lane: Lane, lease: float, gap: float) -> None:
    """The others are busy and renew; the first poll is at any moment after the last renewal of the dead one."""
    lane.put("dead", "other")
    for first in range(500, int(1000 * gap), 500):
        assert lane.claim(lease=lease).jobs[0].id == "dead"
        other = lane.claim().token
        passed, step = 0, first
        while lane.count().leased == 2:
            lane.turn_clock(step)
            lane.run(commands.renew, [("other", other, commands.STARTED)], LONG)
            passed, step = passed + step, int(1000 * gap)
        assert 15_000 <= passed < 20_000
        lane.run(commands.release, other, ["other"])


def test_frequent_polls_do_not_speed_up_the_lease_clock(lane: Lane) -> None:
    lane.put("a")
    lane.claim(lease=15.0)
    for _ in range(200):
        lane.run(commands.reap)
    assert lane.count().leased == 1
