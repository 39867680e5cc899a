"""The scripts of schedules: each instant becomes one job, whoever asks, how often, and whatever the clock does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conveyor import BadCall
from conveyor.store import commands, schedules
from conveyor.store.commands import Settlement
from conveyor.store.schedules import DueSchedule, Entry, Fired, How, Put

if TYPE_CHECKING:
    from tests.store.conftest import Lane

LONG = 1000.0
#: Times of a schedule that is due each minute from 1970 on: all of them are past.
FIRST, SECOND, THIRD = 60.0, 120.0, 180.0


def entry(
    name: str = "report", timing: str = "every 60", first: float = FIRST, data: bytes = b"data"
) -> Entry:
    return Entry(name, timing, data, first)


def add(lane: Lane, *entries: Entry) -> None:
    for one in entries or (entry(),):
        assert lane.run(schedules.schedule, "", 0.0, [one]) == "OK"


def fire(
    lane: Lane, *instants: float, at: float = FIRST, following: float | None = THIRD, **options: Any
) -> str:
    """Fire instants of the schedule `report`, whose next one is thought to be `at`."""
    delay = options.pop("delay", 0.0)
    puts = [Put(one, f"report:{one:.0f}", f"at {one:.0f}".encode(), delay) for one in instants or (at,)]
    due = DueSchedule("report", at, b"", Fired())
    return lane.run(schedules.fire, due, following, puts, How(**options))


def stored(lane: Lane, name: str = "report") -> schedules.StoredSchedule:
    found = schedules.stored_one(lane.queue, name).ask(lane.client)
    assert found is not None
    return found


def fired(lane: Lane) -> Fired:
    return stored(lane).fired


def finish(lane: Lane) -> list[str]:
    """Take and finish all waiting jobs, and return their ids."""
    batch = lane.claim(100)
    ids = [job.id for job in batch.jobs]
    lane.run(commands.finish, batch.token, [Settlement(one, b"done", LONG) for one in ids])
    return ids


# --- firing


def test_fired_instant_is_a_waiting_job(lane: Lane) -> None:
    add(lane)
    before = lane.dump()
    assert fire(lane, priority=3) == "OK"
    assert lane.changes(before) == {
        "bell": ["1"],
        "fired": {"report": "60000 report:60 1 0 0 0"},
        "instants": {"report": 180.0 * 1000},
        "jobs": {"report:60": "at 60"},
        "meta.accepted": "1",
        "meta.sequence": "1",
        "ready": {"report:60": 252 * 2.0**45 + 1},
    }


def test_instant_fired_by_another_consumer_is_not_fired_again(lane: Lane) -> None:
    add(lane)
    assert fire(lane, following=SECOND) == "OK"
    before = lane.dump()
    assert fire(lane, following=SECOND) == "STALE"
    assert lane.changes(before) == {}
    finish(lane)
    lane.raw.delete(lane.key("outcome:report:60"))  # it has expired
    assert fire(lane, following=THIRD) == "STALE", "hours later"
    assert fire(lane, SECOND, at=SECOND) == "OK"
    assert finish(lane) == ["report:120"]


def test_fired_instant_stays_fired_if_the_clock_was_set_back(lane: Lane) -> None:
    """And the schedule was set anew, so that its next instant is an old one."""
    add(lane)
    fire(lane, FIRST, SECOND)
    assert finish(lane) == ["report:60", "report:120"]
    lane.raw.delete(lane.key("outcome:report:60"), lane.key("outcome:report:120"))
    add(lane, entry(timing="every 30", first=FIRST))
    assert stored(lane).at == FIRST
    assert fire(lane, FIRST, SECOND, THIRD, following=240.0) == "OK"
    assert finish(lane) == ["report:180"]


def test_unknown_and_paused_schedules_fire_nothing(lane: Lane) -> None:
    assert fire(lane) == "STALE"
    add(lane)
    lane.run(schedules.reschedule, "report", "pause")
    assert fire(lane) == "STALE"
    assert lane.count().accepted == 0


def test_schedule_without_a_further_instant_ends(lane: Lane) -> None:
    add(lane)
    assert fire(lane, following=None) == "OK"
    assert stored(lane).at is None


def test_jitter_delays_the_job(lane: Lane) -> None:
    add(lane)
    fire(lane, delay=LONG, priority=2)
    dump = lane.dump()
    assert dump["delayed"] == {"report:60": LONG}
    assert dump["priorities"] == {"report:60": "2"}


def test_known_id_counts_as_fired(lane: Lane) -> None:
    add(lane)
    lane.put("report:60")
    assert fire(lane) == "OK"
    assert lane.count().accepted == 1
    assert fired(lane)[:3] == (FIRST, "report:60", 1)


def test_shut_queue_keeps_the_instant(lane: Lane) -> None:
    add(lane)
    lane.run(commands.shut)
    assert fire(lane) == "SHUT"
    assert stored(lane).at == FIRST
    lane.run(commands.resume)
    assert fire(lane) == "OK"


def test_paused_queue_accepts_fired_jobs(lane: Lane) -> None:
    add(lane)
    lane.run(commands.pause)
    assert fire(lane) == "OK"


def test_full_queue_takes_one_job_of_each_schedule(lane: Lane) -> None:
    lane.put("first", maxsize=1)
    add(lane)
    assert fire(lane, FIRST, SECOND, THIRD, following=240.0) == "OK"
    assert lane.count().qsize == 2
    assert stored(lane).at == SECOND, "the others stay due"
    before = lane.dump()
    assert fire(lane, SECOND, THIRD, at=SECOND, following=240.0, missed=1) == "FULL"
    assert lane.changes(before) == {}
    lane.claim()  # the other one
    assert fire(lane, SECOND, THIRD, at=SECOND, following=240.0) == "FULL"
    assert [job.id for job in lane.claim().jobs] == ["report:60"]
    lane.put("more")
    assert fire(lane, SECOND, THIRD, at=SECOND, following=240.0) == "OK"
    assert stored(lane).at == THIRD, "a second one for the same schedule has to wait"


# --- overlap


@pytest.mark.parametrize("state", ["waiting", "running", "delayed"])
def test_instant_is_skipped_while_the_job_before_is_unfinished(lane: Lane, state: str) -> None:
    add(lane)
    fire(lane, overlap="skip", following=SECOND, delay=LONG if state == "delayed" else 0.0)
    batch = lane.claim() if state == "running" else None
    assert fire(lane, SECOND, at=SECOND, overlap="skip", following=THIRD) == "OK"
    assert fired(lane) == Fired(SECOND, "report:60", 1, 1)
    if batch is None:
        return
    lane.run(commands.finish, batch.token, [Settlement("report:60", b"done", LONG)])
    assert fire(lane, THIRD, at=THIRD, overlap="skip", following=240.0) == "OK"
    assert fired(lane) == Fired(THIRD, "report:180", 2, 1)


def test_dead_job_does_not_count_as_unfinished(lane: Lane) -> None:
    add(lane)
    fire(lane, following=SECOND)
    lane.run(commands.fail, lane.claim().token, Settlement("report:60", b"failed", LONG))
    assert fire(lane, SECOND, at=SECOND, overlap="skip") == "OK"
    assert fired(lane).fired == 2


def test_later_of_several_instants_are_skipped_behind_the_first(lane: Lane) -> None:
    add(lane)
    fire(lane, FIRST, SECOND, THIRD, overlap="skip", following=240.0)
    assert fired(lane) == Fired(THIRD, "report:60", 1, 2)


def test_instant_is_held_until_the_job_before_has_finished(lane: Lane) -> None:
    add(lane)
    assert fire(lane, overlap="queue", following=SECOND) == "OK"
    assert fire(lane, SECOND, at=SECOND, overlap="queue") == "HELD"
    assert fired(lane) == Fired(FIRST, "report:60", 1, 0, 0, held=True)
    before = lane.dump()
    assert fire(lane, SECOND, at=SECOND, overlap="queue") == "HELD"
    assert lane.changes(before) == {}
    assert finish(lane) == ["report:60"]
    assert fire(lane, THIRD, at=SECOND, overlap="queue", following=240.0, skipped=1) == "OK"
    assert fired(lane) == Fired(THIRD, "report:180", 2, 1)
    assert finish(lane) == ["report:180"]


def test_nothing_is_held_if_nothing_is_to_be_fired(lane: Lane) -> None:
    add(lane)
    fire(lane, overlap="queue", following=SECOND)
    due = DueSchedule("report", SECOND, b"", Fired())
    assert lane.run(schedules.fire, due, 240.0, [], How("queue", missed=1)) == "OK"
    assert fired(lane).missed == 1
    assert stored(lane).at == 240.0


# --- what is due


def test_due_schedules_are_found_with_the_time_until_the_next(lane: Lane) -> None:
    assert lane.run(schedules.due) == (
        pytest.approx(lane.client.run(commands.server_time()), abs=5),
        None,
        [],
    )
    now = lane.client.run(commands.server_time())
    add(
        lane,
        entry("later", first=now + 100),
        entry("report", data=b"line\nline"),
        entry("second", first=SECOND),
    )
    found = lane.run(schedules.due)
    assert found.wait == pytest.approx(100, abs=5)
    assert [(one.name, one.at, one.definition) for one in found.due] == [
        ("report", FIRST, b"line\nline"),
        ("second", SECOND, b"data"),
    ]
    assert [one.name for one in lane.run(schedules.due, 1).due] == ["second"]


def test_due_schedules_are_found_a_few_at_a_time(lane: Lane) -> None:
    add(lane, *(entry(f"job{number:02}") for number in range(20)))
    assert len(lane.run(schedules.due).due) == schedules.MAX_DUE
    assert [one.name for one in lane.run(schedules.due, 18).due] == ["job18", "job19"]


def test_test_can_set_the_clock_of_schedules_ahead(lane: Lane) -> None:
    now = lane.client.run(commands.server_time())
    add(lane, entry(first=now + 50))
    assert lane.run(schedules.due).due == []
    lane.run(schedules.set_ahead, 60.0)
    assert [one.name for one in lane.run(schedules.due).due] == ["report"]
    assert schedules.schedule_clock(lane.queue).ask(lane.client) == pytest.approx(now + 60, abs=5)


# --- setting


def test_set_schedule_is_stored_with_its_first_instant(lane: Lane) -> None:
    before = lane.dump()
    add(lane)
    assert lane.changes(before) == {
        "instants": {"report": FIRST * 1000},
        "meta.version": "2",
        "schedules": {"report": "\nevery 60\ndata"},
    }
    assert stored(lane) == ("report", "", b"data", FIRST, Fired())


def test_equal_timing_keeps_the_next_instant(lane: Lane) -> None:
    """So instants that pass while no consumer runs are noticed by the next, which sets its schedules first."""
    add(lane)
    add(lane, entry(first=THIRD, data=b"new"))
    assert stored(lane)[2:4] == (b"new", FIRST)
    add(lane, entry(timing="every 30", first=THIRD))
    assert stored(lane).at == THIRD


def test_paused_schedule_stays_paused_if_set_again(lane: Lane) -> None:
    add(lane)
    lane.run(schedules.reschedule, "report", "pause")
    add(lane, entry(timing="every 30"))
    assert stored(lane).at is None


def test_module_replaces_its_own_schedules_only(lane: Lane) -> None:
    lane.run(schedules.schedule, "", 0.0, [entry("manual")])
    lane.run(schedules.schedule, "sales", 1.0, [entry("daily"), entry("weekly")])
    lane.run(schedules.schedule, "stock", 1.0, [entry("hourly")])
    assert lane.run(schedules.schedule, "sales", 2.0, [entry("weekly"), entry("monthly")]) == "OK"
    found = schedules.stored(lane.queue).ask(lane.client)
    assert [(one.name, one.module) for one in found] == [
        ("hourly", "stock"),
        ("manual", ""),
        ("monthly", "sales"),
        ("weekly", "sales"),
    ]
    assert lane.client.run(schedules.declared(lane.queue)) == {"sales": 2.0, "stock": 1.0}


def test_consumer_that_started_later_decides(lane: Lane) -> None:
    lane.run(schedules.schedule, "sales", 5.0, [entry("new")])
    before = lane.dump()
    assert lane.run(schedules.schedule, "sales", 4.0, [entry("old")]) == "STALE"
    assert lane.changes(before) == {}
    assert lane.run(schedules.schedule, "sales", 5.0, []) == "OK", "another worker of the same consumer"


def test_start_in_the_future_decides_nothing(lane: Lane) -> None:
    """The server's clock was ahead, and was set right."""
    lane.run(schedules.schedule, "sales", lane.client.run(commands.server_time()) + LONG, [entry("wrong")])
    assert lane.run(schedules.schedule, "sales", 5.0, [entry("right")]) == "OK"
    assert [one.name for one in schedules.stored(lane.queue).ask(lane.client)] == ["right"]


def test_schedule_of_code_is_not_replaced_at_run_time(lane: Lane) -> None:
    lane.run(schedules.schedule, "sales", 5.0, [entry()])
    before = lane.dump()
    with pytest.raises(BadCall, match="defined in code"):
        lane.run(schedules.schedule, "", 0.0, [entry(data=b"mine")])
    assert lane.changes(before) == {}


def test_code_takes_over_a_schedule_of_run_time(lane: Lane) -> None:
    add(lane)
    lane.run(schedules.schedule, "sales", 5.0, [entry()])
    assert stored(lane).module == "sales"


def test_queue_has_a_limited_number_of_schedules(lane: Lane) -> None:
    lane.run(schedules.schedule, "sales", 5.0, [entry(f"job{number}") for number in range(1000)])
    with pytest.raises(BadCall, match="more than 1,000"):
        add(lane)
    add_again = lane.run(schedules.schedule, "sales", 5.0, [entry(f"job{number}") for number in range(1000)])
    assert add_again == "OK"


# --- pausing and removing


def test_paused_schedule_has_no_instant_until_resumed(lane: Lane) -> None:
    add(lane)
    run = lane.run
    assert run(schedules.reschedule, "report", "pause") == "OK"
    assert run(schedules.reschedule, "report", "pause") == "SAME"
    assert run(schedules.due).due == []
    assert run(schedules.reschedule, "report", "resume", THIRD) == "OK"
    assert run(schedules.reschedule, "report", "resume", 240.0) == "SAME"
    assert stored(lane).at == THIRD
    assert run(schedules.reschedule, "other", "pause") == "GONE"


def test_removed_schedule_leaves_nothing(lane: Lane) -> None:
    add(lane, entry(), entry("other"))
    fire(lane)
    assert lane.run(schedules.reschedule, "report", "remove") == "OK"
    assert lane.run(schedules.reschedule, "report", "remove") == "SAME"
    assert fire(lane, SECOND, at=THIRD) == "STALE"
    dump = lane.dump()
    assert [*dump["schedules"], *dump["instants"], *dump.get("fired", ())] == ["other", "other"]


def test_queue_with_schedules_is_kept_unless_deleted(lane: Lane) -> None:
    add(lane)
    lane.raw.hset(lane.key("meta"), "unused", "  1")  # ms since 1970: for very long
    assert lane.run(commands.forget, LONG).word == "USED"
    assert lane.run(schedules.due).due != []
    lane.client.run(commands.forget(lane.queue, 0.0, remove=True))
    assert lane.dump().keys() <= {"deleted"}
